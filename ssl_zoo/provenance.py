"""Which code and which libraries made something. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_LIBRARIES = (
    "ssl_zoo",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "numpy",
    "scikit-learn",
    "timm",
)
_PARTS = ("ssl_zoo", "conf", "train.py", "evaluate.py")  # of a checkout: what a run is made of


def sha_of(content: Any) -> str:
    """A hash of plain data, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Of Python, ssl_zoo and what numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that is not installed
            continue
    return found


@cache
def code_version() -> str:
    """A checkout's commit, with "+" and a hash of its changes if it has any; else the version."""
    root = Path(__file__).parents[1]
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top.decode().strip()).resolve() != root.resolve():
        return library_versions().get("ssl_zoo", "unknown")
    commit = (_git(root, "rev-parse", "HEAD") or b"").decode().strip()[:12]
    changes = _git(root, "diff", "HEAD", "--binary", "--", *_PARTS) or b""
    new = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *_PARTS) or b""
    for name in filter(None, new.decode().split("\0")):
        changes += name.encode() + (root / name).read_bytes()
    return commit + (f"+{hashlib.sha256(changes).hexdigest()[:8]}" if changes else "")


def _git(root: Path, *args: str) -> bytes | None:
    try:
        answer = subprocess.run(["git", *args], cwd=root, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout
