"""How runs, tickets, problems and receipts look on a terminal, and as JSON for machines."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backlog_ops.cli.github import annotation
from backlog_ops.domain.config_rules import Severity
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.routing import History, route
from backlog_ops.domain.tickets import Problem, Ticket
from backlog_ops.domain.waves import plan_waves
from backlog_ops.errors import EXIT_CONFIGURATION, EXIT_FINDINGS, EXIT_OK
from backlog_ops.money.ledger import Spent
from backlog_ops.run.backlog import first_committed
from backlog_ops.run.context import Context
from backlog_ops.run.hand_over import headline
from backlog_ops.run.opening import Selection
from backlog_ops.run.pauses import clock_time
from backlog_ops.run.progress import is_paused, waits_for_person
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.stats import local_model_stats
from backlog_ops.run.worktrees import kept_ref
from backlog_ops.storage import config_file
from backlog_ops.storage.locations import CONFIG_FILE_NAME


@dataclass(frozen=True)
class Located:
    """A problem somebody can go to: `file:line: path: message`."""

    file: str
    line: int
    path: str
    message: str
    is_error: bool
    is_config: bool

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}: {path}{'' if self.is_error else 'warning: '}{self.message}"

    def as_github(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return annotation("error" if self.is_error else "warning", self.file, self.line, text)


def config_problems(top: Path, environ: Mapping[str, str]) -> list[Located]:
    file = top / CONFIG_FILE_NAME
    if not file.is_file():
        raise config_file.no_configuration(file)
    found = config_file.check(config_file.read_config(file), CONFIG_FILE_NAME, environ)
    return [Located(p.file, p.line, p.path, p.message, p.severity is Severity.ERROR, True) for p in found]


def ticket_problems(problems: Iterable[Problem]) -> list[Located]:
    return [Located(p.path, p.line, "", p.message, True, False) for p in problems]


def print_problems(problems: Sequence[Located], form: str) -> None:
    if form == "json":
        print(json.dumps([asdict(problem) for problem in problems]))
        return
    for problem in problems:
        print(problem.as_github() if form == "github" else problem)
    if not problems and form == "text":
        print("ok")


def exit_code_of(problems: Sequence[Located]) -> int:
    errors = [problem for problem in problems if problem.is_error]
    if not errors:
        return EXIT_OK
    return EXIT_CONFIGURATION if any(problem.is_config for problem in errors) else EXIT_FINDINGS


def progress(line: str) -> None:
    """Progress goes to stderr: stdout is the result."""
    print(line, file=sys.stderr, flush=True)


def ask(text: str) -> str | None:
    """A person's yes or no on the terminal; None where the terminal was closed."""
    print(f"{text} [y/N] ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        return None
    return "yes" if line.strip().lower() in ("y", "yes") else "no"


def print_events(ctx: Context, run_id: str, after: int) -> int:
    """Print what happened since event `after`; returns the number of the newest one."""
    for event in ctx.store.events(run_id, after):
        progress(f"{event.ticket}  {event.text}" if event.ticket else event.text)
        after = event.number
    return after


def print_dry_run(ctx: Context, selection: Selection, as_json: bool) -> None:
    """Waves by the deterministic planner and each ticket's tiers with their rules; no model is asked."""
    ages = first_committed(ctx.git, ctx.settings)
    added = {ticket.id: ages[ticket.path] for ticket in selection.tickets if ticket.path in ages}
    plan = plan_waves(selection.tickets, selection.completed, added, ctx.settings.backlog)
    tickets = {ticket.id: ticket for ticket in selection.tickets}
    waves = [{slot.id: _tiers(ctx, tickets[slot.id]) for slot in wave} for wave in plan.waves]
    left_out = {**selection.skipped, **{skip.id: skip.reason for skip in plan.skipped}}
    if as_json:
        print(json.dumps({"waves": waves, "left_out": left_out}, ensure_ascii=False))
        return
    for number, wave in enumerate(waves, start=1):
        print(f"wave {number}")
        for ticket_id, tiers in wave.items():
            print(f"  {ticket_id}  {' · '.join(f'{gate} {tier}' for gate, tier in tiers.items())}")
    for ticket_id, reason in left_out.items():
        print(f"left out: {ticket_id}: {reason}")


def _tiers(ctx: Context, ticket: Ticket) -> dict[str, str]:
    """Gate → tier and rule, for a ticket that has not failed yet."""
    routing = ctx.settings.llm_ops.routing
    gates = (Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW)
    decided = {gate: route(gate, ticket.tags, ticket.complexity, History(), routing) for gate in gates}
    return {gate.value: f"{decision.tier} ({decision.rule})" for gate, decision in decided.items()}


def dollars(nanousd: int | None) -> str:
    return "unknown" if nanousd is None else f"${nanousd / 1e9:.6f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; numbers are already text."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


RECEIPT_COLUMNS = ("ticket", "gate", "#", "asked", "answered", "tokens in", "out", "cost", "outcome")


def receipt_rows(receipts: Iterable[sqlite3.Row]) -> list[list[str]]:
    rows = []
    for row in receipts:
        known = row["input"] is not None
        read = sum(row[key] for key in ("input", "cache_write_5m", "cache_write_1h", "cache_read")) if known else None
        rows.append(
            [
                row["ticket"] or "–",
                row["gate"] or "–",
                "–" if row["attempt"] is None else str(row["attempt"]),
                f"{row['asked_tier']} {row['asked_model']}",
                row["answered_model"] or "–",
                "–" if read is None else str(read),
                "–" if row["output"] is None else str(row["output"]),
                dollars(row["cost_nanousd"]),
                row["outcome"],
            ]
        )
    return rows


def _cost_json(spent: Spent) -> dict[str, Any]:
    """The known part, and how many calls are not in it."""
    return {"cost_nanousd": spent.nanousd, "unknown_cost_calls": spent.unknown_calls}


def _ticket_json(ctx: Context, state: TicketState) -> dict[str, Any]:
    return {
        "id": state.id,
        "title": state.title,
        "wave": state.wave,
        "step": state.step.value,
        "reason": state.reason,
        "attempts": state.attempt,
        "fails": state.fails,
        "commit": state.commit_id,
        **_cost_json(ctx.store.spent(state.run, state.id)),
    }


def run_json(ctx: Context, run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "state": run.state,
        "base_branch": run.base_branch,
        "base_commit": run.base_commit,
        "branch": run.branch,
        "wave": run.wave,
        "wave_source": run.wave_source,
        "say": headline(ctx, run),
        "summary": run.summary,
        **_cost_json(ctx.store.spent(run.id)),
        "tickets": [_ticket_json(ctx, state) for state in ctx.store.tickets(run.id)],
        "actions": [action.id for action in ctx.store.actions(run.id, "open")],
        "paused_until": run.paused_until,
        "paused_why": run.paused_why,
        "stats": {"localModelStats": local_model_stats(ctx.store, run.id)},
        "receipts": [dict(row) for row in ctx.store.receipts(run.id)],
    }


def print_status(ctx: Context, run: Run, form: str) -> None:
    if form == "json":
        print(json.dumps(run_json(ctx, run), ensure_ascii=False))
        return
    print(f"run {run.id} · {run.state} · {headline(ctx, run)}")
    rows = [
        [
            state.id,
            str(state.wave or "–"),
            state.step.value,
            str(state.attempt),
            str(ctx.store.spent(run.id, state.id)),
            state.reason or (state.commit_id or "")[:9],
        ]
        for state in ctx.store.tickets(run.id)
    ]
    print(table(("ticket", "wave", "step", "attempts", "cost", ""), rows))
    for action in ctx.store.actions(run.id, "open"):
        print(f"open: {action.id} {action.gate} of {action.ticket} ({action.tier}, {action.rule})")
    asked = waits_for_person(ctx, run) if run.state == "open" else None
    if asked is not None:
        print(f"asks: {asked.id}: {asked.text} `backlog-ops submit {asked.id} --answer yes` or no")
    if run.paused_until is not None and is_paused(ctx, run):
        print(
            f"paused until {clock_time(run.paused_until)}: {run.paused_why}; `backlog-ops run --wait` goes on by itself"
        )


def print_outcome(ctx: Context, run: Run, form: str) -> None:
    """The end of `run`: what became of each ticket and what every call cost."""
    if form == "json":
        print(json.dumps(run_json(ctx, run), ensure_ascii=False))
        return
    print_status(ctx, run, "text")
    print()
    print(table(RECEIPT_COLUMNS, receipt_rows(ctx.store.receipts(run.id))))
    print(f"\ntotal {ctx.store.spent(run.id)}")
    stats = local_model_stats(ctx.store, run.id)
    share = f"{stats['successCount']}/{stats['totalAttempts']}" if stats["totalAttempts"] else "–"
    print(f"below {Tier.BALANCED}: {share} attempts committed, {stats['escalatedToCloud']} escalated")


def print_ticket(ctx: Context, state: TicketState, form: str) -> None:
    """All there is about one ticket of a run."""
    verdicts = ctx.store.verdicts(state)
    tree = state.commit_id or ctx.git.commit_of(kept_ref(state)) or state.work_tree
    diff = ctx.git.diff(state.base_commit, tree) if state.base_commit and tree else ""
    folder = ctx.work_folder / "runs" / state.run / state.id
    briefs = [str(path) for path in sorted(folder.glob("*/brief.md"))]
    if form == "json":
        detail = {
            **_ticket_json(ctx, state),
            "plan": json.loads(state.plan) if state.plan else None,
            "verdicts": [
                {"attempt": v.attempt, "gate": v.gate.value, "passed": v.passed, "detail": v.detail} for v in verdicts
            ],
            "briefs": briefs,
            "diff": diff,
            "receipts": [dict(row) for row in ctx.store.receipts(state.run, state.id)],
        }
        print(json.dumps(detail, ensure_ascii=False))
        return
    print(f"{state.id}  {state.title}\nstep {state.step}{': ' + state.reason if state.reason else ''}")
    for path in briefs:
        print(f"brief {path}")
    for action in ctx.store.actions_of(state):
        if action.cause:
            print(f"attempt {action.attempt} · {action.gate} · came to no end: {action.cause}")
    for verdict in verdicts:
        passed = "passed" if verdict.passed else "FAILED"
        print(f"\nattempt {verdict.attempt} · {verdict.gate} · {passed}\n{verdict.detail}")
    print()
    print(table(RECEIPT_COLUMNS, receipt_rows(ctx.store.receipts(state.run, state.id))))
    if diff:
        print(f"\n{diff}")
