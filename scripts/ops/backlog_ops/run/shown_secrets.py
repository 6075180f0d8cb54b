"""What models are shown of a repository, without the secrets that stand in it; what its baseline allows stays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from backlog_ops.run.git import Git
from backlog_ops.run.secret_scan import (
    BASELINE,
    NOT_SCANNED,
    SCAN_SECONDS,
    FoundSecret,
    Hidden,
    Line,
    find_in_lines,
    lines_of_changed_files,
    redacted,
)

UNKNOWN = "(not shown: looking for secrets in it takes too long)"

_HEADING = re.compile(r"^(@@ -[\d,]+ \+[\d,]+ @@) (.+)", re.MULTILINE)
_KEY_BEGINS = "PRIVATE KEY"
_WORDS = re.compile(r"[^\W\d_]{1,20}(?:[-_./: ][^\W\d_]{1,20})*")


def files_without_secrets(
    git: Git, commit: str, texts: Mapping[str, str], seconds: float = SCAN_SECONDS
) -> dict[str, str]:
    """`texts` (path → content) of files of `commit`. Raises ConfigurationError when its baseline cannot be read."""
    lines = {path: _numbered(text) for path, text in texts.items()}
    found = find_in_lines(lines, git.file_at(commit, BASELINE) if texts else None, seconds)
    unknown = {secret.path for secret in found if secret.kind == NOT_SCANNED}
    return {path: UNKNOWN if path in unknown else _hidden(text, lines, found) for path, text in texts.items()}


def patch_without_secrets(git: Git, base: str, tree: str, patch: str, seconds: float = SCAN_SECONDS) -> str:
    """`patch`, which leads from `base` to `tree`, without what it shows of the secrets in `base`: in removed lines, in
    lines around the changes, in the headings of its hunks. No secret of `tree` alone is looked for: LINT lets none by.

    Raises ConfigurationError when the baseline of `base` cannot be read.
    """
    shown = {line[1:].rstrip() for line in patch.split("\n") if line.startswith(("-", " "))}
    headings = tuple(match[2].rstrip() for match in _HEADING.finditer(patch))
    held = lines_of_changed_files(git, base, tree)
    lines = {path: _those_shown(numbered, shown, headings) for path, numbered in held.items()}
    found = find_in_lines(lines, git.file_at(base, BASELINE) if held else None, seconds)
    if any(secret.kind == NOT_SCANNED for secret in found):
        return f"{UNKNOWN}\n"
    if found:
        patch = _HEADING.sub(r"\1", patch)  # git cuts a heading, maybe in the middle of a secret
    return _hidden(patch, lines, found, marks=1)


def _numbered(text: str) -> Sequence[Line]:
    return [(number, line.rstrip()) for number, line in enumerate(text.split("\n"), start=1)]


def _those_shown(lines: Sequence[Line], shown: Set[str], headings: tuple[str, ...]) -> Sequence[Line]:
    """All of a file with a private key: its middle may be shown without its beginning."""
    if any(_KEY_BEGINS in text for _, text in lines):
        return lines
    return [(number, text) for number, text in lines if text in shown or text.startswith(headings)]


def _hidden(text: str, lines: Mapping[str, Sequence[Line]], found: Sequence[FoundSecret], marks: int = 0) -> str:
    """`text` without what was found in `lines`; so many `marks` stand before each line of it.

    A password of mere words goes only where a line was found to give it away: `admin` is other things as well.
    """
    if not found:
        return text
    giving_away: dict[str, list[FoundSecret]] = {}
    texts = {(path, number): line for path, numbered in lines.items() for number, line in numbered}
    for secret in found:
        giving_away.setdefault(texts[secret.path, secret.line], []).append(secret)
    shown = [redacted(line, giving_away.get(line[marks:].rstrip(), [])) for line in text.split("\n")]
    return redacted("\n".join(shown), [_without_words(secret) for secret in found])


def _without_words(secret: FoundSecret) -> FoundSecret:
    return replace(secret, hidden=Hidden(frozenset(v for v in secret.hidden.values if not _WORDS.fullmatch(v))))
