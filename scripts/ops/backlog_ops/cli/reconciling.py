"""`backlog-ops reconcile`: what `claude -p` says of a session, held against its receipts.

Hosts before 2.1.330 write no cost of a session down; its result on stdout is the only place that has it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backlog_ops.cli.opening import open_context
from backlog_ops.domain.budget import dollars
from backlog_ops.domain.shapes import as_object, as_objects, as_text, parse_object
from backlog_ops.errors import EXIT_OK, UsageError
from backlog_ops.money.balance import Balance
from backlog_ops.money.host_files import config_folder, find_conversation
from backlog_ops.run.session_agents import settle
from backlog_ops.run.session_receipts import settle_account

MOST_BYTES = 256_000_000


def reconcile(args: argparse.Namespace) -> int:
    ctx = open_context()
    results = _results(_content(args.file))
    if not results:
        raise UsageError(f"{args.file}: holds no result of `claude -p --output-format json` (or stream-json)")
    for session, result in results.items():
        settle(ctx, ended=session)
        conversation = find_conversation(ctx.environ, session)
        if conversation is None:
            folder = config_folder(ctx.environ)
            raise UsageError(f"{args.file}: session {session} left no conversation in {folder}; set CLAUDE_CONFIG_DIR")
        print(_line(session, settle_account(ctx, session, conversation, result)))
    return EXIT_OK


def _content(file: str) -> bytes:
    try:
        content = sys.stdin.buffer.read(MOST_BYTES + 1) if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UsageError(f"{file}: larger than {MOST_BYTES} bytes; give the result alone")
    return content


def _results(content: bytes) -> dict[str, Mapping[str, Any]]:
    """Session → its last result: one object, a list of events, or a line each."""
    import json

    try:
        whole = json.loads(content)
    except (ValueError, RecursionError):
        whole = [parse_object(line) for line in content.splitlines()]
    events = as_objects(whole if isinstance(whole, list) else [whole])
    return {
        as_text(event["session_id"]): event
        for event in events
        if event.get("type") == "result" and as_text(event.get("session_id")) and as_object(event.get("modelUsage"))
    }


def _line(session: str, found: Balance) -> str:
    parts = [f"session {session}: the host counts {dollars(found.host)}"]
    if found.transcripts is None or found.unattributed is None or found.repriced is None:
        return f"{parts[0]}; one of its models has no price here, so the rest is unknown"
    parts.append(f"its receipts {dollars(found.transcripts)}")
    if found.unattributed:
        parts.append(f"{dollars(found.unattributed)} stand in no transcript (unattributed)")
    if found.repriced:
        parts.append(f"{dollars(found.repriced)} is the difference between its prices and ours")
    return " · ".join(parts)
