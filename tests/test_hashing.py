"""The streams of random numbers are apart, and stand in one list."""

from __future__ import annotations

import re

from helpers.paths import ROOT
from ssl_zoo import hashing

PACKAGE = ROOT / "ssl_zoo"


def test_no_two_streams_are_one() -> None:
    streams = {name: value for name, value in vars(hashing).items() if name.endswith("_STREAM")}
    assert len(streams) > 8
    assert len(set(streams.values())) == len(streams)


def test_streams_are_named_in_hashing_only() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "hashing.py":
            found = re.search(r"^\w*_STREAM\b.*=.*", path.read_text(), re.MULTILINE)
            assert found is None, f"{path}: {found.group()}: name it in ssl_zoo/hashing.py"
