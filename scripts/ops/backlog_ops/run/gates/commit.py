"""COMMIT: the message, and the commit in the ticket's own worktree, through the user's own hooks."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path, PurePosixPath

from backlog_ops.domain.commits import commit_area, commit_type, message_problem, template_message
from backlog_ops.domain.gates import Gate, TicketStatus
from backlog_ops.domain.tickets import with_status
from backlog_ops.domain.write_set import outside
from backlog_ops.run import worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths
from backlog_ops.run.gates.outcome import fail, park, verdict_on
from backlog_ops.run.git import Git, GitError, is_beyond_link
from backlog_ops.run.prompts import commit_prompt
from backlog_ops.run.redaction import Redaction, environment_secrets
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import ask_gate

# What no change of files can mend: a key that cannot sign, a name that is not set.
_PERSONS_MATTER = re.compile(
    r"^(error|fatal): (gpg failed to sign|failed to write commit object|unable to auto-detect|empty ident name)",
    re.MULTILINE,
)


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    """Commit the approved tree and the ticket's move to completed/ together, through the user's own hooks."""
    if ticket.message is None:
        ticket = ctx.store.update_ticket(ticket, message=_message(ctx, run, ticket))
    git = ctx.git.at(ctx.worktree_path(ticket))
    wanted, completed = _final_tree(ctx, ticket)
    if not _is_committed(git, ticket, wanted):
        uncommit(ctx, git, ticket)  # what a killed or refused commit may have left half done
        if worktrees.snapshot(ctx, git.folder) != ticket.approved_tree:
            fail(ctx, ticket, Gate.REVIEW, "The files changed after the approval.", "not the tree that was approved")
            return
        try:
            _commit(ctx, git, ticket, wanted, completed)
        except GitError as error:
            uncommit(ctx, git, ticket)
            _refused(ctx, git, ticket, error)
            return
    ctx.store.update_ticket(ticket, commit_id=git.commit_of("HEAD"), step=Step.MERGE)


def _refused(ctx: Context, git: Git, ticket: TicketState, error: GitError) -> None:
    """A hook that mended files: judge them again, once. One that said no: a failed gate. No hook: a person's matter."""
    if not git.has_commit_hooks() or _PERSONS_MATTER.search(error.output or error.message):
        park(ctx, ticket, f"git could not commit: {'; '.join([error.message, *error.details])}")
        return
    said = Redaction(environment_secrets(ctx.environ)).of(error.output or error.message)
    tree = worktrees.snapshot(ctx, git.folder)
    strays = outside(git.paths_between(ticket.approved_tree or "", tree), allowed_paths(ctx, ticket))
    git.restore(ticket.approved_tree or "", strays)
    tree = worktrees.snapshot(ctx, git.folder)
    mended_before = any(v.gate is Gate.COMMIT and v.attempt == ticket.attempt for v in ctx.store.verdicts(ticket))
    if tree == ticket.approved_tree or mended_before:
        fail(ctx, ticket, Gate.LINT, f"`git commit` was refused by the repository's hooks:\n{said}", error.message)
        return
    ctx.store.settle(
        ticket,
        f"COMMIT: a hook changed files ({error.message}); checked and reviewed again",
        verdict=verdict_on(ctx, ticket, Gate.COMMIT, False, said),
        step=Step.LINT,
        work_tree=tree,
        approved_tree=None,
        message=None,
    )


def _message(ctx: Context, run: Run, ticket: TicketState) -> str:
    parsed = ctx.parsed(ticket)
    trees = ticket.base_commit or "", ticket.approved_tree or ""
    kind, area = commit_type(ticket.id, parsed.tags), commit_area(ctx.git.paths_between(*trees))
    decision = ctx.decide(Gate.COMMIT, ticket)
    assert decision.tier is not None, "COMMIT never parks"
    answer, _line = ask_gate(
        ctx,
        run,
        Gate.COMMIT,
        decision.tier,
        commit_prompt(kind, area, parsed, ctx.git.text("diff", "--stat", "--no-color", "--no-ext-diff", *trees)),
        ticket=ticket,
        accept=lambda text, _parsed: message_problem(text.strip()),
    )
    message = answer.text.strip() if answer else template_message(kind, area, ticket.id)
    return "\n\n".join(filter(None, [message, ctx.git.commit_template(), f"Ticket: {ticket.id}"])) + "\n"


def _final_tree(ctx: Context, ticket: TicketState) -> tuple[str, str]:
    """(tree, path of the ticket in it): what was approved, with the ticket completed and in completed/.

    Made from git's own objects, so that no line end or filter touches a byte of the ticket but its status.
    """
    approved = ticket.approved_tree or ""
    completed = completed_path(ctx, ticket)
    data = with_status(ctx.git.file_at(approved, ticket.path) or b"", TicketStatus.COMPLETED)
    blob = ctx.git.run("hash-object", "-w", "--stdin", stdin=data).stdout.decode().strip()
    with tempfile.TemporaryDirectory(prefix="backlog-ops-") as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        ctx.git.run("read-tree", approved, env=index)
        ctx.git.run("update-index", "--force-remove", "--", ticket.path, env=index)
        ctx.git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{completed}", env=index)
        return ctx.git.text("write-tree", env=index), completed


def completed_path(ctx: Context, ticket: TicketState) -> str:
    """A name in completed/ that no other ticket has: its own, else its id's."""
    folder = f"{ctx.settings.backlog.data_dir}/completed"
    stem = PurePosixPath(ticket.path).stem
    names = [stem, ticket.id, *(f"{ticket.id}-{number}" for number in range(2, 1000))]
    free = (f"{folder}/{name}.md" for name in names)
    return next(path for path in free if ctx.git.file_at(ticket.base_commit or "", path) is None)


def _is_committed(git: Git, ticket: TicketState, wanted: str) -> bool:
    head = git.text("rev-parse", "HEAD", "HEAD^{tree}").split()
    return (
        head[0] != ticket.base_commit
        and head[1] == wanted
        and git.ok("merge-base", "--is-ancestor", ticket.base_commit or "", "HEAD")
    )


def _commit(ctx: Context, git: Git, ticket: TicketState, wanted: str, completed: str) -> None:
    git.run("read-tree", wanted)
    git.run("checkout-index", "--force", "--", completed)
    if not is_beyond_link(git.folder, ticket.path):
        (git.folder / ticket.path).unlink(missing_ok=True)
    git.run(
        "commit",
        "--quiet",
        "--cleanup=whitespace",
        "-F",
        "-",
        stdin=(ticket.message or "").encode(),
        timeout=ctx.settings.quality_gates.timeout_seconds,
    )
    if git.text("rev-parse", "HEAD^{tree}") != wanted:
        raise GitError("a commit hook changed the tree that was approved")


def uncommit(ctx: Context, git: Git, ticket: TicketState, base: str = "") -> None:
    """Back to uncommitted work on `base` (default: the recorded one), the ticket file where it was."""
    base = base or ticket.base_commit or ""
    git.run("reset", "--quiet", "--mixed", base)
    git.restore(base, [completed_path(ctx, ticket), ticket.path])
