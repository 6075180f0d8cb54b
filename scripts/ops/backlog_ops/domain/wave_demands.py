"""What the tickets of a backlog demand of every wave plan: who must be apart, who must come first.

rules.md, "WAVE_PLAN". Both the check and the planner start from this; neither compares tickets in pairs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backlog_ops.domain.created_files import created_paths, users_of_created_files
from backlog_ops.domain.gates import TicketStatus
from backlog_ops.domain.graph import components
from backlog_ops.domain.paths import ancestors, glob_regex, same_file_key
from backlog_ops.domain.tickets import Ticket

PLANNABLE = frozenset({TicketStatus.PENDING, TicketStatus.READY, TicketStatus.NEEDS_INVESTIGATION})


@dataclass(frozen=True)
class Claims:
    """What a ticket needs for the time of a wave. Two tickets may share a wave unless something that one holds
    is held or used by the other; what both merely use keeps nobody apart. Each claim is a phrase for messages.
    """

    held: frozenset[str]
    used: frozenset[str]


@dataclass(frozen=True)
class Demands:
    claims: Mapping[str, Claims]  # ticket id → its claims
    creators: Mapping[str, frozenset[str]]  # ticket id → ids of the tickets whose new files it waits for


@functools.lru_cache(maxsize=1)  # a backlog is planned and its plans are checked: its texts are read once
def demands_of(tickets: tuple[Ticket, ...], shared_files: tuple[str, ...]) -> Demands:
    """The demands of `tickets` (each id once) where `shared_files` are the patterns of the settings."""
    uses = users_of_created_files(tickets)
    claims = {ticket.id: _claims(ticket, uses[ticket.id], shared_files) for ticket in tickets}
    return Demands(claims, _creators(tickets, uses))


def _claims(ticket: Ticket, uses: frozenset[str], shared_files: Sequence[str]) -> Claims:
    """A ticket holds each file it names and uses every folder above, up to the repository: so a folder meets
    what it holds, and a ticket that names no file, whose writes nobody can foresee, holds the repository and
    is alone in its wave. All files that match one shared pattern are one thing to hold. Who creates a file
    holds its being new; whoever uses the file uses that.
    """
    keys = {same_file_key(file.path) for file in ticket.affected_files} or {""}
    created = created_paths(ticket)
    held = {_file(key) for key in keys}
    held.update(f"the shared files {p}" for p in shared_files if any(map(glob_regex(p).fullmatch, keys)))
    held.update(f"the new file {key}" for key in created)
    used = {_file(folder) for key in keys for folder in ancestors(key)}
    used.update(f"the new file {key}" for key in uses - created)
    return Claims(frozenset(held), frozenset(used) - held)


def _file(key: str) -> str:
    return f"the path {key}" if key else "the whole repository (one of them names no affected file)"


def _creators(tickets: Sequence[Ticket], uses: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
    """The creator of a file comes before its users, unless it waits, directly or through others, for that user:
    by `depends_on` or because it uses a file of theirs. No order serves both then; they are only kept apart.
    The same where several tickets say that they create the file: nobody knows whose it is.
    """
    owners: dict[str, list[str]] = {}
    for ticket in tickets:
        for key in created_paths(ticket):
            owners.setdefault(key, []).append(ticket.id)
    wanted = {
        ticket.id: {owners[key][0] for key in uses[ticket.id] if len(owners[key]) == 1} - {ticket.id}
        for ticket in tickets
    }
    before = {t.id: [*wanted[t.id], *(d for d in t.depends_on if d in wanted)] for t in tickets}
    group = components(before)
    return {
        name: frozenset(creator for creator in creators if group[creator] != group[name])
        for name, creators in wanted.items()
    }
