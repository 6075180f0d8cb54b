"""A program in place of `claude`, for what the real one does not do on demand. It notes how it was called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

_PROGRAM = """#!{python}
import json, os, sys, time
arguments = sys.argv[1:]
system = open(arguments[arguments.index("--system-prompt-file") + 1]).read()
json.dump(
    {{
        "pid": os.getpid(),
        "arguments": arguments,
        "stdin": sys.stdin.read(),
        "system": system,
        "cwd": os.listdir("."),
        "environ": dict(os.environ),
    }},
    open({seen!r}, "w"),
)
time.sleep({seconds})
sys.stderr.write({stderr!r})
sys.stdout.write({stdout!r})
sys.exit({exit_code})
"""


class FakeClaude(NamedTuple):
    path: Path
    notes: Path

    @property
    def seen(self) -> dict[str, Any]:
        """pid, arguments, stdin, system (prompt), cwd (its content) and environ of the last call."""
        found: dict[str, Any] = json.loads(self.notes.read_text())
        return found


def fake_claude(folder: Path, stdout: str, *, stderr: str = "", exit_code: int = 0, seconds: float = 0) -> FakeClaude:
    folder.mkdir(exist_ok=True)
    program, notes = folder / "claude", folder / "seen.json"
    program.write_text(
        _PROGRAM.format(
            python=sys.executable,
            seen=str(notes),
            seconds=seconds,
            stderr=stderr,
            stdout=stdout,
            exit_code=exit_code,
        )
    )
    program.chmod(0o755)
    return FakeClaude(program, notes)


def result(text: str = "hello", **fields: Any) -> str:
    """A result as `--output-format json` prints it, in the parts that matter."""
    usage = {"inputTokens": 4, "outputTokens": 8, "cacheReadInputTokens": 2, "cacheCreationInputTokens": 30}
    event = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": text,
        "stop_reason": "end_turn",
        "modelUsage": {"claude-haiku-5-5": usage},
    }
    return json.dumps(event | fields)
