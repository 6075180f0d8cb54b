"""COMMIT: message, commit in the worktree, then one at a time onto the run's branch."""

from __future__ import annotations

from pathlib import PurePosixPath

from backlog_ops.domain.commits import commit_area, commit_type, message_problem, template_message
from backlog_ops.domain.gates import Gate, TicketStatus
from backlog_ops.domain.tickets import with_status
from backlog_ops.domain.write_set import outside
from backlog_ops.run import worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths
from backlog_ops.run.gates.lint import run_in_worktree
from backlog_ops.run.gates.outcome import fail, park
from backlog_ops.run.git import Git, GitError
from backlog_ops.run.prompts import commit_prompt
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Run, TicketState
from backlog_ops.run.text_gates import ask_gate


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    if ticket.message is None:
        ticket = ctx.store.update_ticket(ticket, message=_message(ctx, run, ticket))
    git = ctx.git.at(ctx.worktree_path(ticket))
    if git.commit_of("HEAD") == ticket.base_commit:
        if worktrees.snapshot(ctx, git.folder) != ticket.approved_tree:
            fail(
                ctx,
                ticket,
                Gate.REVIEW,
                "The files changed after the approval.",
                "not the tree that was approved",
            )
            return
        try:
            _commit(ctx, git, ticket)
        except GitError as error:
            _uncommit(ctx, git, ticket)
            said = "\n".join([error.message, *error.details])
            fail(
                ctx,
                ticket,
                Gate.LINT,
                f"`git commit` was refused by the repository's hooks:\n{said}",
                error.message,
            )
            return
    ctx.store.update_ticket(ticket, commit_id=git.commit_of("HEAD"), step=Step.MERGE)


def _message(ctx: Context, run: Run, ticket: TicketState) -> str:
    parsed = ctx.parsed(ticket)
    changed = ctx.git.paths_between(ticket.base_commit or "", ticket.approved_tree or "")
    kind, area = commit_type(ticket.id, parsed.tags), commit_area(changed)
    summary = ctx.git.text("diff", "--stat", "--no-color", ticket.base_commit or "", ticket.approved_tree or "")
    decision = ctx.decide(Gate.COMMIT, ticket)
    assert decision.tier is not None
    answer, _line = ask_gate(
        ctx,
        run,
        Gate.COMMIT,
        decision.tier,
        commit_prompt(kind, area, parsed, summary),
        ticket=ticket,
        accept=lambda text, _parsed: message_problem(text.strip()),
    )
    message = answer.text.strip() if answer else template_message(kind, area, ticket.id)
    return f"{message}\n\nTicket: {ticket.id}\n"


def _completed_path(ctx: Context, ticket: TicketState) -> str:
    return f"{ctx.settings.backlog.data_dir}/completed/{PurePosixPath(ticket.path).name}"


def _commit(ctx: Context, git: Git, ticket: TicketState) -> None:
    """Commit the approved tree and the ticket's move to completed/ together, through the user's own hooks."""
    completed = git.folder / _completed_path(ctx, ticket)
    pending = git.folder / ticket.path
    git.run("read-tree", ticket.approved_tree or "")
    completed.parent.mkdir(parents=True, exist_ok=True)
    completed.write_bytes(with_status(pending.read_bytes(), TicketStatus.COMPLETED))
    pending.unlink()
    git.run("add", "--force", "--", str(completed.relative_to(git.folder)))
    git.run("rm", "--quiet", "--cached", "--", ticket.path)
    wanted = git.text("write-tree")
    git.run("commit", "--quiet", "--cleanup=whitespace", "-F", "-", stdin=(ticket.message or "").encode())
    if git.text("rev-parse", "HEAD^{tree}") != wanted:
        raise GitError("a commit hook changed the tree that was approved")


def _uncommit(ctx: Context, git: Git, ticket: TicketState) -> None:
    """Back to uncommitted work on the recorded base, the ticket file where it was."""
    git.run("reset", "--quiet", "--mixed", ticket.base_commit or "")
    (git.folder / _completed_path(ctx, ticket)).unlink(missing_ok=True)
    worktrees.restore_path(ctx, git.folder, ticket.base_commit or "", ticket.path)


def merge(ctx: Context, run: Run, ticket: TicketState) -> None:
    """Put the ticket's commit on the run's branch; on any failure the branch is what it was."""
    with ctx.merging:
        tip = ctx.git.commit_of(run.branch) or ""
        if not ctx.git.is_ancestor(ticket.commit_id or "", tip):
            if tip != ticket.base_commit:
                moved = _rebase(ctx, ticket, tip)
                if moved is None:
                    return
                ticket = moved
            if not _deletes_only_what_it_named(ctx, ticket):
                return
            ctx.git.move_ref(f"refs/heads/{run.branch}", ticket.commit_id or "", tip, f"backlog: {ticket.id}")
    ctx.store.update_ticket(ticket, step=Step.DONE)
    subject = (ticket.message or "").splitlines()[0]
    ctx.say(ticket, f"COMMIT · {(ticket.commit_id or '')[:9]} · {subject}")
    worktrees.remove(ctx, ticket)


def _rebase(ctx: Context, ticket: TicketState, tip: str) -> TicketState | None:
    """The ticket's commit on top of `tip`, checked again there; None when it did not get that far."""
    git = ctx.git.at(ctx.worktree_path(ticket))
    try:
        git.run("rebase", "--quiet", "--onto", tip, ticket.base_commit or "", "HEAD")
    except GitError as error:
        git.run("rebase", "--abort", check=False)
        park(ctx, ticket, f"merge conflict with what was merged before it: {error.message}")
        return None
    ticket = ctx.store.update_ticket(ticket, commit_id=git.commit_of("HEAD"), base_commit=tip)
    checks, _tree = run_in_worktree(ctx, ticket)
    if checks.passed:
        return ticket
    _uncommit(ctx, git, ticket)
    failed = checks.results[-1]
    fail(ctx, ticket, Gate.LINT, checks.report(), f"on the merged base: {failed.name}: {failed.problem}")
    return None


def _deletes_only_what_it_named(ctx: Context, ticket: TicketState) -> bool:
    deleted = ctx.git.paths_between(ticket.base_commit or "", ticket.commit_id or "", only="D")
    strays = outside(deleted, allowed_paths(ctx, ticket) | {ticket.path})
    if strays:
        park(ctx, ticket, f"refused to merge: it would delete {strays[0]}, which the ticket does not name")
    return not strays
