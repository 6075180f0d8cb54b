"""Commit messages: the Conventional Commits check and the template (rules.md, COMMIT)."""

from __future__ import annotations

import re
from collections.abc import Collection

TYPES = ("build", "chore", "ci", "docs", "feat", "fix", "perf", "refactor", "revert", "style", "test")
MAX_SUBJECT = 100
MAX_MESSAGE = 4_000

_SUBJECT = re.compile(rf"(?:{'|'.join(TYPES)})(?:\([\w./ -]+\))?!?: \S.*")
_BESIDE_THE_CODE = frozenset({"test", "tests", "spec", "docs", "doc"})
_ID_TYPES = {
    "BUG": "fix",
    "FIX": "fix",
    "SEC": "fix",
    "DOC": "docs",
    "DOCS": "docs",
    "TEST": "test",
    "PERF": "perf",
}


def message_problem(message: str) -> str | None:
    """Why `message` is no Conventional Commits message (conventionalcommits.org, v1.0.0), or None."""
    lines = message.split("\n")
    if len(message) > MAX_MESSAGE:
        return f"longer than {MAX_MESSAGE} characters"
    if any(ord(c) < 32 and c not in "\n\t" for c in message):
        return "control characters"
    if len(lines[0]) > MAX_SUBJECT:
        return f"subject longer than {MAX_SUBJECT} characters"
    if not _SUBJECT.fullmatch(lines[0]):
        return "subject is not `type(scope): description`"
    if len(lines) > 1 and lines[1].strip():
        return "no blank line after the subject"
    return None


def commit_type(ticket_id: str, tags: Collection[str]) -> str:
    """`fix`, `docs`, … from a type among the tags, else from the id's prefix, else `feat`."""
    for tag in sorted(tags):
        if tag.lower() in TYPES:
            return tag.lower()
    return _ID_TYPES.get(re.split(r"[-_.\d]", ticket_id, maxsplit=1)[0].upper(), "feat")


def commit_area(paths: Collection[str]) -> str:
    """The part of the tree a change is about: the one top folder its files lie in, tests and docs aside."""
    folders = {path.split("/", 1)[0] for path in paths if "/" in path}
    about = folders - _BESIDE_THE_CODE or folders
    return about.pop() if len(about) == 1 else "repo"


def template_message(kind: str, area: str, ticket_id: str) -> str:
    """The message that needs no model: `{type}({area}): implement {ticket_id}`."""
    return f"{kind}({area}): implement {ticket_id}"
