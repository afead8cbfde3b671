"""A run takes its part of the cores where others run."""

from __future__ import annotations

import getpass
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.locks import holder
from ssl_zoo.cores import each_on_one_core, shared_cores
from ssl_zoo.types import UserError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where runs know of each other, on a machine of 6 threads."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield tmp_path / f"ssl_zoo_runs_{getpass.getuser()}"
    torch.set_num_threads(before)


def other(place: Path) -> Path:
    folder = place / "1"
    folder.mkdir(parents=True)
    return folder


def test_a_run_alone_has_all(place: Path) -> None:
    with shared_cores():
        assert torch.get_num_threads() == 6
    assert list(place.iterdir()) == []


def test_beside_another_it_has_half(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    with holder(other(place)), caplog.at_level(logging.INFO, "ssl_zoo"), shared_cores():
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == 6
    assert caplog.messages == [
        "2 runs share this machine: this one computes with 3 of 6 threads; "
        "OMP_NUM_THREADS=N sets them"
    ]
    with shared_cores():  # the other was killed
        assert torch.get_num_threads() == 6


def test_what_the_user_sets_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    with holder(other(place)), shared_cores():
        assert torch.get_num_threads() == 6


def test_where_nothing_can_be_written_it_has_all(place: Path) -> None:
    place.write_text("a file")
    with shared_cores():
        assert torch.get_num_threads() == 6


# --- small work, one thread each ------------------------------------------------------------------

CPU = torch.device("cpu")


@pytest.mark.usefixtures("place")
def test_calls_run_side_by_side_with_one_thread_each_and_come_in_order() -> None:
    both = threading.Barrier(2, timeout=20)  # which one call alone would not pass

    def call(item: int) -> tuple[int, int]:
        if item < 2:
            both.wait()
        return item, torch.get_num_threads()

    assert list(each_on_one_core(call, range(5), CPU)) == [(item, 1) for item in range(5)]
    assert torch.get_num_threads() == 6


@pytest.mark.usefixtures("place")
def test_an_error_in_a_call_arrives_and_the_threads_come_back() -> None:
    def call(item: int) -> int:
        if item == 1:
            raise UserError("no such subset")
        return item

    with pytest.raises(UserError, match="no such subset"):
        list(each_on_one_core(call, range(3), CPU))
    assert torch.get_num_threads() == 6


@pytest.mark.usefixtures("place")
def test_one_item_or_a_gpu_has_all_threads() -> None:
    def call(_item: int) -> int:
        return torch.get_num_threads()

    assert list(each_on_one_core(call, [0], CPU)) == [6]
    assert list(each_on_one_core(call, [0, 1], torch.device("cuda"))) == [6, 6]
