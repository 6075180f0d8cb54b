"""Scripted models for backlogs of the tickets that `tests.support.lab.ticket_text` writes.

    Models()                                every ticket is planned, written and approved
    Models(implement=script_of_an_agent)    one gate's agent does something else

Like a real model an agent knows only what it is sent: its first call reads the brief that its prompt names,
and what it does next depends on what the brief says.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.harness.reply import Answer, tool
from tests.e2e.harness.request import Json, Req, ToolResult, content_text

_BRIEF_PATH = re.compile(r"Read (/.*) and do what it says\. \[backlog:a\d+\]")
_HEAD = re.compile(
    r"^(Ticket|Gate|Attempt|Action|Worktree|Tree|Check command|Verdict file|Answer file): (.+)$", re.MULTILINE
)
_LINE_NUMBER = re.compile(r"^ *\d+\t", re.MULTILINE)  # what the Read tool puts in front of each line
_STRUCTURED = "StructuredOutput"
_TICKET_ID = re.compile(r'^id: "(\S+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """One call of an agent that has read its brief; `turn` counts its calls from there, 0 the first."""

    request: Req
    brief: str
    head: dict[str, str]
    turn: int

    @property
    def ticket(self) -> str:
        return self.head["Ticket"]

    @property
    def attempt(self) -> int:
        return int(self.head["Attempt"])

    @property
    def worktree(self) -> Path:
        return Path(self.head["Worktree"])

    @property
    def own_file(self) -> Path:
        """The one file that the ticket is about."""
        return self.worktree / "src" / f"{self.ticket}.txt"

    @property
    def check(self) -> str:
        return self.head["Check command"]

    @property
    def verdict_file(self) -> Path:
        return Path(self.head["Verdict file"])

    @property
    def results(self) -> list[ToolResult]:
        return self.request.tool_results


Agent = Callable[[Job], Answer]


def plan_of(ticket: str, *modified: str) -> Json:
    """A plan that makes the ticket's own file and modifies others."""
    paths = {f"src/{ticket}.txt": "create", **dict.fromkeys(modified, "modify")}
    return {
        "files": [{"path": path, "action": action, "purpose": "what is asked for"} for path, action in paths.items()],
        "interfaces": [],
        "tests": ["the file is there"],
        "steps": ["Write the file."],
        "open_questions": [],
    }


def write(path: Path, content: str) -> Json:
    return tool("Write", file_path=str(path), content=content)


def bash(command: str) -> Json:
    return tool("Bash", command=command, description="Run a command")


def turns(*answers: Answer | Agent, end: Answer = "Done.") -> Agent:
    """An agent that gives one answer a call, made from its job where it is a function, then `end` for ever."""

    def agent(job: Job) -> Answer:
        answer = answers[job.turn] if job.turn < len(answers) else end
        return answer(job) if callable(answer) else answer

    return agent


def write_own_file(job: Job) -> Answer:
    return write(job.own_file, f"{job.ticket}\n") if job.turn == 0 else "Done."


def approve(job: Job) -> Answer:
    return write(job.verdict_file, verdict(job)) if job.turn == 0 else "APPROVED, 0 findings."


def verdict(job: Job, said: str = "APPROVED", **fields: object) -> str:
    """A verdict file on the tree that the package names."""
    return json.dumps({"verdict": said, "tree": job.head["Tree"], "findings": [], **fields})


@dataclass
class Models:
    """The scripted API of one backlog. `jobs`: every call of an agent that has read its brief, in order."""

    implement: Agent = write_own_file
    review: Agent = approve
    plan: Callable[[str], Json] = plan_of
    jobs: list[Job] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Req) -> Answer:
        if set(request.tools) <= {_STRUCTURED}:
            return self._text_gate(request)
        if request.turn == 0:
            named = _BRIEF_PATH.search(request.first_text)
            return tool("Read", file_path=named[1]) if named else None
        brief = _LINE_NUMBER.sub("", request.all_tool_results[0].text)
        head = dict(reversed(_HEAD.findall(brief)))  # where a name comes twice, the first counts: the rest is data
        job = Job(request, brief, head, request.turn - 1)
        with self._lock:
            self.jobs.append(job)
        agents = {"PLAN": self._write_plan, "IMPLEMENT": self.implement, "REVIEW": self.review}
        agent = agents.get(job.head.get("Gate", ""))
        return agent(job) if agent else None

    def jobs_from_start(self) -> list[Job]:
        """The first call of every agent, in order."""
        return [job for job in self.jobs if job.turn == 0]

    def begun(self, gate: str) -> list[Job]:
        """The first call of each agent of a gate."""
        return [job for job in self.jobs if job.turn == 0 and job.head["Gate"] == gate]

    def _text_gate(self, request: Req) -> Answer:
        user = content_text(request.messages[0]["content"])
        if "plan the implementation" in request.system:
            found = _TICKET_ID.search(user)
            return _structured(request, self.plan(found[1])) if found else None
        if "wave log" in request.system:
            return "The wave is over."
        if "waves" in request.system:
            return _structured(request, _wave_plan(user))
        return None

    def _write_plan(self, job: Job) -> Answer:
        plan = json.dumps(self.plan(job.ticket))
        return write(Path(job.head["Answer file"]), plan) if job.turn == 0 else "done"


def _structured(request: Req, value: Json) -> Answer:
    """JSON as the request asks for it: through a tool from `claude -p --json-schema`, else as text."""
    if _STRUCTURED not in request.tools:
        return json.dumps(value)
    return tool(_STRUCTURED, **value) if request.turn == 0 else "Done."


def _wave_plan(user: str) -> Json:
    """The tickets share nothing: what depends on nothing that is left comes first, three at a time, and so on."""
    found = re.search(r"<(tickets-\w+)>\n(?P<json>.*?)\n</\1>", user, re.DOTALL)
    assert found, user[:300]
    left = {ticket["id"]: set(ticket["depends_on"]) for ticket in json.loads(found["json"])}
    waves = []
    while left:
        ready = [name for name, needs in left.items() if not needs & set(left)][:3]
        assert ready, f"a circle: {left}"
        slots = [{"id": name, "subagent_type": "implementer", "rationale": "apart"} for name in ready]
        waves.append({"wave": len(waves) + 1, "tickets": slots})
        left = {name: needs for name, needs in left.items() if name not in ready}
    return {"waves": waves, "skipped": []}
