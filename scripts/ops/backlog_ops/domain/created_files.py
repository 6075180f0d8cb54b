"""Which tickets use a file that another ticket creates (rules.md: "create-then-import pairs apart").

A ticket uses a created path X when it lists X, or a path inside X, among its own affected files, or when its
text names X in one of these ways. A run is words joined by punctuation without blanks: `src/auth/token.py`,
`auth.token`, `crate::auth::token`, `'../auth/token'`.

- A run holds the whole path of X, with or without its extension; attributes may follow it.
- A run begins with the last two parts of X or more, extension dropped.
- An import begins with its last part: `import token`, `from token.jwt import …`, `require("./token")`.
- Some word is X, where X is a single word (`Makefile`).

`__init__`, `index` and `mod` stand for their folder. A shortened name that fits several created files names
none of them, and a path with blanks is used only by being listed. Erring on the side of a use only costs a
later wave.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from backlog_ops.domain.paths import ancestors, same_file_key
from backlog_ops.domain.tickets import FileAction, Ticket

_WORD = re.compile(r"[\w-]+")
# The look-behind keeps the search linear: no run begins inside a word.
_RUN = re.compile(r"(?<![\w-])[\w-]+(?:[^\w\s,;\"'`|-]{1,3}[\w-]+)+")
# Each begins with plain letters, for which the search is a fast one.
_FROM_IMPORT = re.compile(r"from[ \t]+([\w.]+)[ \t]+import[ \t]+(\w+(?:,[ \t]*\w+)*)")
_PLAIN_IMPORT = re.compile(r"import[ \t]+(\w+)")
_QUOTED_IMPORTS = tuple(
    re.compile(word + r"""[ \t]*\(?["'<]([^"'<>\s]+)["'>]""") for word in ("from", "import", "require", "include")
)
_FOLDER_MODULES = ("__init__", "index", "mod")
_LONGEST_RUN = 24  # words; deeper than any module, and a bound on the work a hostile text can make


def created_paths(ticket: Ticket) -> frozenset[str]:
    """Keys (`same_file_key`) of the paths that `ticket` creates."""
    return frozenset(same_file_key(file.path) for file in ticket.affected_files if file.action is FileAction.CREATE)


def users_of_created_files(tickets: Sequence[Ticket]) -> Mapping[str, frozenset[str]]:
    """Ticket id → keys of the created paths it uses, its own among them."""
    created = {
        same_file_key(file.path): posixpath.normpath(file.path)
        for ticket in tickets
        for file in ticket.affected_files
        if file.action is FileAction.CREATE
    }
    if not created:
        return {ticket.id: frozenset() for ticket in tickets}
    names = _Names(created)
    return {ticket.id: frozenset(names.in_text(ticket.text)).union(_listed(ticket, created)) for ticket in tickets}


def _listed(ticket: Ticket, created: Mapping[str, str]) -> Iterator[str]:
    for file in ticket.affected_files:
        key = same_file_key(file.path)
        yield from (path for path in (key, *ancestors(key)) if path in created)


class _Names:
    """Every name of every created path, and the paths that a text names by them."""

    def __init__(self, created: Mapping[str, str]) -> None:
        self._created = created
        self._whole: dict[str, set[str]] = {}
        short: dict[str, set[str]] = {}
        imported: dict[str, set[str]] = {}
        for key, path in created.items():
            module = _module(path)
            self._whole.setdefault("/".join(_WORD.findall(path)), set()).add(key)
            if len(module) > 1:
                self._whole.setdefault("/".join(module), set()).add(key)
            for start in range(1, len(module) - 1):
                short.setdefault("/".join(module[start:]), set()).add(key)
            if module:
                imported.setdefault(module[-1], set()).add(key)
        self._short = {name: keys for name, keys in short.items() if len(keys) == 1 and name not in self._whole}
        self._imported = {name: keys for name, keys in imported.items() if len(keys) == 1}
        self._first_words = {name.partition("/")[0] for name in self._whole}
        self._single_words = {name for name in self._whole if name and "/" not in name}
        self._barren: set[str] = set()  # most words stand in many tickets: each is looked into once

    def in_text(self, text: str) -> frozenset[str]:
        keys: set[str] = set()
        for token in set(text.split()) - self._barren:
            keys |= self._of_token(token)
        for name in set(_imports(text)):
            keys |= self._of_import(name)
        return frozenset(keys).union(f for key in keys for f in ancestors(key) if f in self._created)

    def _of_token(self, token: str) -> set[str]:
        words = self._single_words.intersection(_WORD.findall(token))
        keys = {key for word in words for key in self._whole[word]}
        for run in _RUN.findall(token):
            words_of_run = _WORD.findall(run)[:_LONGEST_RUN]
            for at, word in enumerate(words_of_run):
                if at == 0 or word in self._first_words:
                    keys |= self._longest_name(words_of_run, at)
        if not keys:
            self._barren.add(token)
        return keys

    def _longest_name(self, words: Sequence[str], start: int) -> set[str]:
        for end in range(len(words), start + 1, -1):
            name = "/".join(words[start:end])
            keys = self._whole.get(name) or (self._short.get(name) if start == 0 else None)
            if keys:
                return keys
        return set()

    def _of_import(self, name: str) -> set[str]:
        package = self._imported.get(name.partition(".")[0], set())
        return package | self._of_token(name) if "." in name else package


def _module(path: str) -> list[str]:
    """The words of `path` without its extension; a folder's own module stands for the folder."""
    words = _WORD.findall(posixpath.splitext(path)[0])
    return words[:-1] if len(words) > 1 and words[-1] in _FOLDER_MODULES else words


def _imports(text: str) -> Iterator[str]:
    """Dotted names that `text` imports; those without a dot are a module's last part."""
    yield from _PLAIN_IMPORT.findall(text)
    for module, names in _FROM_IMPORT.findall(text):
        yield module.strip(".")
        yield from (f"{module}.{name}".strip(".") for name in _WORD.findall(names))
    for quoted in _QUOTED_IMPORTS:
        yield from (".".join(_module(path)) for path in quoted.findall(text))
