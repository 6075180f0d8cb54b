"""The Markdown of a ticket below its frontmatter: acceptance criteria, affected files, test strategy.

Headings of any level open a section and are matched without regard to case. Fenced code and HTML comments
(which templates use for examples) are never read as criteria or table rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backlog_ops.domain.text import hint, quote

SECTIONS = ("Context", "Description", "Acceptance Criteria", "Affected Files", "Test Strategy")
Report = Callable[[int, str], None]  # line of the file, message

_KNOWN = {name.casefold(): name for name in SECTIONS}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_LIST_ITEM = re.compile(r" {0,1}(?:[-*+]|[0-9]{1,9}[.)])(?:\s|$)")
_CRITERION = re.compile(r"[-*+] \[[ xX]\] +(AC-[0-9A-Za-z][0-9A-Za-z._-]*):(.*)", re.DOTALL)
_MISSPELT = 0.85  # "Testing Strategy" is, "Contents" is a section of its own
_RULER = re.compile(r":?-+:?")


@dataclass(frozen=True)
class Criterion:
    id: str  # AC-1
    text: str
    line: int


@dataclass(frozen=True)
class Row:
    """A row of the Affected Files table, as written."""

    path: str
    action: str
    line: int


@dataclass(frozen=True)
class Body:
    criteria: tuple[Criterion, ...]
    rows: tuple[Row, ...]
    test_strategy: str
    heading_lines: dict[str, int]  # section → line of its heading


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    is_markdown: bool  # neither in fenced code nor in an HTML comment


def read_body(text: str, first_line: int, report: Report) -> Body:
    """`text` begins at line `first_line` of the file; every problem goes to `report`."""
    headings: dict[str, int] = {}
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] | None = None
    current_level = 0
    for line in _lines(text, first_line):
        level, title = _heading(line)
        name = _KNOWN.get(title.casefold())
        if name:
            if name in headings:
                report(line.number, f"a second section {quote(name)}; the first is on line {headings[name]}")
            headings.setdefault(name, line.number)
            current, current_level = sections.setdefault(name, []), level
            continue
        if level and (misspelt := hint(title, SECTIONS, _MISSPELT)):
            report(line.number, f"section {quote(title)} is not read{misspelt}")
        if 0 < level <= current_level:
            current = None
        if current is not None:
            current.append(line)
    strategy = "\n".join(line.text for line in sections.get("Test Strategy", ()))
    return Body(
        tuple(_criteria(sections.get("Acceptance Criteria", ()), report)),
        tuple(_rows(sections.get("Affected Files", ()), report)),
        strategy.strip(),
        headings,
    )


def _lines(text: str, first_line: int) -> Iterator[_Line]:
    fence = ""
    in_comment = False
    for number, raw in enumerate(text.split("\n"), first_line):
        line = raw.rstrip()
        if fence:
            inside, closing = True, line.strip()
            if len(closing) >= len(fence) and not closing.strip(fence[0]):
                fence = ""
        elif in_comment or line.lstrip().startswith("<!--"):
            inside, in_comment = True, "-->" not in line
        elif opening := _FENCE.match(line):
            inside, fence = True, opening[1]
        else:
            inside = False
        yield _Line(number, line, not inside)


def _heading(line: _Line) -> tuple[int, str]:
    """Level 1 to 6 and title; level 0 for any other line."""
    stripped = line.text.strip()
    level = len(stripped) - len(stripped.lstrip("#"))
    if not line.is_markdown or not 0 < level <= 6 or line.text.startswith(("    ", "\t")):
        return 0, ""
    title = stripped[level:]
    if title and not title[0].isspace():  # `#12` is no heading
        return 0, ""
    return level, title.strip().rstrip("#").rstrip().rstrip(":").rstrip()


def _criteria(lines: Sequence[_Line], report: Report) -> Iterator[Criterion]:
    seen: dict[str, int] = {}
    for item in _list_items(lines):
        first = item[0]
        match = _CRITERION.fullmatch(first.text.strip())
        if match is None:
            report(first.number, "an acceptance criterion is written `- [ ] AC-1: what must hold`")
            continue
        name = match[1]
        text = " ".join([match[2].strip(), *(line.text.strip() for line in item[1:])]).strip()
        if not text:
            report(first.number, f"{name} says nothing")
        if name in seen:
            report(first.number, f"{name} is already used on line {seen[name]}")
        seen.setdefault(name, first.number)
        yield Criterion(name, text, first.number)


def _list_items(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """Top-level list items, each with its continuation: indented lines, and others up to a blank line."""
    item: list[_Line] = []
    blank = False
    for line in lines:
        if not line.text or not line.is_markdown:
            blank = True
        elif _LIST_ITEM.match(line.text):
            if item:
                yield item
            item, blank = [line], False
        elif item and (not blank or line.text[0].isspace()):
            item.append(line)
    if item:
        yield item


def _rows(lines: Sequence[_Line], report: Report) -> Iterator[Row]:
    table: list[tuple[int, list[str]]] = []
    for line in lines:
        if line.is_markdown and "|" in line.text:
            table.append((line.number, _cells(line.text)))
            continue
        yield from _table_rows(table, report)
        table = []
        if line.is_markdown and _LIST_ITEM.match(line.text):
            report(line.number, "affected files are a table with the columns File and Action, not a list")
    yield from _table_rows(table, report)


def _table_rows(table: Sequence[tuple[int, list[str]]], report: Report) -> Iterator[Row]:
    if not table:
        return
    line, header = table[0]
    names = [name.casefold() for name in header]
    path_column = next((i for i, name in enumerate(names) if "file" in name or "path" in name), None)
    action_column = next((i for i, name in enumerate(names) if "action" in name or "change" in name), None)
    if path_column is None or len(table) < 2 or not all(map(_RULER.fullmatch, table[1][1])):
        report(line, "this table must begin with `| File | Action |` and a line `|---|---|`")
        return
    for number, cells in table[2:]:
        if not any(cells):
            continue
        filled = [*cells, *[""] * len(header)]
        action = "" if action_column is None else filled[action_column]
        yield Row(_without_backticks(filled[path_column]), action, number)


def _cells(line: str) -> list[str]:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())]
    if cells[0] == "":
        del cells[0]
    if cells and cells[-1] == "":
        del cells[-1]
    return cells


def _without_backticks(cell: str) -> str:
    return cell[1:-1].strip() if len(cell) > 2 and cell[0] == cell[-1] == "`" else cell
