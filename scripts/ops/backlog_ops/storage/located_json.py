"""JSON as RFC 8259 writes it, with the line of every value, for files that people edit by hand.

The standard library's parser forgets where it found a value, keeps the last of two equal keys and accepts
`NaN`; a configuration error needs the line, and the other two are errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_DEPTH = 64
_MAX_NUMBER = 40  # characters; longer ones are typing errors, and int() refuses them from 4,300 digits on

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z.+-])")
_WORD = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")
_CONSTANTS = {"true": True, "false": False, "null": None}

JsonPath = tuple[str | int, ...]  # keys and array indexes from the root


class JsonSyntaxError(ValueError):
    """The text is not JSON. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


@dataclass(frozen=True)
class LocatedJson:
    value: Any
    lines: Mapping[JsonPath, int]  # of each member's key and each item; the root is ()
    duplicates: tuple[JsonPath, ...]  # repeated keys; `value` and `lines` hold the last of each

    def line(self, path: JsonPath) -> int:
        """The line of `path`, or of the nearest value around it where the file does not have it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def parse(text: str) -> LocatedJson:
    """Raises JsonSyntaxError at the first place where `text` stops being JSON."""
    reader = _Reader(text)
    value = reader.document()
    return LocatedJson(value, reader.lines, tuple(reader.duplicates))


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[JsonPath, int] = {}
        self.duplicates: list[JsonPath] = []
        self._counted = (0, 1)  # (offset, its line): lines are counted on from the last value

    def document(self) -> Any:
        value = self._value(())
        if self._peek():
            raise self._error("text after the end of the value")
        return value

    def _value(self, path: JsonPath) -> Any:
        if len(path) > MAX_DEPTH:
            raise self._error(f"nested more than {MAX_DEPTH} levels deep")
        char = self._peek()
        self.lines.setdefault(path, self._line())
        if char == "{":
            return self._object(path)
        if char == "[":
            return self._array(path)
        if char == '"':
            return self._string()
        if number := _NUMBER.match(self.text, self.at):
            if len(number.group()) > _MAX_NUMBER:
                raise self._error(f"a number of more than {_MAX_NUMBER} characters")
            self.at = number.end()
            return json.loads(number.group())
        if (word := _WORD.match(self.text, self.at)) and word.group() in _CONSTANTS:
            self.at = word.end()
            return _CONSTANTS[word.group()]
        raise self._error("expected a value", word.group() if word else char)

    def _object(self, path: JsonPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while self._another("}", first=not found):
            if self._peek() != '"':
                raise self._error("expected a key in double quotes", self._peek())
            line = self._line()
            key = self._string()
            member = (*path, key)
            if key in found:
                self.duplicates.append(member)
            self.lines[member] = line
            if self._peek() != ":":
                raise self._error('expected ":" after the key', self._peek())
            self.at += 1
            found[key] = self._value(member)
        return found

    def _array(self, path: JsonPath) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while self._another("]", first=not found):
            found.append(self._value((*path, len(found))))
        return found

    def _another(self, closing: str, first: bool) -> bool:
        """Step over what stands between two elements; False after the closing bracket."""
        char = self._peek()
        if char == closing:
            self.at += 1
            return False
        if first:
            return True
        if char != ",":
            raise self._error(f'expected "," or "{closing}"', char)
        comma = self.at
        self.at += 1
        if self._peek() == closing:
            self.at = comma
            raise self._error(f'a comma before "{closing}"')
        return True

    def _string(self) -> str:
        match = _STRING.match(self.text, self.at)
        if match is None:
            raise self._error("a string with no end on its line, an invalid escape or a control character")
        value = str(json.loads(match.group()))
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise self._error("a string with half of a surrogate pair")
        self.at = match.end()
        return value

    def _peek(self) -> str:
        """The next character that is not white space; "" at the end. Comments are named as what they are."""
        space = _SPACE.match(self.text, self.at)
        assert space is not None  # the pattern matches the empty string
        self.at = space.end()
        if self.text[self.at : self.at + 2] in ("//", "/*"):
            raise self._error("comments are not allowed in JSON")
        return self.text[self.at : self.at + 1]

    def _line(self) -> int:
        offset, line = self._counted
        if self.at < offset:  # an error is reported a little before the last value
            offset, line = 0, 1
        self._counted = (self.at, line + self.text.count("\n", offset, self.at))
        return self._counted[1]

    def _error(self, message: str, found: str | None = None) -> JsonSyntaxError:
        if found is not None:
            message += f", found {json.dumps(found[:20])}" if found else ", found the end of the file"
        column = self.at - (self.text.rfind("\n", 0, self.at) + 1) + 1
        return JsonSyntaxError(message, self._line(), column)
