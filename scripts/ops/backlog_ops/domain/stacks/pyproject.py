"""The little of a pyproject.toml that says how a project is checked.

Read line by line and forgivingly: Python 3.10 has no TOML parser, and a wrong guess is one line in a file that
its owner reads before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_TABLE = re.compile(rf"\[\[?\s*({_DOTTED})\s*\]\]?")
_KEY = re.compile(rf"({_DOTTED})\s*=\s*(.*)")
_STRING = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'""")


class Entry(NamedTuple):
    """A table (its value is empty), or a key with its value as written, arrays over several lines included."""

    path: tuple[str, ...]
    value: str


class Pyproject:
    def __init__(self, text: str) -> None:
        self._entries = tuple(_entries(text))

    @property
    def project_name(self) -> str:
        for table in (("project",), ("tool", "poetry")):
            for entry in self._entries:
                if entry.path == (*table, "name") and (found := _STRING.match(entry.value)):
                    return found.group()[1:-1]
        return ""

    def has_tool(self, name: str) -> bool:
        """Whether a tool is configured here: `[tool.NAME]`, or a table below it."""
        return any(entry.path[:2] == ("tool", name) for entry in self._entries)

    def sets(self, *path: str) -> bool:
        return any(entry.path == path for entry in self._entries)

    def lists_of(self, package: str) -> list[tuple[str, ...]]:
        """The paths of the dependency lists that name `package`."""
        wanted = re.compile(rf"""["']{re.escape(package)}(?![A-Za-z0-9._-])""")
        found = []
        for entry in self._entries:
            if entry.path[-1] == package and entry.path[-2:-1] == ("dependencies",):  # Poetry's own tables
                found.append(entry.path[:-1])
            elif entry.path[0] in ("project", "dependency-groups", "tool") and wanted.search(entry.value):
                found.append(entry.path)
        return found

    @property
    def has_groups(self) -> bool:
        return any(entry.path[0] == "dependency-groups" for entry in self._entries)


def _entries(text: str) -> Iterator[Entry]:
    table: tuple[str, ...] = ()
    lines = iter(text.splitlines())
    for raw in lines:
        line = _without_comment(raw).strip()
        if found := _TABLE.fullmatch(line):
            table = _parts(found[1])
            yield Entry(table, "")
        elif found := _KEY.fullmatch(line):
            value = found[2]
            for quotes in ('"""', "'''"):
                while value.startswith(quotes) and value.count(quotes) < 2:
                    value += next(lines, quotes)
            while _is_open(value) and (more := next(lines, None)) is not None:
                value += " " + _without_comment(more).strip()
            yield Entry((*table, *_parts(found[1])), value)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_NAME, dotted))


def _without_comment(line: str) -> str:
    hidden = _STRING.sub(lambda found: "x" * len(found.group()), line)
    return line[: hidden.index("#")] if "#" in hidden else line


def _is_open(value: str) -> bool:
    bare = _STRING.sub("", value)
    return bare.startswith("[") and bare.count("[") > bare.count("]")
