"""What the user says about a file of another repository that the file itself does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_zoo.types import UserError


class Hints(NamedTuple):
    """What replaces the conclusions about a file; None = conclude it.

    Attributes:
        ckpt_prefix: What the names of the backbone's weights begin with: "student.backbone".
        ckpt_heads: Attention heads of a ViT, which its shapes do not tell.
        ckpt_layout: The program that wrote the file, as in "solo_learn", or "plain".
    """

    ckpt_prefix: str | None = None
    ckpt_heads: int | None = None
    ckpt_layout: str | None = None

    def __str__(self) -> str:
        """As typed: "ckpt_prefix=student.backbone"."""
        given = {key: value for key, value in self._asdict().items() if value is not None}
        return " ".join(f"{key}={value}" for key, value in given.items())

    def checked(self) -> Hints:
        """Itself.

        Raises:
            UserError: Naming the value that is of the wrong type.
        """
        heads = self.ckpt_heads
        if heads is not None and (isinstance(heads, bool) or not isinstance(heads, int)):
            raise UserError(f"ckpt_heads={heads}: give a whole number")
        for key in ("ckpt_prefix", "ckpt_layout"):
            value = getattr(self, key)
            if value is not None and not isinstance(value, str):
                raise UserError(f"{key}={value}: give a text")
        return self

    def refuse(self, source: object, what: str) -> None:
        """Refuse hints about a source that needs none.

        Raises:
            UserError: If there are any.
        """
        if str(self):
            raise UserError(f"{self}: {source} is {what}, which needs no hint: remove it")


def hints_of(config: Mapping[str, Any]) -> Hints:
    """The hints among the knobs of a program."""
    return Hints(**{key: config.get(key) for key in Hints._fields}).checked()
