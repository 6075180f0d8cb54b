"""How the attempts went, from the rows of the runs: escalations, first passes, the attempts below `balanced`.

`since` is an ISO day (UTC): attempts that began, and verdicts that fell, on that day or later; None: all.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from backlog_ops.domain.attempts import LocalModelStats, TicketAttempts, local_model_stats
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.money.cube import Amount, Profile, sum_of
from backlog_ops.report.figures import Escalation, Yield

ALL_GATES = "all gates"
NOBODY_SAYS = "–"
_SINCE = "coalesce(CAST(strftime('%s', ?) AS INTEGER), -1e18)"
_FIRST = "t.history = '[]'"  # an attempt that knows what failed in an earlier run is no first one


class Tried(NamedTuple):
    """The IMPLEMENT attempts of one ticket in one run."""

    run: str
    ticket: str
    attempts: TicketAttempts
    rules: Mapping[int, str]


def attempts(connection: sqlite3.Connection, since: str | None) -> Iterator[Tried]:
    """Ticket by ticket, in the order of runs and tickets."""
    failed: dict[tuple[str, str], dict[int, str]] = {}
    for run, ticket, number, gate in _rows(
        connection, "SELECT run, ticket, attempt, gate FROM verdict WHERE NOT passed ORDER BY rowid"
    ):
        failed.setdefault((run, ticket), {})[number] = gate
    rows = _rows(
        connection,
        "SELECT a.run, a.ticket, t.step = 'done', t.attempt, a.attempt, a.tier, a.rule FROM action AS a"
        " JOIN ticket AS t ON t.run = a.run AND t.id = a.ticket WHERE a.gate = 'IMPLEMENT' AND a.brief <> ''"
        f" AND a.created_at >= {_SINCE} ORDER BY a.run, a.ticket, a.number",
        since,
    )
    for (run, ticket, done, last), group in groupby(rows, itemgetter(0, 1, 2, 3)):
        made = list(group)
        tiers = {number: Tier(tier) for *_, number, tier, _ in made}
        fared = TicketAttempts(tiers, failed.get((run, ticket), {}), last if done else None)
        yield Tried(run, ticket, fared, {number: rule for *_, number, _, rule in made})


def stats(tried: Iterable[Tried]) -> LocalModelStats:
    return local_model_stats(each.attempts for each in tried)


def escalations(tried: Iterable[Tried], costs: Mapping[tuple[str, str, int], Amount]) -> tuple[Escalation, ...]:
    """`costs`: what the attempts from the second on cost, by run, ticket and attempt."""
    found: dict[tuple[str, str, str, str], list[Amount]] = {}
    for each in tried:
        tiers = each.attempts.tiers
        for number in sorted(tiers):
            before = tiers.get(number - 1)
            if before is None or not tiers[number] > before:
                continue
            gate = each.attempts.failed_at.get(number - 1, NOBODY_SAYS)
            key = (before.value, tiers[number].value, gate, each.rules[number])
            found.setdefault(key, []).append(costs.get((each.run, each.ticket, number), Amount()))
    lines = [Escalation(*key, len(amounts), sum_of(amounts)) for key, amounts in found.items()]
    return tuple(sorted(lines, key=lambda line: (-line.count, line.from_tier, line.to_tier, line.failed_gate)))


def first_passes(
    connection: sqlite3.Connection, profiles: Iterable[tuple[Profile, Amount]], since: str | None
) -> tuple[Yield, ...]:
    """Of agent gates and of all gates together by the model that wrote; of text gates by the model that was asked."""
    tried: Counter[tuple[str, str]] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    for gate, model, count, good in _agent_gates(connection, since):
        tried[gate, model] += count
        passed[gate, model] += good
    for profile, amount in profiles:
        if profile.source == "engine":
            tried[profile.gate, profile.asked_model] += amount.calls
            passed[profile.gate, profile.asked_model] += amount.calls if profile.outcome == "answered" else 0
    order = [gate.value for gate in Gate] + [ALL_GATES]
    keys = sorted(tried, key=lambda key: (order.index(key[0]) if key[0] in order else len(order), key))
    return tuple(Yield(gate or NOBODY_SAYS, model, passed[gate, model], tried[gate, model]) for gate, model in keys)


# Who wrote a first attempt: the model with most of its calls.
_WROTE = """
    WITH wrote AS (
        SELECT run, ticket, answered_model AS model, max(calls) FROM (
            SELECT run, ticket, answered_model, sum(calls) AS calls FROM tally
            WHERE gate = 'IMPLEMENT' AND attempt = 1 AND answered_model <> '' GROUP BY 1, 2, 3
        ) GROUP BY 1, 2
    )
"""


def _agent_gates(connection: sqlite3.Connection, since: str | None) -> Iterator[tuple[str, str, int, int]]:
    """(gate, model, first tries, those that passed). Of IMPLEMENT and of all gates, first attempts that are over."""
    rows = _rows(
        connection,
        f"{_WROTE} SELECT v.gate, coalesce(w.model, v.tier), count(*), sum(v.passed), 0 FROM verdict AS v"
        " JOIN ticket AS t ON t.run = v.run AND t.id = v.ticket"
        " LEFT JOIN wrote AS w ON w.run = v.run AND w.ticket = v.ticket"
        f" WHERE v.attempt = 1 AND {_FIRST} AND v.at >= {_SINCE} GROUP BY 1, 2"
        " UNION ALL SELECT NULL, coalesce(w.model, a.tier), count(*), sum(EXISTS (SELECT 1 FROM verdict AS v"
        " WHERE v.run = a.run AND v.ticket = a.ticket AND v.attempt = 1)), sum(t.step = 'done' AND t.attempt = 1)"
        " FROM (SELECT run, ticket, tier, max(number) FROM action WHERE gate = 'IMPLEMENT' AND attempt = 1"
        f" AND brief <> '' AND state = 'closed' AND created_at >= {_SINCE} GROUP BY 1, 2) AS a"
        " JOIN ticket AS t ON t.run = a.run AND t.id = a.ticket"
        " LEFT JOIN wrote AS w ON w.run = a.run AND w.ticket = a.ticket"
        f" WHERE {_FIRST} AND (t.step IN ('done', 'parked') OR t.attempt > 1) GROUP BY 1, 2",
        since,
        since,
    )
    for gate, model, tried, passed, committed in rows:
        if gate is not None:
            yield gate, model, tried, passed
            continue
        yield Gate.IMPLEMENT.value, model, tried, passed  # there was work to judge
        yield ALL_GATES, model, tried, committed


def _rows(connection: sqlite3.Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(sql, values).fetchall()
