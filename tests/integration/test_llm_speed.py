"""What a call costs in time beside the least that any Python program would need.

A call over loopback is nearly all processor time, so that is what is compared: waiting for a busy machine is
not in it. Of several runs the best counts, because others can only make a run slower.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.llm import config
from tests.support.ollama_standin import OllamaStandin, refused_url

SCRIPT = Path(__file__).parents[2] / "scripts" / "ops" / "llm_call.py"
RUNS = 12

BARE_CALL = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
body = {"model": "qwen3:8b", "messages": [{"role": "user", "content": "hi"}], "stream": False}
connection.request("POST", "/api/chat", json.dumps(body), {"Content-Type": "application/json"})
print(json.loads(connection.getresponse().read())["message"]["content"])
"""


class Took(NamedTuple):
    wall: float  # seconds
    processor: float


def run(command: Sequence[str], folder: Path, exit_code: int) -> Took:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environ, **silent)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # it is reaped: subprocess must not look for it
    assert process.returncode == exit_code
    return Took(time.perf_counter() - began, used.ru_utime + used.ru_stime)


def llm_call(folder: Path, ollama: str) -> list[str]:
    (folder / "config.json").write_text(json.dumps(config(ollama)))
    arguments = ["--config", str(folder / "config.json"), "--model", "free", "--user", "hi"]
    return [sys.executable, "-Es", str(SCRIPT), *arguments]


def test_a_local_call_takes_at_most_two_and_a_half_bare_calls(tmp_path: Path) -> None:
    with OllamaStandin() as server:
        bare_call = [sys.executable, "-Es", "-c", BARE_CALL, server.base_url.rpartition(":")[2]]
        our_call = llm_call(tmp_path, server.base_url)
        pairs = [(run(bare_call, tmp_path, 0), run(our_call, tmp_path, 0)) for _ in range(RUNS)]
    bare, ours = (min(took.processor for took in column) for column in zip(*pairs, strict=True))
    assert ours <= 2.5 * bare, f"bare {bare * 1000:.0f} ms, llm_call {ours * 1000:.0f} ms"


def test_with_nobody_there_it_gives_up_within_400_ms(tmp_path: Path) -> None:
    command = llm_call(tmp_path, refused_url())
    assert min(run(command, tmp_path, 4).wall for _ in range(RUNS)) < 0.4


@pytest.mark.parametrize("unused", ["httpx", "jsonschema", "rich", "yaml", "jinja2", "subprocess"])
def test_a_local_call_imports_nothing_that_it_does_not_use(tmp_path: Path, unused: str) -> None:
    with OllamaStandin() as server:
        command = llm_call(tmp_path, server.base_url)
        subprocess.run(command, cwd=tmp_path, env={"HOME": str(tmp_path)}, check=True, capture_output=True)  # warm
        done = subprocess.run(
            [command[0], "-X", "importtime", *command[1:]],
            cwd=tmp_path,
            env={"HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.decode().splitlines()}
    assert unused not in imported
