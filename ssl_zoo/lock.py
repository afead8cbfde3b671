"""The lock of a folder while a process writes it; readers judge by it. Imports no torch.

A process of this machine is looked up by its number and its start, since numbers are used again.
One of another machine touches its lock every 20 seconds; after 3 minutes without it counts as dead.
What a job of SLURM left is dead once SLURM has started that job again.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event, Thread
from uuid import uuid4

from ssl_zoo.launched import cluster_job
from ssl_zoo.types import UserError

NAME = "lock.json"
_BEAT, _SILENCE = 20.0, 180.0  # seconds


@dataclass(frozen=True)
class Writer:
    """The process that a lock names.

    Attributes:
        pid: Its number.
        started: When it started, in the machine's own terms.
        machine: The host, its boot and its space of process numbers.
        host: The host's name.
        user: Whose it is.
        since: When it took the lock.
        folder: The number of the folder's inode, which a copy of the folder does not have.
        job: The cluster's job that it is of; "" where there is none.
        restarts: How often that had been started again.
    """

    pid: int
    started: str
    machine: str
    host: str
    user: str
    since: str
    folder: int = 0
    job: str = ""
    restarts: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}"


_UNKNOWN = Writer(0, "", "", "another machine", "somebody", "")  # of a lock that is cut short


def writer_of(folder: Path) -> Writer | None:
    """The process that writes a folder; None if none does, or no longer."""
    holder = _read(folder / NAME)
    return holder if holder is not None and _is_alive(holder, folder / NAME) else None


def last_writer_of(folder: Path) -> Writer | None:
    """The process that the lock of a folder names, which may be dead; None without a lock."""
    return _read(folder / NAME)


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """Hold the lock of a folder, which must exist.

    Yields:
        What to say about a lock that a dead process left; "" if there was none.

    Raises:
        UserError: If another process writes the folder, or it cannot be written.
    """
    path = folder.absolute() / NAME
    me = _me(path.parent)
    left = _take(path, me)
    ended = Event()
    Thread(target=_beat, args=(path, me, ended), daemon=True, name="lock").start()
    try:
        yield left
    finally:
        ended.set()
        if os.getpid() == me.pid and _read(path) == me:  # a forked child has no lock
            with suppress(OSError):
                path.unlink()


def _take(path: Path, me: Writer) -> str:
    left = ""
    while True:
        try:
            _create(path, json.dumps(asdict(me)))
            return left
        except FileExistsError:
            holder = _read(path)
        except OSError as error:
            why = error.strerror or error
            raise UserError(f"cannot write {path}: {why}; choose another folder") from error
        if holder is not None and _is_alive(holder, path):
            raise UserError(_refusal(holder, path))
        if holder is not None:
            left = f"{path.parent}: {holder} wrote it last and {_end(holder, path)}"
            _put_aside(path, holder)


def _create(path: Path, text: str) -> None:
    """Exclusively; nothing is left of it on a full disk."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        os.write(file, text.encode())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _put_aside(path: Path, dead: Writer) -> None:
    """Remove a dead process's lock, not one that a third process has taken meanwhile."""
    aside = path.with_name(f"{uuid4().hex}.tmp")
    with suppress(FileNotFoundError):  # another process was quicker
        path.rename(aside)
        if _read(aside) == dead:
            aside.unlink()
        else:
            aside.rename(path)


def _refusal(holder: Writer, path: Path) -> str:
    if holder == _UNKNOWN:
        return (
            f"{path} cannot be read, so that {path.parent} may be being written: wait 3 minutes, "
            "or remove that file if nothing writes the folder"
        )
    since = f" since {holder.since}" if holder.since else ""
    text = f"{path.parent} is being written by {holder}{since}: wait until it ends, or stop it"
    if holder.machine == _machine():
        return text
    seconds = max(0, round(_silence(path)))
    dead = f"after {_SILENCE / 60:.0f} minutes without a heartbeat it counts as dead"
    return f"{text}; {dead}, the last was {seconds} s ago"


def _end(holder: Writer, path: Path) -> str:
    if holder.machine == _machine() or _is_of_earlier_start(holder):
        return "is gone"
    return f"has given no heartbeat for {_silence(path) / 60:.0f} minutes: taken for dead"


def _read(path: Path) -> Writer | None:
    try:
        return Writer(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError):  # another user's, or just being written
        return _UNKNOWN


def _inode(folder: Path) -> int:
    try:
        return folder.stat().st_ino
    except OSError:
        return 0


def _is_of_earlier_start(holder: Writer) -> bool:
    """Whether it is of this process's job, before that was started again."""
    job = cluster_job()
    return bool(job.name) and holder.job == job.name and holder.restarts < job.restarts


def _is_alive(holder: Writer, path: Path) -> bool:
    if _is_of_earlier_start(holder):
        return False
    if 0 not in (holder.folder, found := _inode(path.parent)) and holder.folder != found:
        return False  # a copy of a folder that is being written
    if holder.machine == _machine():
        started = _start_of(holder.pid)
        if started != "hidden":
            return started == holder.started
    return _silence(path) < _SILENCE


def _silence(path: Path) -> float:
    """Seconds since the last heartbeat, by the file system's clock: those of machines differ."""
    try:
        beat = path.stat().st_mtime
    except OSError:
        return float("inf")
    try:
        with TemporaryFile(dir=path.parent) as file:
            return os.fstat(file.fileno()).st_mtime - beat
    except OSError:  # a reader may not be allowed to write
        return time.time() - beat


def _beat(path: Path, me: Writer, ended: Event) -> None:
    while not ended.wait(_BEAT):
        with suppress(OSError):
            if _read(path) == me:
                os.utime(path)


def _me(folder: Path) -> Writer:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without this user's name
        user = str(os.getuid())
    started, pid = _start_of(os.getpid()) or "", os.getpid()
    since = datetime.now().isoformat(sep=" ", timespec="seconds")
    host = socket.gethostname()
    return Writer(pid, started, _machine(), host, user, since, _inode(folder), *cluster_job())


@cache
def _machine() -> str:
    """Where a process number means a process: containers count their own."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(pid: int) -> str | None:
    """When a process of this machine started; None if it is gone, "hidden" if that is not told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's
        pass
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]  # a zombie writes nothing
    except FileNotFoundError:
        return "hidden" if Path("/proc/self/stat").exists() else _start_by_ps(pid)
    except OSError:
        return "hidden"


def _start_by_ps(pid: int) -> str | None:
    """As `_start_of` where there is no /proc, as on macOS."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    try:
        state, _, started = subprocess.check_output(command, text=True).strip().partition(" ")
    except (OSError, subprocess.CalledProcessError):
        return None
    return None if state.startswith("Z") else started.strip()
