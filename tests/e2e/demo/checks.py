"""What has to hold when the demo is over. Each check names what it found where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.e2e.demo.bill import billed, booked
from tests.e2e.demo.stage import Stage

TICKETS = ("BUG-001", "FEAT-002", "FEAT-003", "SEC-004")


def _commits(stage: Stage) -> list[str]:
    return stage.git("rev-list", "--reverse", f"{stage.start}..main").splitlines()


def four_commits(stage: Stage) -> str | None:
    """main is ahead of where it began by exactly four commits, in one line."""
    found = _commits(stage)
    merges = stage.git("rev-list", "--merges", f"{stage.start}..main").splitlines()
    lost = stage.git("rev-list", f"main..{stage.start}").splitlines()
    return None if (len(found), merges, lost) == (4, [], []) else f"{len(found)} commits, {merges=}, {lost=}"


def one_ticket_a_commit(stage: Stage) -> str | None:
    """Each commit moves one ticket to completed/ and changes a file of its work."""
    moved = []
    for commit in _commits(stage):
        changed = stage.git("show", "--no-renames", "--name-status", "--format=", commit).splitlines()
        here = [line.rsplit("/", 1)[1] for line in changed if line.startswith("A\ttickets/completed/")]
        gone = [line.rsplit("/", 1)[1] for line in changed if line.startswith("D\ttickets/pending/")]
        if len(here) != 1 or here != gone or not any("\ttally/" in line for line in changed):
            return f"{commit[:9]} changes {changed}"
        moved += here
    expected = [f"{ticket}.md" for ticket in TICKETS]
    return None if sorted(moved) == expected else f"moved {moved}"


def four_tickets_completed(stage: Stage) -> str | None:
    """tickets/completed/ holds the four, each with its status changed, and tickets/pending/ none."""
    completed = sorted((stage.repo / "tickets/completed").glob("*.md"))
    pending = list((stage.repo / "tickets/pending").glob("*"))
    stale = [path.name for path in completed if "\nstatus: completed\n" not in path.read_text(encoding="utf-8")]
    if [path.stem for path in completed] == list(TICKETS) and not pending and not stale:
        return None
    return f"completed {[path.name for path in completed]}, pending {pending}, status not changed in {stale}"


def dependency_first(stage: Stage) -> str | None:
    """FEAT-003 depends on FEAT-002 and comes after it."""
    messages = [stage.git("show", "--no-patch", "--format=%B", commit) for commit in _commits(stage)]
    order = [ticket for message in messages for ticket in TICKETS if f"Ticket: {ticket}" in message]
    if "FEAT-002" in order and "FEAT-003" in order and order.index("FEAT-002") < order.index("FEAT-003"):
        return None
    return f"the order is {order}"


def project_tests_pass(stage: Stage) -> str | None:
    """The project's tests pass on main."""
    done = stage.run_project_tests()
    return None if done.returncode == 0 else done.stderr[-500:]


def clean_tree(stage: Stage) -> str | None:
    """On main, with nothing uncommitted and nothing untracked."""
    branch, changes = stage.git("branch", "--show-current"), stage.git("status", "--porcelain")
    return None if (branch, changes) == ("main", "") else f"on {branch!r} with {changes!r}"


def no_worktree_left(stage: Stage) -> str | None:
    """The repository has one work tree, and no branch but main."""
    trees = stage.git("worktree", "list").splitlines()
    folder = stage.repo / ".backlog-ops" / "worktrees"
    left = list(folder.iterdir()) if folder.exists() else []
    branches = stage.git("branch", "--format=%(refname:short)").splitlines()
    return None if (len(trees), left, branches) == (1, [], ["main"]) else f"{trees}, {left}, {branches}"


def haiku_then_sonnet(stage: Stage) -> str | None:
    """BUG-001 was tried on Haiku, failed, and was done on Sonnet; the others took one attempt each."""
    rows = stage.rows(
        "SELECT DISTINCT ticket, attempt, answered_model FROM ledger WHERE gate = 'IMPLEMENT' ORDER BY ticket, attempt"
    )
    models: dict[str, list[str]] = {}
    for ticket, _attempt, model in rows:
        models.setdefault(ticket, []).append(model)
    expected = {
        "BUG-001": ["claude-haiku-5-5", "claude-sonnet-5-5"],
        "FEAT-002": ["claude-haiku-5-5"],
        "FEAT-003": ["claude-haiku-5-5"],
        "SEC-004": ["claude-opus-5-5"],
    }
    return None if models == expected else str(models)


def local_first(stage: Stage) -> str | None:
    """Wave plan and commit messages came from the local model, plans too but for the SECURITY ticket's."""
    rows = stage.rows(
        "SELECT DISTINCT coalesce(ticket, ''), provider FROM ledger "
        "WHERE gate IN ('WAVE_PLAN', 'PLAN', 'COMMIT') AND provider != 'ollama'"
    )
    found = [tuple(row) for row in rows]
    return None if found == [("SEC-004", "anthropic")] else str(found)


def answered_as_asked(stage: Stage) -> str | None:
    """Every receipt has an answering model, and it is the one that was asked for."""
    rows = stage.rows(
        "SELECT ticket, gate, asked_model, answered_model, outcome FROM ledger "
        "WHERE answered_model IS NOT asked_model OR cost_nanousd IS NULL"
    )
    return None if not rows else str([tuple(row) for row in rows])


def every_call_was_scripted(stage: Stage) -> str | None:
    """The script covered every call, and no other path was asked for."""
    # Claude Code before 2.1.330 asks once a process whether anybody is there.
    expected = [r for r in stage.api.requests if r.is_message or (r.method, r.path) == ("HEAD", "/")]
    strange = [f"{r.method} {r.path}" for r in stage.api.requests if r not in expected]
    return None if not stage.api.errors and not strange else f"{stage.api.errors} {strange}"


def run_ended_well(stage: Stage) -> str | None:
    """The run is closed as done."""
    states = [row[0] for row in stage.rows("SELECT state FROM run")]
    return None if states == ["done"] else str(states)


def ledger_equals_bill(stage: Stage) -> str | None:
    """Per model, the ledger's tokens and nano-dollars are those that the scripted API billed."""
    bill, ledger = billed(stage.calls), booked(stage)
    return None if bill == ledger else f"billed {bill}, booked {ledger}"


def parent_equals_bill(stage: Stage) -> str | None:
    """So are those of the parent session; the host's own safety checks are unattributed, to the nano-dollar."""
    bill, ledger = billed(stage.parent_calls), booked(stage, parents=True)
    beyond = sum(one.nanousd for one in billed(stage.safety_calls).values())
    unattributed = sum(row[0] for row in stage.rows("SELECT unattributed_nanousd FROM session_cost"))
    same = (bill, beyond) == (ledger, unattributed)
    return None if same else f"billed {bill} and {beyond} beyond, booked {ledger} and {unattributed} unattributed"


def report_equals_ledger(stage: Stage) -> str | None:
    """`backlog-ops report` sums up to the ledger."""
    total = json.loads(stage.command("report", "--format", "json"))["report"]["total"]
    told = total["backlog.cost_nanousd"]
    (ledger,) = stage.rows("SELECT sum(cost_nanousd) FROM ledger")[0]
    return None if told == ledger else f"the report says {told}, the ledger {ledger}"


def nothing_asked(stage: Stage) -> str | None:
    """Nobody was asked for a permission."""
    return "\n".join(stage.questions) or None


Check = Callable[[Stage], str | None]
CHECKS: tuple[Check, ...] = (
    run_ended_well,
    four_commits,
    one_ticket_a_commit,
    four_tickets_completed,
    dependency_first,
    project_tests_pass,
    clean_tree,
    no_worktree_left,
    haiku_then_sonnet,
    local_first,
    answered_as_asked,
    every_call_was_scripted,
    ledger_equals_bill,
    parent_equals_bill,
    report_equals_ledger,
    nothing_asked,
)
