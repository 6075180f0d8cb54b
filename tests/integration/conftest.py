"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paper_run import PaperRun, Session
from tests.support.parent_session import Workers


@pytest.fixture
def workers(own_environment: Path) -> Iterator[Workers]:
    """The launcher finds an environment, and no worker and no hook outlives its test."""
    started = Workers.install(own_environment)
    yield started
    started.wait_until_ended()
    started.close()


@pytest.fixture
def paper(tmp_path: Path) -> PaperRun:
    """A run that stands in the database alone."""
    return PaperRun.begin(tmp_path, "T-1")


@pytest.fixture
def session(paper: PaperRun) -> Session:
    """One that drives it."""
    return Session.of(paper)
