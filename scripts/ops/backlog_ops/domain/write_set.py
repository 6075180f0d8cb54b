"""Which files a ticket may change: those its plan names and those the ticket itself names."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a guard that only asks what is outside has no time to import YAML
    from backlog_ops.domain.plans import Plan
    from backlog_ops.domain.tickets import Ticket


def write_set(ticket: Ticket, plan: Plan | None) -> frozenset[str]:
    """Normalised paths relative to the repository; a directory stands for all it holds."""
    planned = (file.path for file in plan.files) if plan else ()
    return frozenset(planned) | {file.path for file in ticket.affected_files}


def deletable(ticket: Ticket) -> frozenset[str]:
    """What a ticket names in a way that lets it go: to be deleted, or without a word on what is to be done."""
    return frozenset(file.path for file in ticket.affected_files if file.action.value in ("delete", "unknown"))


def outside(paths: Iterable[str], allowed: Collection[str]) -> list[str]:
    """The paths that no entry of `allowed` covers, sorted."""
    return sorted(path for path in paths if not _covered(path, allowed))


def _covered(path: str, allowed: Collection[str]) -> bool:
    if path in allowed:
        return True
    parts = path.split("/")
    return any("/".join(parts[:end]) in allowed for end in range(1, len(parts)))
