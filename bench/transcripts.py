"""How long the calls of a large transcript take to be read: first all of it, then what was added.

    transcripts first time, 200 MB   …  a main conversation that nobody has read yet
    transcripts then, 100 kB more    …  the slowest of twenty, each after one more turn

The conversation is made up of the lines that Claude Code 2.1.330 writes, in its order: for each call a request and
copies of what it adds, an answer of one or two blocks, each tool's hooks and result, now and then a snapshot of the
whole prompt. What is read is held against what was written. `python bench/transcripts.py [MB]`; one line a
measurement; exit 1 over a limit, or where a call is missing or miscounted.
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))

from backlog_ops.money.conversations import Mark, Reading, read_on

MEGABYTES = 200
FIRST_LIMIT_SECONDS = 5.0  # issue D, "Speed"
AGAIN_LIMIT_SECONDS = 0.05
REPEATS = 20
CALLS_IN_A_TURN = 8
SNAPSHOT_EVERY = 40  # turns, such as after a change of the tools
RESULTS = (200, 600, 1_500, 2_500, 4_000, 9_000, 30_000)  # characters of a tool's result
SESSION = "5e551000-0000-4000-8000-000000000001"
WORDS = 'if found is None:\n    raise ValueError(f"{path}: no such \\"file\\"")  # größer als 0\n'
RUN, DRIVES = "r1", "/opt/backlog/bin/backlog-ops next"  # every turn is one of this run, by this command
ENVELOPE = {
    "userType": "external",
    "entrypoint": "cli",
    "cwd": "/home/dev/project",
    "sessionId": SESSION,
    "version": "2.1.330",
    "gitBranch": "main",
}


@dataclass
class Host:
    """Writes a conversation down as the host does, and keeps count."""

    out: BinaryIO
    dice: random.Random = field(default_factory=lambda: random.Random(5))
    size: int = 0
    counted: int = 0  # bytes of the lines that count
    calls: int = 0
    output: int = 0  # tokens
    now: float = 1_795_521_600.0  # 2026-11-24

    def turn(self, number: int) -> None:
        prompt = f"{number:08x}-0000-4000-8000-000000000000"
        if number % SNAPSHOT_EVERY == 0:
            self._attached("prompt_snapshot", systemPrompt=[WORDS * 350])
            self._line(
                type="api-request-shape", sessionId=SESSION, shape={"system": [{"type": "text"}], "t": WORDS * 380}
            )
        self._line(type="user", promptId=prompt, message={"role": "user", "content": "Go on."}, **self._envelope())
        for call in range(CALLS_IN_A_TURN):
            self._call(prompt, call, last=call == CALLS_IN_A_TURN - 1)

    def _call(self, prompt: str, number: int, last: bool) -> None:
        self.calls += 1
        self._line(
            type="api-request", sessionId=SESSION, params={"betas": ["one-2026-01-01"] * 30}, tail=["0" * 64] * 8
        )
        use, command = f"toolu_{self.calls:024x}", DRIVES if number == 0 else f"cat {number}.py"
        said = {"type": "text", "text": "Done." if last else "I look at it first."}
        tool = {"type": "tool_use", "id": use, "name": "Bash", "input": {"command": command}}
        output = self.dice.randint(30, 900)
        self.output += output
        blocks = [said] if last else [tool] if number % 2 else [said, tool]
        for index, block in enumerate(blocks):
            self._answer(block, index, output, "end_turn" if last else "tool_use")
        if last:
            return
        for event in ("PreToolUse:Bash", "PostToolUse:Bash"):
            self._attached("hook_success", hookName=event, toolUseID=use, stdout='{"hookSpecificOutput": {}}\n' * 20)
        text = (WORDS * 500)[: self.dice.choice(RESULTS)]
        result = {"tool_use_id": use, "type": "tool_result", "content": text, "is_error": False}
        heard = {"role": "user", "content": [result]}
        self._line(type="user", promptId=prompt, message=heard, toolUseResult={"stdout": text}, **self._envelope())
        self._attached("total_tokens_reminder", text="<total_tokens>14996157 tokens left</total_tokens>" * 3)
        for copy in ({"role": "assistant", "content": blocks}, heard):
            self._line(type="api-request-blob", sessionId=SESSION, hash="0" * 64, message=copy)

    def _answer(self, block: Mapping[str, Any], index: int, output: int, stop: str) -> None:
        usage = {
            "input_tokens": 4,
            "cache_creation_input_tokens": 1_500,
            "cache_read_input_tokens": 60_000,
            "output_tokens": output,
            "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 1_500},
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
            "service_tier": "standard",
        }
        message = {
            "id": f"msg_{self.calls:024x}",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-5",
            "content": [block],
            "stop_reason": stop,
            "usage": usage,
        }
        self._line(type="assistant", message=message, apiBlockIndex=index, requestRef="0" * 36, **self._envelope())

    def _attached(self, kind: str, **values: Any) -> None:
        self._line(type="attachment", attachment={"type": kind, **values}, **self._envelope())

    def _envelope(self) -> dict[str, Any]:
        self.now += 0.25
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.now))
        return {**ENVELOPE, "uuid": f"{self.size:036x}", "parentUuid": "0" * 36, "timestamp": f"{stamp}.250Z"}

    def _line(self, **line: Any) -> None:
        content = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self.out.write(content)
        self.size += len(content)
        self.counted += len(content) if line["type"] in ("user", "assistant") else 0


def sign(line: Mapping[str, Any], _turn_at: float) -> str:
    """A command of the engine shows whose its turn is."""
    content = line["message"]["content"] if line.get("type") == "assistant" else []
    return RUN if any(block.get("input", {}).get("command") == DRIVES for block in content) else ""


def main() -> int:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / f"{SESSION}.jsonl", "wb") as out:
        host, turns = Host(out), itertools.count()
        while host.size < megabytes * 1_000_000:
            host.turn(next(turns))
        path = Path(out.name)
        out.flush()
        print(f"transcripts: {host.size / 1e6:.0f} MB, {host.counted / host.size:.0%} of it in lines that count")
        seconds, reading = timed(path, Mark())
        check(reading, host.calls, host.output)
        good = told(f"first time, {megabytes} MB", seconds, FIRST_LIMIT_SECONDS, f"{host.calls:,} calls")
        before = host.size
        slowest = max(again(host, path, reading.mark, turns))
        added = (host.size - before) / REPEATS / 1000
        return 0 if told(f"then, {added:.0f} kB more", slowest, AGAIN_LIMIT_SECONDS, "slowest of 20") and good else 1


def again(host: Host, path: Path, mark: Mark, turns: Iterator[int]) -> Iterator[float]:
    """Seconds to read on after each further turn."""
    for _ in range(REPEATS):
        calls, output = host.calls, host.output
        host.turn(next(turns))
        host.out.flush()
        seconds, reading = timed(path, mark)
        check(reading, host.calls - calls, host.output - output)
        mark = reading.mark
        yield seconds


def timed(path: Path, mark: Mark) -> tuple[float, Reading]:
    began = time.perf_counter()
    reading = read_on(path, mark, sign=sign)
    return time.perf_counter() - began, reading


def check(reading: Reading, calls: int, output: int) -> None:
    found = (len(reading.calls), sum(owned.call.usage.output for owned in reading.calls))
    if found != (calls, output) or {owned.owner for owned in reading.calls} != {RUN}:
        raise SystemExit(f"bench/transcripts.py: calls and output tokens {found}, written were {(calls, output)}")


def told(what: str, seconds: float, limit: float, more: str) -> bool:
    scale = 1 if sys.platform == "darwin" else 1024
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
    good = seconds <= limit
    print(
        f"transcripts {what:22} {seconds:6.3f} s   limit {limit:g} s   "
        f"{more}, {megabytes:.0f} MB of memory   {'ok' if good else 'TOO SLOW'}"
    )
    return good


if __name__ == "__main__":
    sys.exit(main())
