"""Secrets in what a ticket adds, found by detect-secrets inside this process.

    find_secrets(git, base, tree)     where they stand and of what kind they are
    find_in_lines(lines, baseline)    the same in lines that nobody adds
    redacted(text, found)             a text without them, for a brief

The library's detectors are asked one by one and its global settings stay as they are, so threads may scan at the same
time. No key is tried out over the network, no process but git is started, no file of the work tree is read.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from backlog_ops.domain import text as words
from backlog_ops.errors import ConfigurationError
from backlog_ops.run.git import BINARY_PROBE_BYTES, Git
from backlog_ops.run.redaction import Redaction

if TYPE_CHECKING:  # 0.15 s at run time, and only a scan needs it
    from detect_secrets.core.potential_secret import PotentialSecret
    from detect_secrets.plugins.base import BasePlugin

BASELINE = ".secrets.baseline"
BASELINE_CHANGED = "Change of the allowed secrets"
NOT_SCANNED = "Not scanned: it takes too long"

# Randomness and addresses: hashes and version numbers look like these too, and a false alarm costs an attempt.
_LEFT_OUT = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
_OF_MANY_LINES = "PrivateKeyDetector"

_DIFF = (
    *("--unified=0", "--inter-hunk-context=0", "--no-renames", "--text", "--no-textconv", "--no-ext-diff"),
    *("--no-color", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"),
)
_WHOLE_FILES = "--unified=100000000"
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

# Many patterns take time by the square of a line's length. So a long line is read in pieces: how long each is, and how
# much of it the next one sees again, which is more than a usual token takes.
_SIGHT_OF_SHAPES = (4_000, 1_500)
_SIGHT_OF_GUESSES = (1_000, 300)
_MOST_GUESSES_A_PIECE = 50
_MOST_KEY_LINES = 200
SCAN_SECONDS = 60.0  # ordinary text takes about 3 seconds a megabyte

_NEWER_SHAPES = (
    r"\bsk-ant-[a-z0-9]{2,12}-[\w-]{20,}",  # Anthropic
    r"\bsk-(?:proj|svcacct|admin)-[\w-]{20,}",  # OpenAI
    r"\bgithub_pat_\w{22,}",
    r"\bAIza[\w-]{35}\b",  # Google
    r"\bhf_[A-Za-z0-9]{30,}\b",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"-----BEGIN ENCRYPTED PRIVATE KEY-----",
)

_REST_OF_TOKEN = re.compile(r"[\w.+/=~-]*")
_AROUND_TOKEN = " \t\"'`=:,;"
_TRAILING_COMMENT = re.compile(r"\s+(?:#|;|//).*")
_KEY_BODY = re.compile(r"PRIVATE KEY(?: BLOCK)?-----(.*?)-----END", re.DOTALL)
_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16,}")

Line = tuple[int, str]


@dataclass(frozen=True)
class Hidden:
    """The values of a secret, for `redacted` alone: no repr() or str() shows them."""

    values: frozenset[str] = field(repr=False)


@dataclass(frozen=True)
class FoundSecret:
    """`line` counts from 1 in the new version; `kind` is what the detector looks for, in words."""

    path: str
    line: int
    kind: str
    hidden: Hidden = field(repr=False, compare=False)

    def __str__(self) -> str:
        path = words.quote(self.path) if words.UNSAFE.search(self.path) else self.path
        return f"{path}:{self.line}: {self.kind}"


def find_secrets(git: Git, base: str, tree: str, seconds: float = SCAN_SECONDS) -> list[FoundSecret]:
    """The secrets in the lines that `tree` adds to `base` (both commits or trees), in the order of the diff.

    Without a `.secrets.baseline` in `base`: everything that detect-secrets knows by its shape, and values of names
    such as `password`. With one, its plugins, its filters and its known secrets count, except code of its own (custom
    plugins and filters), word lists and verification. `pragma: allowlist secret` in an added line allows nothing, and
    a change of that file is itself a finding: a model could write both. Binary files, by their content, are skipped.
    What `seconds` do not suffice for is a finding, one for each file.

    Raises ConfigurationError when the baseline cannot be read.
    """
    added = _added_lines(git, base, tree)
    baseline = git.file_at(base, BASELINE)
    found = []
    if git.file_at(tree, BASELINE) != baseline:
        found.append(FoundSecret(BASELINE, 1, BASELINE_CHANGED, Hidden(frozenset())))
    return found + find_in_lines(added, baseline, seconds)


def find_in_lines(
    lines: Mapping[str, Sequence[Line]], baseline: bytes | None, seconds: float = SCAN_SECONDS
) -> list[FoundSecret]:
    """The secrets in lines of files (path → numbered lines), by the same rules; `baseline` is the content of that file,
    which is not looked at itself: it holds hashes. Raises ConfigurationError as well.
    """
    scanned = {path: numbered for path, numbered in lines.items() if numbered and path != BASELINE}
    if not scanned:
        return []
    rules, deadline = _rules(baseline), time.monotonic() + seconds
    return [secret for path, numbered in scanned.items() for secret in _scan(rules, path, numbered, deadline)]


def redacted(text: str, found: Iterable[FoundSecret]) -> str:
    """`text` with every value of `found` as `[secret: KIND]`, by the rules of `Redaction`."""
    return Redaction({value: secret.kind for secret in found for value in secret.hidden.values}).of(text)


# -- the lines


def lines_of_changed_files(git: Git, base: str, tree: str) -> dict[str, list[Line]]:
    """All lines that the files which differ have in `base`."""
    return _added_lines(git, tree, base, _WHOLE_FILES)


def _added_lines(git: Git, base: str, tree: str, *options: str) -> dict[str, list[Line]]:
    """With lines around them, where `options` ask for these."""
    added: dict[str, list[tuple[int, bytes]]] = {}
    for path, number, line in _read(git.run("diff", *_DIFF, *options, base, tree, "--").stdout):
        added.setdefault(path, []).append((number, line))
    return {
        path: [(number, line.decode("utf-8", "replace").rstrip()) for number, line in lines]
        for path, lines in added.items()
        if not (any(b"\0" in line for _, line in lines) and _is_binary(git, tree, path))
    }


def _is_binary(git: Git, tree: str, path: str) -> bool:
    return b"\0" in (git.file_at(tree, path) or b"")[:BINARY_PROBE_BYTES]


def _read(patch: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(path, line number, content) of every line of the new version. Inside a hunk its header's counts decide what a
    line is: content can look like a header.
    """
    path, number, old, new = "", 0, 0, 0
    for line in patch.split(b"\n"):
        if not (old or new):
            if line.startswith(b"+++ "):
                path = _path(line[len(b"+++ ") :])
            elif hunk := _HUNK.match(line):
                old, number, new = (1 if count is None else int(count) for count in hunk.groups())
            continue
        mark = line[:1]
        if mark == b"\\":  # no newline at the end of the file
            continue
        if mark != b"-":
            yield path, number, line[1:]
            number, new = number + 1, new - 1
        if mark != b"+":
            old -= 1


def _path(header: bytes) -> str:
    name = header.removesuffix(b"\t")  # git's own mark behind a name with spaces
    if name.startswith(b'"'):
        name = name[1:-1].decode("unicode_escape").encode("latin-1")
    return name.removeprefix(b"b/").decode("utf-8", "surrogateescape")


# -- the rules


@dataclass(frozen=True)
class _Detector:
    """One of the library's plugins; those without `shapes` guess, by the name of a value or by its randomness."""

    plugin: BasePlugin
    shapes: Sequence[re.Pattern[str]]

    @property
    def kind(self) -> str:
        return str(self.plugin.secret_type)


@dataclass(frozen=True)
class _Rules:
    detectors: Sequence[_Detector]
    heuristics: Sequence[tuple[Callable[..., bool], Set[str]]]  # what dismisses a find, and what each looks at
    excluded_files: Sequence[re.Pattern[str]]
    excluded_lines: Sequence[re.Pattern[str]]
    excluded_values: Sequence[re.Pattern[str]]
    known: Set[tuple[str, str, str]]  # path, kind, SHA-1 of the value


def _rules(held: bytes | None) -> _Rules:
    import detect_secrets.core.baseline as library
    from detect_secrets.settings import Settings

    logging.captureWarnings(False)  # the library's import switches it on, which silences everybody's warnings
    try:
        baseline: dict[str, Any] = {} if held is None else json.loads(held)
        if not isinstance(baseline, dict):
            raise ValueError("not an object")
        if held is not None:
            baseline.pop("custom_plugin_paths", None)  # files of the work tree, which upgrading would run
            baseline = library.upgrade(baseline)
        filters = {used["path"]: used for used in baseline.get("filters_used", [])}
        heuristics = filters if "filters_used" in baseline else Settings().filters
        return _Rules(
            detectors=_detectors(baseline.get("plugins_used", [])),
            heuristics=_heuristics({*Settings.DEFAULT_FILTERS, *heuristics}),
            excluded_files=_patterns(filters, "file"),
            excluded_lines=_patterns(filters, "line"),
            excluded_values=_patterns(filters, "secret"),
            known={
                (path.removeprefix("./"), item["type"], item["hashed_secret"])
                for path, items in baseline.get("results", {}).items()
                for item in items
            },
        )
    except (ValueError, LookupError, TypeError, AttributeError, re.error) as problem:
        reason = f"without {problem}" if isinstance(problem, KeyError) else str(problem)
        raise ConfigurationError(
            f"{BASELINE}: not a baseline that detect-secrets can read ({reason}); "
            f"write it anew with `detect-secrets scan > {BASELINE}` and commit it"
        ) from None


def _detectors(used: Sequence[Mapping[str, Any]]) -> Sequence[_Detector]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.plugins.base import RegexBasedDetector

    mapping: Mapping[str, type[BasePlugin]] = get_mapping_from_secret_type_to_class()
    classes = {kind.__name__: kind for kind in mapping.values()}
    configured = [plugin for plugin in used if "path" not in plugin]
    plugins = []
    for wanted in configured or [{"name": name} for name in classes if name not in _LEFT_OUT]:
        options = {**wanted}
        name = options.pop("name")
        if name not in classes:
            raise ValueError(f"no detector is called {words.quote(str(name))}")
        plugins.append(classes[name](**options))
    plugins.append(_newer_keys(RegexBasedDetector))
    return [
        _Detector(plugin, tuple(plugin.denylist) if isinstance(plugin, RegexBasedDetector) else ())
        for plugin in plugins
    ]


def _newer_keys(base: type[Any]) -> Any:
    """Keys whose shape the library does not know yet."""

    class NewerKeys(base):  # type: ignore[misc]
        secret_type = "API key"
        denylist = tuple(re.compile(shape) for shape in _NEWER_SHAPES)

    return NewerKeys()


def _heuristics(filters: Iterable[str]) -> Sequence[tuple[Callable[..., bool], Set[str]]]:
    from detect_secrets.filters import heuristic

    names = [path.rpartition(".") for path in filters]
    functions = [getattr(heuristic, name) for module, _, name in names if module == heuristic.__name__]
    return [(function, inspect.signature(function).parameters.keys()) for function in functions]


def _patterns(filters: Mapping[str, Mapping[str, Any]], of: str) -> Sequence[re.Pattern[str]]:
    given = filters.get(f"detect_secrets.filters.regex.should_exclude_{of}", {}).get("pattern", [])
    if not isinstance(given, list):
        raise ValueError(f"the pattern of should_exclude_{of} is not a list")
    return [re.compile(pattern) for pattern in given]


# -- the scan


def _scan(rules: _Rules, path: str, lines: Sequence[Line], deadline: float) -> Iterator[FoundSecret]:
    if any(pattern.search(path) for pattern in rules.excluded_files):
        return
    for index, (number, line) in enumerate(lines):
        if any(pattern.search(line) for pattern in rules.excluded_lines):
            continue
        for detector in rules.detectors:
            try:
                values = set(_values(rules, detector, path, line, deadline))
            except TimeoutError:
                yield FoundSecret(path, number, NOT_SCANNED, Hidden(frozenset()))
                return
            if values and type(detector.plugin).__name__ == _OF_MANY_LINES:
                values |= _key_lines(text for _, text in lines[index : index + _MOST_KEY_LINES])
            if values:
                yield FoundSecret(path, number, detector.kind, Hidden(frozenset(values)))


def _values(rules: _Rules, detector: _Detector, path: str, line: str, deadline: float) -> Iterator[str]:
    """Every form of every secret that `detector` finds in `line` and no rule dismisses. Raises TimeoutError."""
    length, shared = _SIGHT_OF_SHAPES if detector.shapes else _SIGHT_OF_GUESSES
    for start in range(0, max(1, len(line) - shared), length - shared):
        if time.monotonic() > deadline:
            raise TimeoutError
        piece = line[start : start + length]
        for secret in _candidates(detector, path, piece):
            value = secret.secret_value or ""
            forms = {value, _TRAILING_COMMENT.sub("", value)}
            known = {(path, detector.kind, sha1(form.encode()).hexdigest()) for form in forms}
            if not known & rules.known and not _is_dismissed(rules, detector, path, piece, value):
                yield from forms
                yield from _whole_tokens(detector, line, start, value)


def _candidates(detector: _Detector, path: str, piece: str) -> Iterator[PotentialSecret]:
    """What the library finds. A guessing detector tells the first value only: what stands behind it is looked at
    again.
    """
    filename = path if detector.shapes else _file_type_name(path)
    for _ in range(_MOST_GUESSES_A_PIECE):
        secrets = detector.plugin.analyze_line(filename=filename, line=piece)
        yield from secrets
        if detector.shapes or not secrets:
            return
        values = [secret.secret_value or "" for secret in secrets]
        piece = piece[min(piece.index(value) + len(value) for value in values) :]


def _file_type_name(path: str) -> str:
    """For the detector of names, which takes unquoted values only in files whose ending it knows as configuration."""
    name = path.rpartition("/")[2]
    is_dotenv = name.startswith(".env") or name.endswith(".env")
    is_sample = name.endswith((".example", ".sample", ".template", ".dist"))
    return f"{path}.ini" if is_dotenv and not is_sample else path


def _is_dismissed(rules: _Rules, detector: _Detector, path: str, piece: str, value: str) -> bool:
    """By the baseline's patterns or by a heuristic. What is known by its shape is a secret wherever it stands: only
    its own looks can dismiss it, such as `$PASSWORD` in a URL.
    """
    if not value:  # an optional group of a shape; the shape itself has matched
        return False
    facts: dict[str, object] = {"secret": value}
    if not detector.shapes:
        facts |= {"filename": path, "line": piece, "plugin": detector.plugin}
    return any(pattern.search(value) for pattern in rules.excluded_values) or any(
        heuristic(**{name: facts[name] for name in needs})
        for heuristic, needs in rules.heuristics
        if needs <= facts.keys()
    )


def _whole_tokens(detector: _Detector, line: str, start: int, value: str) -> Iterator[str]:
    """Matches around `value`, as a whole and up to the token's end: the library may keep only a part, such as `ghp`."""
    for shape in detector.shapes:
        for match in shape.finditer(line, start, start + _SIGHT_OF_SHAPES[0]):
            if value in match.group():
                rest = _REST_OF_TOKEN.match(line, match.end())
                yield match.group().strip(_AROUND_TOKEN)
                yield (match.group() + (rest.group() if rest else "")).strip(_AROUND_TOKEN)


def _key_lines(lines: Iterable[str]) -> set[str]:
    """The lines of the private key that begins in the first of `lines`, which may all stand in one string."""
    body = _KEY_BODY.search("\n".join(lines).replace("\\n", "\n"))
    return set(_KEY_LINE.findall(body[1])) if body else set()
