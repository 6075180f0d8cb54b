"""The YAML frontmatter of a ticket as a flat list of keys, each with its place in the file.

Read from the parser's events instead of loaded objects: nothing is ever built from a tag, an alias is refused
before it can multiply, nesting ends the reading at its third level (nested brackets cost libyaml quadratic
time), and every value keeps the exact characters it was written in.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.resolver import Resolver

from backlog_ops.domain.text import quote

_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = Resolver()  # untyped in the stubs
_TEXT_TAG = "tag:yaml.org,2002:str"
_FENCE = re.compile(r"---[ \t]*\r?(?:\n|$)")
_CLOSING_FENCE = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_NOT_YAML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")


class FrontmatterError(Exception):
    """The frontmatter as a whole cannot be read. `line` is 1-based, of the file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True)
class Scalar:
    text: str
    line: int  # of the file, 1-based
    start: int  # characters from the beginning of the file; quotes belong to it
    end: int
    is_text: bool  # False: YAML reads a number, a date, true, null …
    is_block: bool  # written with | or >

    @property
    def is_empty(self) -> bool:
        return self.start == self.end


@dataclass(frozen=True)
class Entry:
    key: Scalar
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Fences:
    """Where the YAML between the two `---` lines stands, in characters, and the line after the second."""

    start: int
    end: int
    body: int


def find_fences(text: str) -> Fences:
    """Raises FrontmatterError. `text` has no byte order mark."""
    opening = _FENCE.match(text)
    if opening is None:
        raise FrontmatterError(1, "must begin with a `---` line: the YAML frontmatter that holds id and title")
    closing = _CLOSING_FENCE.search(text, opening.end())
    if closing is None:
        raise FrontmatterError(1, "the frontmatter that begins here is not closed by a second `---` line")
    return Fences(opening.end(), closing.start(), min(closing.end() + 1, len(text)))


def read_entries(text: str, fences: Fences) -> tuple[Entry, ...]:
    """Every `key: value` and `key: [value, …]` in the order of the file, duplicates included.

    Raises FrontmatterError for what is no YAML and for YAML that a ticket has no use for: aliases, anchors,
    tags, nesting, `{…}`, several documents.
    """
    places = _Places(text, fences)
    source = text[fences.start : fences.end]
    control = _NOT_YAML.search(source)
    if control:
        line = places.line(fences.start + control.start())
        raise FrontmatterError(line, f"the frontmatter holds the control character {quote(control.group())}")
    try:
        return tuple(_mapping(yaml.parse(source, Loader=_LOADER), places))
    except yaml.MarkedYAMLError as error:
        line = places.line(places.index(error.problem_mark or error.context_mark))
        raise FrontmatterError(
            line, f"is not valid YAML: {error.problem} (a text with `: ` or an unusual first sign needs quotes)"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: "\UFFFFFFFF" without libyaml
        raise FrontmatterError(1, f"the frontmatter is not valid YAML: {quote(str(error))}") from None


class _Places:
    """Characters of the YAML source → places in the file. YAML has more line ends than a file has lines."""

    def __init__(self, text: str, fences: Fences) -> None:
        self._text = text
        self._offset = fences.start
        self._ends = [found.start() for found in re.finditer("\n", text[: fences.end])]

    def line(self, index: int) -> int:
        return bisect.bisect_left(self._ends, index) + 1

    def begins_its_line(self, scalar: Scalar) -> bool:
        return not self._text[self._text.rfind("\n", 0, scalar.start) + 1 : scalar.start].strip()

    def index(self, mark: Any) -> int:
        return self._offset + (mark.index if mark else 0)

    def scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self.refuse_extras(event)
        start, end = self.index(event.start_mark), self.index(event.end_mark)
        plain = bool(event.implicit[0])
        tag: str = _RESOLVER.resolve(yaml.ScalarNode, event.value, (plain, not plain))
        return Scalar(event.value, self.line(start), start, end, tag == _TEXT_TAG, event.style in ("|", ">"))

    def refuse_extras(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise self.error(event, "YAML anchors (&x) and aliases (*x) have no place in a ticket; quote such text")
        if getattr(event, "tag", None):
            raise self.error(event, "YAML tags (!x) have no place in a ticket; put such text in quotes")

    def error(self, event: yaml.Event, message: str) -> FrontmatterError:
        return FrontmatterError(self.line(self.index(event.start_mark)), message)


def _mapping(events: Iterator[yaml.Event], places: _Places) -> Iterator[Entry]:
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        return
    root = next(events)
    places.refuse_extras(root)
    if not isinstance(root, yaml.MappingStartEvent) or root.flow_style:
        raise places.error(root, "the frontmatter must be lines of `key: value`")
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            places.refuse_extras(event)
            raise places.error(event, "a key must be a single word")
        key = places.scalar(event)
        if not places.begins_its_line(key):
            raise places.error(event, f"the key {quote(key.text)} must begin its line")
        yield Entry(key, _value(key, events, places))
    next(events)  # the end of the document
    if not isinstance(event := next(events), yaml.StreamEndEvent):
        raise places.error(event, "a second YAML document begins here; a ticket has one")


def _value(key: Scalar, events: Iterator[yaml.Event], places: _Places) -> Scalar | tuple[Scalar, ...]:
    event = next(events)
    if isinstance(event, yaml.ScalarEvent):
        return places.scalar(event)
    places.refuse_extras(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Scalar] = []
        while isinstance(event := next(events), yaml.ScalarEvent):
            items.append(places.scalar(event))
        if isinstance(event, yaml.SequenceEndEvent):
            return tuple(items)
        places.refuse_extras(event)
    raise places.error(event, f"{quote(key.text)} must be a plain value or a flat list of them")
