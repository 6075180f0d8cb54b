"""Paths of the repository as tickets, plans and settings write them: one spelling each, and globs over them."""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections.abc import Iterator

from backlog_ops.domain.text import UNSAFE, quote

_LONGEST_PATH = 1024  # characters; what no checkout has, and a bound on the ancestors of a path
_NOT_OURS = {".git": "git", ".backlog-ops": "the engine"}


def normal_path(path: str) -> str:
    """`./src//a.py` and `src/a.py/` are both `src/a.py`. Nothing on disk is looked at: a path may be a file or
    a folder, there or not yet.

    Raises ValueError, saying why, for what does not name something inside the repository or means different
    things on different machines: absolute, `~`, `..`, a backslash, a drive, `*` or `?`, control characters.
    """
    if UNSAFE.search(path):
        raise ValueError("holds a control character or a line break")
    if len(path) > _LONGEST_PATH:
        raise ValueError(f"is longer than {_LONGEST_PATH} characters")
    if "\\" in path:
        raise ValueError('holds a backslash: write "/" between folders')
    if path.startswith(("/", "~")) or re.match(r"[A-Za-z]:", path):
        raise ValueError("must be relative to the repository")
    if "*" in path or "?" in path:
        raise ValueError("is a pattern: name the files, or the folder that holds them")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError('must be written without ".."')
    if not "".join(parts).strip():
        raise ValueError("must name something inside the repository")
    owner = _NOT_OURS.get(parts[0].casefold())
    if owner:
        raise ValueError(f"belongs to {owner}")
    return "/".join(parts)


def path_problem(path: str) -> str | None:
    """Why `path` cannot be used as it stands, or None. A path in another than its normal form is a problem."""
    try:
        normal = normal_path(path)
    except ValueError as error:
        return str(error)
    return None if normal == path else f"write it as {quote(normal)}"


@functools.lru_cache(maxsize=1 << 16)
def same_file_key(path: str) -> str:
    """Equal for two paths that may be one file on some machine: macOS and Windows fold case, macOS also
    the ways to write an accent. `""` is the repository itself.
    """
    normal = posixpath.normpath(path)
    return "" if normal == "." else unicodedata.normalize("NFC", normal).casefold()


def ancestors(path: str) -> Iterator[str]:
    """Every folder that holds the normalised `path`, the repository (`""`) last."""
    while path:
        path = path.rpartition("/")[0]
        yield path


@functools.lru_cache(maxsize=256)
def glob_regex(pattern: str) -> re.Pattern[str]:
    """For `fullmatch` on a normalised path: `*` and `?` stay within a folder, `**` crosses folders, and
    `migrations/**` is the folder `migrations` too. Case is ignored, as in `same_file_key`.
    """
    source, rest = "", posixpath.normpath(pattern)
    if rest == "**":
        return re.compile(".*")
    if rest.endswith("/**"):
        rest, tail = rest[:-3], "(?:/.*)?"
    else:
        tail = ""
    for token in re.findall(r"\*\*/|\*+|.", rest, re.DOTALL):
        source += {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}.get(token) or (
            ".*" if token.startswith("**") else re.escape(token)
        )
    return re.compile(source + tail, re.IGNORECASE | re.DOTALL)
