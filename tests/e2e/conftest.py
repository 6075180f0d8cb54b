"""What the end-to-end tests share: one run of the demo, whichever worker needs it first."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.harness.run_claude import ROOT

DEMO_SECONDS = 280


@dataclass(frozen=True)
class DemoRun:
    """`problems` by check, empty when everything held; `first_calls`: set-up tokens by role."""

    exit_code: int
    output: str
    problems: dict[str, str]
    first_calls: dict[str, list[int]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, claude_bin: Path) -> DemoRun:
    """The demo as `make demo` starts it; pytest-xdist's workers wait for the one that runs it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by the workers of this session, and by nobody else
    kept = folder / "demo-run.json"
    with (folder / "demo-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(_play(folder / "demo-found.json")), encoding="utf-8")
    return DemoRun(**json.loads(kept.read_text(encoding="utf-8")))


def _play(found: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.demo", "--json", str(found)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )
    if not found.exists():
        raise RuntimeError(f"the demo did not get to its end:\n{done.stdout}")
    told = json.loads(found.read_text(encoding="utf-8"))
    return {"exit_code": done.returncode, "output": done.stdout, **told}
