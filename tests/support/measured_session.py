"""What a session that runs the skill takes where the demo does not go: `claude -p`, a parent on Haiku, no auto mode.

The real Claude Code on scratch repositories; every model is scripted. Linux only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tests.e2e.harness.agents import Job, Models, approve, verdict, write
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, ended_well, failing, gates, hand_in, models
from tests.e2e.harness.reply import Answer, tool
from tests.e2e.harness.request import Req
from tests.e2e.harness.run_claude import ROOT
from tests.support.lab import ticket_text
from tests.support.measured_demo import Measured, ParentSession, agents_of, average

CACHE = ROOT / ".deps" / "demo-cache"
ON_FRONTIER = "claude-opus-5-5"
ROUTED = {"IMPLEMENT": "claude-haiku-5-5", "REVIEW": "claude-sonnet-5-5"}


@dataclass(frozen=True)
class Sessions:
    """`calls_more_lint`: the parent's, for an attempt that its own checks send back, before any reviewer."""

    foreground: Measured
    calls_more_lint: int
    no_auto_mode: Measured
    haiku_set_up: int  # by which a parent on Haiku is told more than one on Sonnet
    frontier_agents: int  # that a parent on Haiku started, and that ran on ON_FRONTIER


@dataclass(frozen=True)
class _Session:
    parent: Sequence[Req]
    agents: Sequence[Req]
    routes: Sequence[tuple[str, str, str]]  # ticket, gate and model of each agent


def measure_sessions() -> Sessions:
    """Raises SystemExit or AssertionError where a session did not go as it should."""
    alone = _foreground("sonnet", _plain(1))
    three = _foreground("sonnet", _plain(3))
    sent_back = _foreground("sonnet", _plain(1), models(implement=_writes_more, review=_asks_for_more))
    failed = _foreground("sonnet", _plain(1), models(implement=failing(1)))
    on_haiku = _foreground("haiku", {**_plain(2), "S-1": ticket_text("S-1", tags=["SECURITY"])})
    in_terminal = _terminal("haiku", "--permission-mode", "default")
    more_for_haiku = on_haiku.parent[0].set_up_tokens - three.parent[0].set_up_tokens
    parent = ParentSession(
        average([alone.parent]), average([three.parent]), more_calls=len(sent_back.parent) - len(alone.parent)
    )
    return Sessions(
        Measured(*agents_of([*alone.agents, *three.agents]), parent),
        len(failed.parent) - len(alone.parent),
        _without_auto_mode(in_terminal, parent, more_for_haiku),
        more_for_haiku,
        _frontier_agents(on_haiku),
    )


def _without_auto_mode(session: _Session, foreground: ParentSession, more_for_haiku: int) -> Measured:
    """One ticket was measured; with three, a list takes as many calls, and tokens as in the foreground."""
    alone = average([session.parent])
    alone = replace(alone, set_up=alone.set_up - more_for_haiku)
    lists = (foreground.of_three.calls - 1) / (alone.calls - 1)
    three = replace(
        alone, growth=round(foreground.of_three.growth * lists), output=round(foreground.of_three.output * lists)
    )
    return Measured(*agents_of(session.agents), ParentSession(alone, three, more_calls=alone.calls - 1))


def _frontier_agents(session: _Session) -> int:
    """Raises SystemExit where one ran on another model than the rules say, whatever its parent runs on."""
    for ticket, gate, model in session.routes:
        if model != (ON_FRONTIER if ticket.startswith("S-") else ROUTED[gate]):
            raise SystemExit(f"{gate} of {ticket} ran on {model} in a session on Haiku")
    return sum(model == ON_FRONTIER for _, _, model in session.routes)


# -- playing them


def _plain(number: int) -> Mapping[str, str]:
    return {name: ticket_text(name) for name in (f"T-{n}" for n in range(1, number + 1))}


def _foreground(model: str, tickets: Mapping[str, str], agents: Models | None = None) -> _Session:
    agents = agents or models()
    parent = Parent(agents)
    with _lab(agents, tickets) as lab:
        run = lab.session(SKILL, "--model", model, scenario=parent)
        ended_well(run)
        return _session(lab, parent, agents, run.calls, len(tickets))


def _terminal(model: str, *arguments: str) -> _Session:
    agents = models()
    parent = Parent(agents)
    with _lab(agents, _plain(1)) as lab, lab.terminal(parent, "--model", model, *arguments) as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: terminal.shows("● Done: "))
        assert not terminal.questions, terminal.questions[0]
        return _session(lab, parent, agents, terminal.calls, 1)


def _lab(agents: Models, tickets: Mapping[str, str]) -> BacklogLab:
    return BacklogLab(agents, tickets, cache=CACHE, plugin_dirs=[ROOT])


def _session(lab: BacklogLab, parent: Parent, agents: Models, calls: Sequence[Req], tickets: int) -> _Session:
    if len(lab.commits()) != tickets:
        states = [f"{row['id']} {row['step']}: {row['reason']}" for row in lab.rows("SELECT * FROM ticket")]
        raise SystemExit("\n".join([f"{len(lab.commits())} commits of {tickets} tickets", *states]))
    return _Session(parent.calls, [call for call in calls if call.agent_id], gates(agents.jobs_from_start()))


# -- a ticket that its reviewer sends back once


def _writes_more(job: Job) -> Answer:
    """A line an attempt."""
    lines = "".join(f"{job.ticket} {number}\n" for number in range(1, job.attempt + 1))
    steps: list[Answer] = [write(job.own_file, lines), hand_in(job)]
    if job.attempt > 1:
        steps.insert(0, tool("Read", file_path=str(job.own_file)))
    return steps[job.turn] if job.turn < len(steps) else "Done."


def _asks_for_more(job: Job) -> Answer:
    if job.attempt > 1 or job.turn:
        return approve(job) if job.attempt > 1 else "CHANGES_REQUESTED, 1 finding."
    finding = {
        "severity": "high",
        "file": f"src/{job.ticket}.txt",
        "line": 1,
        "quote": f"{job.ticket} 1",
        "confidence": 90,
        "text": "The second line is missing.",
    }
    return write(job.verdict_file, verdict(job, "CHANGES_REQUESTED", findings=[finding]))
