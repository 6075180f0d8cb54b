"""`submit ACTION --request PATH`: an implementer asks to write a file that the plan did not name.

Granted by rule, not by a model: a path that git would commit and that no other ticket of the wave may write. The
reviewer is told which files were asked for; git is compared with the widened write-set like with any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.paths import normal_path, same_file_key
from backlog_ops.domain.write_set import outside, write_set
from backlog_ops.errors import FindingsError, UsageError
from backlog_ops.run import worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths, granted_paths
from backlog_ops.run.rows import Action, TicketState
from backlog_ops.storage.locations import CONFIG_FILE_NAME

_HOST_SETTINGS = (".claude", ".mcp.json")
MOST_GRANTED = 10  # paths a ticket may get beyond its plan; one that needs more needs another plan


def request(ctx: Context, action: Action, wanted: Sequence[str]) -> str:
    """Let the open IMPLEMENT action write `wanted`, all or none; returns what to tell the one who asked.

    Raises UsageError for a path that cannot be meant, FindingsError for one that is refused.
    """
    if action.gate is not Gate.IMPLEMENT:
        raise UsageError(f"{action.id}: {action.gate} writes one file, which its brief names")
    ticket = ctx.store.ticket(action.run, action.ticket)
    paths = [_path(ctx, ticket, text) for text in wanted]
    allowed = allowed_paths(ctx, ticket)
    new = outside(paths, allowed)
    if not new:
        return f"{action.id}: may be written already: {', '.join(paths)}"
    granted = [*granted_paths(ticket), *new]
    if len(granted) > MOST_GRANTED:
        raise FindingsError(
            f"{action.id}: refused: {ticket.id} may get {MOST_GRANTED} files beyond its plan; do without, and say so"
        )
    _refuse(ctx, action, ticket, new)
    ctx.store.grant(action, sorted(allowed | set(new)), granted, f"may also write {', '.join(new)}, as it asked")
    return f"{action.id}: granted: {', '.join(new)}"


def _path(ctx: Context, ticket: TicketState, text: str) -> str:
    worktree = ctx.worktree_path(ticket)
    try:
        inside = Path(text).relative_to(worktree).as_posix() if Path(text).is_absolute() else text
        return normal_path(inside)
    except ValueError as error:
        reason = f"is not in the worktree {worktree}" if Path(text).is_absolute() else str(error)
        raise UsageError(f"{text}: {reason}") from None


def _refuse(ctx: Context, action: Action, ticket: TicketState, paths: Sequence[str]) -> None:
    rulers = {CONFIG_FILE_NAME, ctx.settings.backlog.data_dir, *ctx.settings.code_rules_files, *_HOST_SETTINGS}
    for path in paths:
        if _meet(path, frozenset(rulers)):
            raise FindingsError(
                f"{action.id}: refused: {path} governs the gates or the host; a plan may name it, you not"
            )
    worktree = ctx.worktree_path(ticket)
    # What is not there yet may become a folder, and git may ignore folders of that name only.
    folders = [f"{path}/" for path in paths if not (worktree / path).exists()]
    unusable = worktrees.unusable_paths(ctx, ticket, [*paths, *folders])
    if unusable:
        raise FindingsError(f"{action.id}: refused: {unusable[0][0].removesuffix('/')} {unusable[0][1]}")
    for other in ctx.store.tickets(action.run, ticket.wave):
        if other.id == ticket.id or other.step.is_final:
            continue
        others = allowed_paths(ctx, other) if other.plan else write_set(ctx.parsed(other), None)
        for path in paths:
            if _meet(path, others):
                raise FindingsError(
                    f"{action.id}: refused: {path} belongs to {other.id} in this wave; do without it, and say so"
                )


def _meet(path: str, others: frozenset[str]) -> bool:
    """Whether two tickets could write one file: equal, or one a folder of the other."""
    key = same_file_key(path)
    folder = {same_file_key(other) for other in others}
    return not outside([key], folder) or bool([other for other in folder if other.startswith(f"{key}/")])
