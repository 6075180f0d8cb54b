"""Where Claude Code keeps what it knows of a session and of its sub-agents.

    <config>/projects/<folder>/<session>.jsonl                            the main conversation
    <config>/projects/<folder>/<session>/subagents/agent-<id>.meta.json   toolUseId, finished (since 2.1.330)
    <config>/projects/<folder>/<session>/subagents/agent-<id>.jsonl       one line a content block
    <config>/projects/<folder>/<session>/subagents/workflows/<run>/…      the same of Workflow agents

A session that is resumed keeps its file. Nothing here raises: what cannot be read is not there.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.domain.shapes import as_text, parse_object

_META_SUFFIX = ".meta.json"


@dataclass(frozen=True)
class SubAgent:
    """A sub-agent's entry beside its transcript."""

    agent_id: str
    tool_use_id: str  # of the Agent call that started it; "" for Workflow agents and forks
    finished: bool | None  # None: the host is too old to say
    transcript: Path


def config_folder(environ: Mapping[str, str]) -> Path:
    """Where Claude Code keeps its files."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME") or Path.home()) / ".claude")


def find_subagents_folder(environ: Mapping[str, str], session: str) -> Path | None:
    """The folder of a session's sub-agents, if it has one by now."""
    return _find(environ, session, "/subagents")


def find_conversation(environ: Mapping[str, str], session: str) -> Path | None:
    """The main conversation of a session, if it is written down."""
    return _find(environ, session, ".jsonl")


def _find(environ: Mapping[str, str], session: str, rest: str) -> Path | None:
    if not session or "/" in session or session.startswith("."):
        return None
    with contextlib.suppress(OSError):
        return next((config_folder(environ) / "projects").glob(f"*/{glob.escape(session)}{rest}"), None)
    return None


def subagents_in(folder: Path, since: float = 0.0) -> Iterator[SubAgent]:
    """Every sub-agent of a session that has begun, Workflow agents too; in no order, and without those that nobody
    touched since `since` (Unix seconds).
    """
    with contextlib.suppress(OSError):  # what may not be looked into is not there
        for path in folder.rglob(f"agent-*{_META_SUFFIX}"):
            if _touched(path) >= since:
                yield subagent(path.parent, path.name[len("agent-") : -len(_META_SUFFIX)])


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -1.0  # it is gone by now


def subagent(folder: Path, agent_id: str) -> SubAgent:
    meta = parse_object(content_of(folder / f"agent-{agent_id}{_META_SUFFIX}")) or {}
    return SubAgent(
        agent_id=agent_id,
        tool_use_id=as_text(meta.get("toolUseId")),
        finished=meta.get("finished") is True if "requestShape" in meta else None,
        transcript=folder / f"agent-{agent_id}.jsonl",
    )


def content_of(path: Path, most_bytes: int | None = None) -> bytes:
    """What is in a file, or at its end; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            if most_bytes is not None:
                file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read()
    except OSError:
        return b""
