"""What one run of the CLI left behind: its exit, its output, and every request that it made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness.request import Json, Req


@dataclass(frozen=True)
class Run:
    argv: list[str]
    exit_code: int
    timed_out: bool
    seconds: float
    stdout: str
    stderr: str
    isolated: bool  # ran in a network namespace of its own
    cwd: Path
    requests: list[Req]
    stub_errors: list[str]  # calls that the scenario did not cover, and its exceptions
    leftovers: list[str]  # command lines of processes still alive afterwards (ended by the lab)

    @property
    def events(self) -> list[Json]:
        """stdout as stream-json events, or the one object of `--output-format json`."""
        found: list[Json] = []
        for line in self.stdout.splitlines():
            if line.lstrip().startswith("{"):
                found.append(json.loads(line))
        return found

    @property
    def init(self) -> Json:
        """The session's first event: its tools, plugins, agents and skills."""
        return next((e for e in self.events if (e.get("type"), e.get("subtype")) == ("system", "init")), {})

    @property
    def result(self) -> Json:
        """The last result event: its modelUsage and total_cost_usd cover the whole process."""
        results = [event for event in self.events if event.get("type") == "result"]
        return results[-1] if results else {}

    @property
    def calls(self) -> list[Req]:
        return [request for request in self.requests if request.is_message]

    def explain(self) -> str:
        """Everything an assertion message needs."""
        requests = [f"  {r.seq} {r.method} {r.path} -> {r.status} model={r.model} turn={r.turn}" for r in self.requests]
        return "\n".join(
            [
                "argv: " + " ".join(self.argv),
                f"exit={self.exit_code} isolated={self.isolated} {self.seconds:.1f} s"
                + (" TIMED OUT" if self.timed_out else ""),
                f"stub errors: {self.stub_errors or 'none'}",
                "requests:",
                *requests,
                "stdout tail:",
                self.stdout[-3000:],
                "stderr tail:",
                self.stderr[-2000:],
            ]
        )
