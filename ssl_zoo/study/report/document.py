"""What a report is made of; markdown.py and page.py write it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table; the first column is of words, `words` others too, the rest are numbers.

    Attributes:
        columns: Their titles.
        rows: Cells as text.
        strong: Rows in bold, by their position.
        words: Positions of columns that are of words.
        note: What is said below it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset({0})
    note: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Lines:
    """A list."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Commands, to be pasted into a shell."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: Of its file in figures/.
        says: What it shows, in a sentence.
    """

    name: str
    says: str


Block = Table | Text | Lines | Code | Picture


@dataclass
class Section:
    """A part of the report.

    Attributes:
        title: Of it.
        blocks: In their order.
        folded: Whether a page shows it only when it is opened.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    folded: bool = False


@dataclass
class Document:
    """A report.

    Attributes:
        title: Of it.
        alarm: Stands on top, in large letters; "" = nothing is wrong.
        reasons: Lines below the alarm.
        lead: The first paragraph.
        sections: In their order.
    """

    title: str
    alarm: str
    reasons: Sequence[str]
    lead: Sequence[str]
    sections: list[Section]
