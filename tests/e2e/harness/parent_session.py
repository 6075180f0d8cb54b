"""A scripted parent session: like a real one it knows only the skill's text, tool results and what hooks add.

    Parent(Models())    starts every list of actions in one message; asks `next` where nobody handed anything over

It obeys the last JSON of `backlog-ops` that it has seen, once. Its sub-agents, and every other call, are those of
`models`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.e2e.harness.agents import Agent, Job, Models, approve, bash, write, write_own_file
from tests.e2e.harness.reply import Answer, tool
from tests.e2e.harness.request import Json, Req, content_text
from tests.e2e.harness.rules import Scenario
from tests.e2e.harness.run_record import Run

SKILL = "/backlog:backlog-implementer"

_ANSWER = re.compile(r'\{"run": ".*\}')
_LAUNCHED = "Async agent launched successfully"
_NOTIFIED = re.compile(r"<task-notification>.*?<tool-use-id>(\S+?)</tool-use-id>", re.DOTALL)
_LAUNCHER = re.compile(r"\S*/bin/backlog-ops")
HAND_BACK = "SubagentHandback"  # how a sub-agent reports in auto mode

Tamper = Callable[[Json], Json]


@dataclass
class Parent:
    """`calls`: its own requests, in order. `tamper`: what it makes of an action before it starts it."""

    models: Scenario
    tamper: Tamper = lambda call: call
    calls: list[Req] = field(default_factory=list)
    launches: list[Json] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Req) -> Answer:
        if request.agent_id:
            return _handed_back(request, self.models(request))
        if is_safety_check(request):
            return "<severity>0</severity>"
        if "Agent" not in request.tools:
            return self.models(request)
        with self._lock:
            self.calls.append(request)
        return self._turn(request)

    def _turn(self, request: Req) -> Answer:
        told = last_answer(_news(request))
        if told is None:
            if still_out(request):
                return "They are at work."
            return bash(f"{_launcher(request)} next")
        actions = told["actions"]
        if actions[0]["do"] == "done":
            return f"Done: {actions[0]['summary']}"
        if "until" in actions[0]:
            return f"Stopped: {actions[0]['why']}"
        if actions[0]["do"] == "wait":
            return bash(f"{_launcher(request)} next")
        calls = [self.tamper(agent_call(action)) for action in actions]
        self.launches += calls
        return [tool("Agent", **call) for call in calls]


def is_safety_check(request: Req) -> bool:
    """Auto mode asks a model of its own about what a sub-agent did."""
    return not request.tools and "<severity>" in request.all_text


def agent_call(action: Json) -> Json:
    keys = ("description", "prompt", "subagent_type", "model", "run_in_background")
    return {key: action[key] for key in keys if key in action}


def last_answer(text: str) -> Json | None:
    """The last thing that `backlog-ops` said in a text."""
    for found in reversed(_ANSWER.findall(text)):
        try:
            answer: Json = json.loads(found)
        except ValueError:
            continue
        return answer
    return None


def _news(request: Req) -> str:
    """What has come since the parent spoke last."""
    messages = request.messages
    last = max((n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=-1)
    return "\n".join(content_text(message.get("content")) for message in messages[last + 1 :])


def still_out(request: Req) -> set[str]:
    """The Agent calls that were launched in the background and have not been reported on."""
    launched = {r.id for r in request.all_tool_results if r.name == "Agent" and _LAUNCHED in r.text}
    return launched - set(_NOTIFIED.findall(request.all_text))


def _launcher(request: Req) -> str:
    """The command by its full path, as the skill or a hook has named it."""
    found = _LAUNCHER.search(request.all_text)
    assert found, "nobody has named the command"
    return found.group().strip("`\"'(")


def _handed_back(request: Req, answer: Answer) -> Answer:
    """In auto mode a sub-agent's last words go through a tool."""
    if isinstance(answer, str) and HAND_BACK in request.tools:
        return tool(HAND_BACK, message=answer)
    return answer


# -- sub-agents that do as their briefs say


def in_order(*steps: Callable[[Job], Answer], end: str = "Done.") -> Agent:
    """One step a call, then `end`."""

    def agent(job: Job) -> Answer:
        return steps[job.turn](job) if job.turn < len(steps) else end

    return agent


def hand_in(job: Job) -> Answer:
    found = re.search(r"run `([^`]+ submit a\d+)`", job.brief)
    return bash(found[1]) if found else "Done."


def check(job: Job) -> Answer:
    return bash(job.check)


diligent = in_order(write_own_file, check, hand_in)


def models(**agents: Agent) -> Models:
    """Sub-agents that write, check and hand in; reviewers that approve."""
    return Models(**{"implement": diligent, "review": approve, **agents})


def gates(jobs: Iterable[Job]) -> list[tuple[str, str, str]]:
    """Ticket, gate and model of each."""
    return [(job.ticket, job.head["Gate"], job.request.model) for job in jobs]


def write_own_file_now(job: Job) -> Answer:
    return write(job.own_file, f"{job.ticket}\n")


def failing(attempts: int) -> Callable[[Job], Answer]:
    """An implementer of T-1 whose first attempts do not pass LINT."""

    def write_something(job: Job) -> Answer:
        bad = job.ticket == "T-1" and job.attempt <= attempts
        again = job.attempt > 1 and job.turn == 0
        if again:
            return tool("Read", file_path=str(job.own_file))
        return write(job.own_file, f"BROKEN {job.attempt}\n" if bad else f"{job.ticket}\n")

    def agent(job: Job) -> Answer:
        steps = [write_something, *([write_something] if job.attempt > 1 else []), hand_in]
        return steps[job.turn](job) if job.turn < len(steps) else "Done."

    return agent


def ended_well(run: Run) -> None:
    """Raises AssertionError where a session was refused anything, or left anything behind."""
    assert (run.exit_code, run.stub_errors, run.leftovers) == (0, [], []), run.explain()
    assert run.result["permission_denials"] == [], run.result["permission_denials"]
