"""The prices that a run's receipts are made with: the user's own readable, and none of them too old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.errors import ConfigurationError
from backlog_ops.run.doctor.place import Place
from backlog_ops.storage.config_file import load_prices


def price_age(place: Place, today: str | None = None) -> Iterator[Diagnosis]:
    """Nothing where all is well. `today` is an ISO date; default: what the clock says."""
    try:
        table = load_prices(place.environ)
    except ConfigurationError as error:
        message, _, remedy = error.message.partition("; ")
        yield Diagnosis("prices", Level.ERROR, message, remedy, True)
        return
    warning = table.warning(today or datetime.now(timezone.utc).date().isoformat())
    if warning is not None:
        message, _, remedy = warning.partition("; ")
        yield Diagnosis("prices", Level.WARNING, message, remedy)
