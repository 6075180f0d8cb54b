"""The report for machines: JSON and CSV. Names are those of OpenTelemetry's GenAI conventions (gen_ai.*) where there is
one, else ours (backlog.*).

Money is integer nano-dollars; an unknown cost is null, or an empty cell. `gen_ai.usage.input_tokens` holds what came
from the cache and what was written to it, as the conventions say.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, TextIO

from backlog_ops.domain.attempts import LocalModelStats
from backlog_ops.domain.text import UNSAFE
from backlog_ops.report.figures import Amount, Figures, TicketCost, Yield

Record = Mapping[str, Any]
_VENDOR = {"anthropic": "anthropic", "claude-cli": "anthropic", "claude-code": "anthropic"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_json(figures: Figures, by: str | None, file: TextIO) -> None:
    """One object; with `by` only that list beside the totals."""
    head = {"project": figures.project, "made_at": figures.made_at, "since": figures.since}
    head |= {"price_date": figures.price_date, "notes": figures.notes, "total": _amount(figures.total)}
    parts = {by: records(figures, by)} if by is not None else _lists(figures)
    # Piece by piece: the tickets of a million calls as one text would be 100 MB.
    file.write(f'{{"report": {json.dumps(head | ({} if by else _rest(figures)))[:-1]}')
    for name, items in parts.items():
        file.write(f", {json.dumps(f'by_{name}')}: ")
        write_array(items, file)
    file.write("}}\n")


def write_array(items: Iterable[Record], file: TextIO) -> None:
    between = "["
    for item in items:
        file.write(between + json.dumps(item))
        between = ",\n"
    file.write("[]" if between == "[" else "]")


def write_csv(items: Iterable[Record], heads: Iterable[str], file: TextIO) -> None:
    """A spreadsheet takes no cell of it for a formula."""
    writer = csv.writer(file, lineterminator="\n")
    columns = list(heads)
    writer.writerow(columns)
    for item in items:
        writer.writerow([_cell(item.get(column)) for column in columns])


def stats_json(stats: LocalModelStats, yields: Iterable[Yield]) -> dict[str, Any]:
    return {"stats": {"localModelStats": stats.to_json(), "firstPass": [asdict(line) for line in yields]}}


def stats_records(stats: LocalModelStats, yields: Iterable[Yield]) -> Iterator[Record]:
    for name, value in stats.to_json().items():
        for key, count in value.items() if isinstance(value, dict) else [("", value)]:
            yield {"statistic": f"{name}.{key}" if key else name, "gate": "", "model": "", "value": count, "of": ""}
    for line in yields:
        yield {
            "statistic": "firstPass", "gate": line.gate, "model": line.model, "value": line.passed, "of": line.tried
        }  # fmt: skip


STATS_HEADS = ("statistic", "gate", "model", "value", "of")


def records(figures: Figures, by: str) -> Iterator[Record]:
    """The rows of a dimension: ticket, gate, model, wave."""
    if by == "ticket":
        return (_ticket(ticket) for ticket in figures.tickets)
    if by == "wave":
        return (
            {"backlog.run": wave.run, "backlog.wave": wave.wave, "backlog.tickets": wave.tickets}
            | {"backlog.parent_cost_nanousd": wave.parent.nanousd}
            | _amount(wave.amount)
            for wave in figures.by_wave
        )
    name, slices = {
        "gate": ("backlog.gate", figures.by_gate),
        "model": ("gen_ai.response.model", figures.by_model),
        "run": ("backlog.run", figures.by_run),
        "source": ("backlog.source", figures.by_source),
    }[by]
    return ({name: part.name} | _amount(part.amount) for part in slices)


def heads_of(figures: Figures, by: str) -> list[str]:
    """The columns of `records`; one a gate for tickets."""
    amounts = list(_amount(Amount()))
    if by != "ticket":
        first = next(iter(records(figures, by)), {})
        return list(first) or [f"backlog.{by}", *amounts]
    used = {part.name for ticket in figures.tickets for part in ticket.gates}
    gates = [f"backlog.cost_nanousd.{part.name}" for part in figures.by_gate if part.name in used]
    return [*_TICKET_HEADS, *gates, *amounts]


_TICKET_HEADS = (
    "backlog.ticket",
    "backlog.title",
    "backlog.state",
    "backlog.reason",
    "backlog.runs",
    "backlog.wave",
    "backlog.attempts",
    "backlog.full_cost_nanousd",
    "backlog.parent_cost_nanousd",
)


def _ticket(ticket: TicketCost) -> Record:
    values = (
        *(ticket.id, ticket.title, ticket.state, ticket.reason, " ".join(ticket.runs), ticket.wave, ticket.attempts),
        *(ticket.full_nanousd, ticket.shared_nanousd),
    )
    gates = {f"backlog.cost_nanousd.{part.name}": part.amount.nanousd for part in ticket.gates}
    return {**dict(zip(_TICKET_HEADS, values, strict=True)), **gates, **_amount(ticket.own)}


def _amount(amount: Amount) -> dict[str, Any]:
    usage = amount.usage
    return {
        "backlog.calls": amount.calls,
        "backlog.cost_nanousd": amount.nanousd,
        "backlog.unknown_cost_calls": amount.unknown_calls,
        "backlog.estimated_calls": amount.estimated_calls,
        "gen_ai.usage.input_tokens": usage.prompt,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_5m + usage.cache_write_1h,
        "gen_ai.usage.output_tokens": usage.output,
    }


def _lists(figures: Figures) -> dict[str, Iterator[Record]]:
    return {by: records(figures, by) for by in ("ticket", "gate", "model", "wave", "run", "source")}


def _rest(figures: Figures) -> dict[str, Any]:
    """All that is no long list."""
    acceptance, savings = figures.acceptance, figures.savings
    plain = {name: [_plain(line) for line in getattr(figures, name)] for name in _PLAIN_LISTS}
    return plain | {
        "parent": _amount(figures.parent),
        "acceptance": {
            "accepted": acceptance.accepted,
            "parked": acceptance.parked,
            "open": acceptance.open,
            "nanousd_each": acceptance.nanousd_each,
            **_amount(acceptance.spent),
        },
        "savings": {
            "assumption": savings.assumption,
            "saved_nanousd": savings.saved_nanousd,
            "counterfactual_nanousd": savings.counterfactual_nanousd,
            "by_gate": [_plain(line) for line in savings.lines],
        },
        "stats": {"localModelStats": figures.local_model_stats.to_json()},
    }


_PLAIN_LISTS = (
    "elsewhere",
    "answered",
    "escalations",
    "by_rule",
    "fallbacks",
    "yields",
    "budget",
    "unattributed",
)


def _plain(line: Any) -> dict[str, Any]:
    """The fields of a line of a report; an amount as its attributes."""
    found: dict[str, Any] = {}
    for name in getattr(line, "_fields", None) or line.__dataclass_fields__:
        value = getattr(line, name)
        if isinstance(value, Amount):
            found[name] = _amount(value)
        else:
            found[name] = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    return found


# -- the rows of the ledger themselves


CALL_HEADS = (
    *("backlog.key", "backlog.at", "backlog.source", "backlog.run", "backlog.wave", "backlog.ticket", "backlog.gate"),
    *("backlog.attempt", "backlog.asked_tier", "gen_ai.operation.name", "gen_ai.provider.name", "backlog.provider"),
    *("gen_ai.request.model", "gen_ai.response.model", "gen_ai.usage.input_tokens"),
    *("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    *("backlog.usage.cache_creation_1h.input_tokens", "gen_ai.usage.output_tokens", "backlog.cost_nanousd"),
    *("backlog.price_date", "backlog.latency_ms", "backlog.outcome", "backlog.fallback_cause"),
    *("backlog.escalation_rule", "gen_ai.conversation.id", "gen_ai.agent.id", "backlog.tags"),
)


def calls(connection: sqlite3.Connection, since: str | None) -> Iterator[Record]:
    """Every row of the period, the oldest first. `since`: ISO day (UTC)."""
    period, values = ("WHERE at >= CAST(strftime('%s', ?) AS INTEGER)", (since,)) if since else ("", ())
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    for row in cursor.execute(f"SELECT * FROM ledger {period} ORDER BY at, key", values):
        yield _call(row)


def _call(row: sqlite3.Row) -> Record:
    written = _sum(row["cache_write_5m"], row["cache_write_1h"])
    values = (
        *(row["key"], _iso(row["at"]), row["source"], row["run"], row["wave"], row["ticket"], row["gate"]),
        *(row["attempt"], row["asked_tier"], "chat", _VENDOR.get(row["provider"], row["provider"]), row["provider"]),
        *(row["asked_model"], row["answered_model"], _sum(row["input"], written, row["cache_read"])),
        *(row["cache_read"], written, row["cache_write_1h"], row["output"], row["cost_nanousd"]),
        *(row["price_date"], row["latency_ms"], row["outcome"], row["fallback_cause"]),
        *(row["escalation_rule"], row["session"], row["agent"], row["tags"]),
    )
    return dict(zip(CALL_HEADS, values, strict=True))


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _iso(at: float) -> str | None:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    except (ValueError, OverflowError, OSError):
        return None


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    plain = UNSAFE.sub(" ", value)
    return f"'{plain}" if plain.startswith(_FORMULA) else plain
