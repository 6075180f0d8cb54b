"""A home folder of its own for a measurement, with nothing of this machine's settings, keys or sessions."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.lab import NO_CLAUDE

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def scratch_home() -> Iterator[Path]:
    """For the rest of the process: no model is reachable, and the launcher builds its environment from the wheels that
    `make deps` has fetched.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / ".gitconfig").write_text("[user]\n\tname = Bench\n\temail = bench@example.invalid\n", encoding="utf-8")
        for name in [name for name in os.environ if name.startswith(("CLAUDE", "GIT_", "XDG_"))]:
            del os.environ[name]
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(ROOT / ".deps/wheels"), "BACKLOG_PYTHON": sys.executable}
        os.environ |= {"HOME": folder, "ANTHROPIC_API_KEY": "", **wheels, **NO_CLAUDE}
        yield home
