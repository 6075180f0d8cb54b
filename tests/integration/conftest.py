"""What the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.parent_session import Workers


@pytest.fixture
def workers(own_environment: Path) -> Iterator[Workers]:
    """The launcher finds an environment, and no worker and no hook outlives its test."""
    started = Workers.install(own_environment)
    yield started
    started.wait_until_ended()
    started.close()
