"""A text without the secrets in it, also where they are escaped for a shell, a URL, JSON or Python.

What is a secret is not decided here but by `secret_scan`, which finds them in files, and by the names of environment
variables.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Set
from urllib.parse import quote, quote_plus, unquote

# Shorter values are no secrets, and those shorter than a word would tear other words apart.
_SHORTEST = 4
_ANYWHERE_FROM = 8

_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)$|API_KEY", re.IGNORECASE)
_SHORTEST_OF_ENVIRONMENT = 8
_SHORTEST_LINE = 16
_PIECE = 200


class Redaction:
    """Takes values out of texts; `names` says what stands in their place: value → NAME of `[secret: NAME]`.

    Values of 4 to 7 characters go where they stand as a word; shorter ones stay.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = {spelling: name for value, name in names.items() for spelling in _spellings(value)}
        longest_first = sorted((each for each in self._names if len(each) >= _SHORTEST), key=len, reverse=True)
        alternatives = "|".join(_where_it_stands(spelling) for spelling in longest_first)
        self._pattern = re.compile(alternatives or r"(?!)")

    def of(self, text: str) -> str:
        return self._pattern.sub(lambda match: f"[secret: {self._names[match.group()]}]", text)

    def of_beginning(self, text: str, length: int) -> str:
        """The first `length` characters; a secret that is cut there is known by what stands behind them."""
        cut = (match.end() for match in self._pattern.finditer(text) if match.start() < length < match.end())
        return self.of(text[: next(cut, length)])


def environment_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Value → name of the variables that are secrets by their names, and pieces of long values: what a program prints
    of them may be cut, or be one of many lines. Paths of files are no secrets.
    """
    return {
        piece: name
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_OF_ENVIRONMENT and not _is_path(value)
        for piece in _pieces(value)
    }


def _is_path(value: str) -> bool:
    return os.sep in value and os.path.exists(value)


def _pieces(value: str) -> Iterator[str]:
    yield value
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE)
    yield from (value[start : start + _PIECE] for start in range(0, len(value) - _PIECE, _PIECE))


def _spellings(value: str) -> Set[str]:
    return {
        value,
        value.replace("'", "'\"'\"'"),  # shlex.quote
        value.replace("'", "'\\''"),  # set -x
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        unquote(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        html.escape(value),
    }


def _where_it_stands(value: str) -> str:
    exact = re.escape(value)
    return exact if len(value) >= _ANYWHERE_FROM else rf"(?<!\w){exact}(?!\w)"
