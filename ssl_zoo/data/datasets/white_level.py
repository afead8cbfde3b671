"""Files of 16 bits of which only some are used: what is white in them."""

from __future__ import annotations

from collections.abc import Sequence

from ssl_zoo.console import warn
from ssl_zoo.data.decode import FULL_RANGE, highest_16_bit
from ssl_zoo.data.trees import Tree

_LOOKED_AT = 16  # files, spread over those of 16 bits


def check_white(tree: Tree, deep: Sequence[int], white: int | None) -> None:
    """Warn if files of 16 bits use less than a quarter of the range, or more than all of it.

    Args:
        tree: Some of its files are read.
        deep: The places of those of 16 bits among its names.
        white: As given; None = 65535.
    """
    step = max(1, len(deep) // _LOOKED_AT)
    some = [tree.names[i] for i in deep[::step][:_LOOKED_AT]]
    found = [f for name in some if (f := highest_16_bit(tree.root / name)) is not None]
    if not found:
        return
    highest = max(value for value, _ in found)
    what = f"the values of {len(found)} files of 16 bits in {tree.root} go up to {highest:,}"
    if white is not None and highest > white:
        warn(f"{what}: all above white={white} become white; give white={_next_white(highest)}")
    elif white is None and highest < (FULL_RANGE + 1) // 4:
        levels = f"{what} of {FULL_RANGE:,}, so that they are read as {highest // 257 + 1} levels"
        if any(halved for _, halved in found):
            warn(f"{levels} of each channel: save them with 8 bits per channel, scaled to 255")
        else:
            warn(f"{levels} of grey: give white={_next_white(highest)}")


def _next_white(highest: int) -> int:
    """The highest value of the number of bits that are used, at least 8."""
    return int(2 ** max(8, highest.bit_length()) - 1)
