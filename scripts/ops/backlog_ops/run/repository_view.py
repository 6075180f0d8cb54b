"""What a model without tools, or with few, is shown of a repository: its paths, and the files a ticket is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backlog_ops.domain.tickets import Ticket
from backlog_ops.run.context import Context
from backlog_ops.run.prompts import PLAN_FILE_BYTES, PLAN_FILES
from backlog_ops.run.rows import TicketState
from backlog_ops.run.shown_secrets import files_without_secrets


@dataclass(frozen=True)
class RepositoryView:
    paths: list[str]  # those near the ticket's own first: a long listing is cut at its end
    files: dict[str, str]  # path → text, without secrets, of those that the ticket names, within PLAN_FILE_BYTES
    rules: dict[str, str]  # the same of codeRules.files


def repository_view(ctx: Context, ticket: TicketState) -> RepositoryView:
    """The commit that the ticket's worktree was made from."""
    parsed, commit = ctx.parsed(ticket), ticket.base_commit or "HEAD"
    paths = ctx.git.run("ls-tree", "-r", "-z", "--name-only", commit).stdout.decode("utf-8", "replace").split("\0")
    listed = [path for path in paths if path and not path.startswith(f"{ctx.settings.backlog.data_dir}/")]
    rules = _contents(ctx, commit, [name for name in ctx.settings.code_rules_files if name in paths])
    return RepositoryView(_nearest_first(parsed, listed), _contents(ctx, commit, _wanted(parsed, listed)), rules)


def _wanted(ticket: Ticket, paths: Sequence[str]) -> list[str]:
    named = {file.path for file in ticket.affected_files}
    return [path for path in paths if path in named or any(path.startswith(f"{name}/") for name in named)]


def _nearest_first(ticket: Ticket, paths: Sequence[str]) -> list[str]:
    folders = {file.path.rpartition("/")[0] for file in ticket.affected_files}
    return sorted(paths, key=lambda path: (path.rpartition("/")[0] not in folders, path))


def _contents(ctx: Context, commit: str, paths: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    left = PLAN_FILE_BYTES
    for path in paths[:PLAN_FILES]:
        data = ctx.git.file_at(commit, path)
        if data is None or b"\0" in data[:8000]:
            continue
        if len(data) > left:
            found[path] = "(too long to be shown here)"
            continue
        found[path] = data.decode("utf-8", "replace")
        left -= len(data)
    return files_without_secrets(ctx.git, commit, found)
