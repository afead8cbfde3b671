"""A report as one HTML file that asks nothing of anyone: no script, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ssl_zoo.study.report.document import (
    Block,
    Code,
    Document,
    Lines,
    Picture,
    Section,
    Table,
    Text,
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d21; --soft: #5b626c; --paper: #ffffff;
  --line: #d9dde3; --band: #f4f6f8; --alarm: #a11212; --alarm-paper: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a2a9b4; --paper: #16181c;
  --line: #363b43; --band: #1f2228; --alarm: #ff9c9c; --alarm-paper: #3a1717; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 1rem; }
h2, summary { font-size: 1.2rem; font-weight: 650; margin: 2.2rem 0 .6rem; }
summary { cursor: pointer; }
p { max-width: 46rem; margin: .6rem 0; }
.note { color: var(--soft); font-size: .9rem; }
.alarm { border: 2px solid var(--alarm); background: var(--alarm-paper); color: var(--alarm);
  padding: .8rem 1rem; border-radius: 6px; margin: 0 0 1.2rem; }
.alarm strong { font-size: 1.25rem; }
.alarm ul { margin: .5rem 0 0; padding-left: 1.2rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px;
  margin: .8rem 0 .3rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  min-width: 100%; overflow-wrap: normal; }
th, td { padding: .34rem .7rem; text-align: right; vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
th.words, td.words { text-align: left; }
td.long { white-space: normal; min-width: 16rem; }
tbody tr:nth-child(even) { background: var(--band); }
tr.strong td { font-weight: 700; }
pre { overflow-x: auto; background: var(--band); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem .9rem; font-size: .88rem; }
figure { margin: 1rem 0; }
figure div { overflow-x: auto; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: 6px; display: block; }
@media (max-width: 700px) { img { max-width: none; width: 42rem; } }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; max-width: 46rem; }
"""
_LONG = 48  # letters of a cell that breaks into lines


def as_page(document: Document, figures: Path) -> str:
    """report.html.

    Args:
        document: The report.
        figures: The folder of its pictures.
    """
    alarm = ""
    if document.alarm:
        reasons = _list(document.reasons)
        alarm = f'<div class="alarm"><strong>{escape(document.alarm)}</strong>{reasons}</div>'
    lead = "".join(f"<p>{escape(line)}</p>" for line in document.lead)
    sections = "".join(_section(section, figures) for section in document.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # nothing is loaded, even if a name that slipped through asked for it
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        '<link rel="icon" href="data:,">'
        f"<title>{escape(document.title)}</title><style>{_STYLE}</style></head>\n<body>"
        f"{alarm}<h1>{escape(document.title)}</h1>{lead}{sections}</body></html>\n"
    )


def _section(section: Section, figures: Path) -> str:
    blocks = "\n".join(_block(block, figures) for block in section.blocks)
    title = escape(section.title)
    if section.folded:
        return f"\n<details><summary>{title}</summary>\n{blocks}</details>"
    return f"\n<h2>{title}</h2>\n{blocks}"


def _block(block: Block, figures: Path) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Lines):
        return _list(block.lines)
    if isinstance(block, Code):
        return f"<pre>{escape(block.text)}</pre>"
    if isinstance(block, Picture):
        content = base64.b64encode((figures / block.name).read_bytes()).decode()
        says = escape(block.says)
        return (
            f'<figure><div tabindex="0"><img alt="{says}" src="data:image/png;base64,{content}">'
            f"</div><figcaption>{says}</figcaption></figure>"
        )
    assert isinstance(block, Text)
    return f"<p>{escape(block.text)}</p>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def _table(table: Table) -> str:
    head = "".join(_cell("th", i, cell, table) for i, cell in enumerate(table.columns))
    rows = []
    for number, row in enumerate(table.rows):
        mark = ' class="strong"' if number in table.strong else ""
        cells = "".join(_cell("td", i, cell, table) for i, cell in enumerate(row))
        rows.append(f"<tr{mark}>{cells}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    body = "\n".join(rows)
    return (
        f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{note}"
    )


def _cell(tag: str, column: int, text: str, table: Table) -> str:
    kinds = ["words"] * (column in table.words) + ["long"] * (len(text) > _LONG)
    mark = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<{tag}{mark}>{escape(text)}</{tag}>"
