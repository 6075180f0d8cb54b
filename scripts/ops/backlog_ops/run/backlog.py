"""The ticket files of a repository: found, read, validated together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.domain.settings import Settings
from backlog_ops.domain.tickets import Problem, Ticket, parse_ticket, validate_backlog
from backlog_ops.run.git import Git


@dataclass(frozen=True)
class BacklogFiles:
    pending: tuple[Ticket, ...]
    completed: frozenset[str]  # ids in completed/
    problems: tuple[Problem, ...]


def read_backlog(top: Path, settings: Settings) -> BacklogFiles:
    """Read {dataDir}/pending and the ids of {dataDir}/completed. Never raises on what a file holds."""
    data_dir = settings.backlog.data_dir
    pending: list[Ticket] = []
    problems: list[Problem] = []
    for path in _markdown(top / data_dir / "pending"):
        ticket, found = _parse(top, path, settings)
        problems += found
        if ticket is not None:
            pending.append(ticket)
    completed = completed_ids(top, settings)
    problems += validate_backlog(pending, completed)
    return BacklogFiles(tuple(pending), completed, tuple(problems))


def completed_ids(top: Path, settings: Settings) -> frozenset[str]:
    """The ids in {dataDir}/completed. They are history: a file that no longer parses is passed over."""
    parsed = (_parse(top, path, settings)[0] for path in _markdown(top / settings.backlog.data_dir / "completed"))
    return frozenset(ticket.id for ticket in parsed if ticket is not None)


def _parse(top: Path, path: Path, settings: Settings) -> tuple[Ticket | None, tuple[Problem, ...]]:
    name = path.relative_to(top).as_posix()
    limit = settings.ticket_validation.max_bytes
    if path.is_symlink():
        return None, (Problem(name, 1, "is a symbolic link; a ticket must be a file of its own"),)
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)  # one more than allowed is enough to be told that it is too much
    except OSError as error:
        return None, (Problem(name, 1, f"cannot be read: {error.strerror}"),)
    return parse_ticket(name, data, settings.ticket_validation)


def _markdown(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.md")) if folder.is_dir() else []


def first_committed(git: Git, settings: Settings) -> Mapping[str, float]:
    """Ticket path → Unix seconds of the commit that brought it: a ticket's age, the same on every machine."""
    folder = f"{settings.backlog.data_dir}/pending"
    log = git.run("log", "--diff-filter=A", "--no-renames", "--format=%x00%ct", "--name-only", "-z", "--", folder)
    added: dict[str, float] = {}
    moment = 0.0
    fields = log.stdout.decode("utf-8", "replace").split("\0")
    for field in (raw.strip("\n") for raw in fields):
        if field.isdigit():
            moment = float(field)
        elif field:
            added[field] = moment  # the log runs backwards, so the oldest commit comes last
    return added
