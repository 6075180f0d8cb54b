"""What the end-to-end tests share: one run of the demo, whichever worker needs it first, and labs with a backlog."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.demo.stage import LAUNCHER, offline
from tests.e2e.harness.agents import Models
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import Parent, models
from tests.e2e.harness.run_claude import BASE_ENVIRONMENT, ROOT

DEMO_SECONDS = 280


@dataclass(frozen=True)
class DemoRun:
    """`drivers`: what `tests.e2e.demo` found of each; `same`: whether both ended with the same commits."""

    exit_code: int
    output: str
    drivers: dict[str, dict[str, Any]]
    same: bool


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, claude_bin: Path) -> DemoRun:
    """The demo as `make demo` starts it; pytest-xdist's workers wait for the one that runs it."""
    folder = shared_folder(tmp_path_factory)
    kept = folder / "demo-run.json"
    with (folder / "demo-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(_play(folder / "demo-found.json")), encoding="utf-8")
    return DemoRun(**json.loads(kept.read_text(encoding="utf-8")))


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of this session share, and nobody else."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


MakeLab = Callable[..., BacklogLab]


@pytest.fixture(scope="session")
def prepared_cache(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the engine's own Python environment, built once for all workers of this session."""
    cache = shared_folder(tmp_path_factory) / "cache"
    environment = {**BASE_ENVIRONMENT, **offline(), "XDG_CACHE_HOME": str(cache)}
    subprocess.run([str(LAUNCHER), "--version"], env=environment, check=True, capture_output=True, timeout=120)
    return cache


@pytest.fixture
def make_lab(claude_bin: Path, prepared_cache: Path) -> Iterator[MakeLab]:
    """Makes a lab with a backlog."""
    with ExitStack() as labs:

        def make(models: Models | None = None, *tickets: object, **options: object) -> BacklogLab:
            return labs.enter_context(BacklogLab(models or Models(), *tickets, cache=prepared_cache, **options))

        yield make


MakeSession = Callable[..., tuple[BacklogLab, Parent]]


@pytest.fixture
def make_session(make_lab: MakeLab) -> MakeSession:
    """A lab with the plugin as it stands here, and a scripted parent."""

    def make(tickets: object = ("T-1",), parent: Parent | None = None, **options: object) -> tuple[BacklogLab, Parent]:
        parent = parent or Parent(models())
        return make_lab(parent.models, tickets, plugin_dirs=[ROOT], **options), parent

    return make


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
