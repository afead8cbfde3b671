"""A report as Markdown; names stand in it as text, whatever they contain."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ssl_zoo.study.report.document import Block, Code, Document, Lines, Picture, Table, Text


def as_markdown(document: Document) -> str:
    """report.md; pictures are links to figures/."""
    parts = [f"# {escaped(document.title)}"]
    if document.alarm:
        parts += [f"**{escaped(document.alarm)}**", _list(document.reasons)]
    parts += [escaped(line) for line in document.lead]
    for section in document.sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    line = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Lines):
        return _list(block.lines)
    if isinstance(block, Code):
        return "\n".join(f"    {line}" for line in block.text.splitlines())
    if isinstance(block, Picture):
        return f"![{block.name}](figures/{block.name})\n\n{escaped(block.says)}"
    assert isinstance(block, Text)
    return escaped(block.text)


def _table(table: Table) -> str:
    aligned = ["---" if i in table.words else "---:" for i in range(len(table.columns))]
    rows = [_row([escaped(cell) for cell in table.columns]), _row(aligned)]
    for number, row in enumerate(table.rows):
        cells = [escaped(cell) for cell in row]
        if number in table.strong:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        rows.append(_row(cells))
    return "\n".join(rows) + (f"\n\n{escaped(table.note)}" if table.note else "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
