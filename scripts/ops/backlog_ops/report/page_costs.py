"""Where the money went, section by section: tickets, gates, models, waves, runs, and who made the calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backlog_ops.domain.text import one_line
from backlog_ops.report.figures import PARENT_SHARE, Amount, Figures, Slice, TicketCost, WaveCost, sum_of
from backlog_ops.report.page_parts import (
    LONG,
    LONGEST_NAME,
    NOTHING,
    Cell,
    Chart,
    Section,
    Series,
    Table,
    blank,
    columns,
    cost,
    counted,
    dollars,
    end_of_bar,
    money,
    names,
    number,
    percent,
    rows_of,
    text,
    tokens,
    usd,
)

MOST_TICKETS = 2_000  # on the page; the exports have them all
PARENT = "parent"
STATE_MARKS = {"done": "good", "parked": "bad"}
TOKENS = "Read and written are tokens; cached is how many of those read came from a cache."
UNATTRIBUTED = (
    "Unattributed is what the host's own count of a session has beyond its transcripts. It is in no sum of this page."
)


def cost_sections(figures: Figures) -> tuple[Section, ...]:
    by_gate = _slice_section("gates", "By gate", "Gate", figures.by_gate, figures.total, "gates")
    by_model = _slice_section("models", "By model that answered", "Model", figures.by_model, figures.total)
    by_run = _slice_section("runs", "By run", "Run", figures.by_run, figures.total)
    return (_tickets(figures), by_gate, by_model, _waves(figures), by_run)


def _tickets(figures: Figures) -> Section:
    shown, more, rest = figures.dearest(MOST_TICKETS)
    gates = _gate_names(figures)
    by_ticket = [{part.name: part.amount for part in ticket.gates} for ticket in shown]
    series = [
        Series(one_line(gate, LONGEST_NAME), dollars(_nanousd(costs, gate) for costs in by_ticket)) for gate in gates
    ]
    series.append(Series(PARENT, dollars(ticket.shared_nanousd for ticket in shown)))
    chart = Chart(
        "Cost of each ticket, by gate",
        "usd",
        names(ticket.id for ticket in shown),
        tuple(series),
        tuple(end_of_bar(Amount(nanousd=ticket.shared_nanousd) + ticket.own) for ticket in shown),
        colors="gates",
    )
    table = Table(
        "Tickets, the dearest first",
        columns(
            "Ticket", "State", "*Full cost", "*Own", "*Parent", "*Attempts", "*Wave", *(f"*{gate}" for gate in gates)
        ),
        rows_of(_ticket_row(ticket, costs, gates) for ticket, costs in zip(shown, by_ticket, strict=True)),
        _ticket_foot(figures, gates, more, rest),
        is_long=True,
    )
    return Section("tickets", "Tickets", "Tickets", (PARENT_SHARE,), charts=(chart,) if shown else (), tables=(table,))


def _gate_names(figures: Figures) -> list[str]:
    """The gates that tickets have, in the order of the gates."""
    used = {part.name for ticket in figures.tickets for part in ticket.gates}
    return [part.name for part in figures.by_gate if part.name in used]


def _nanousd(costs: dict[str, Amount], gate: str) -> int:
    return costs[gate].nanousd if gate in costs else 0


def _ticket_row(ticket: TicketCost, costs: dict[str, Amount], gates: Sequence[str]) -> list[Cell]:
    return [
        text(ticket.id, ticket.title),
        text(ticket.state, ticket.reason, STATE_MARKS.get(ticket.state, "open")),
        money(ticket.full_nanousd),
        cost(ticket.own),
        money(ticket.shared_nanousd),
        number(ticket.attempts),
        number(ticket.wave),
        *(cost(costs[gate]) if gate in costs else Cell(NOTHING, value=0) for gate in gates),
    ]


def _ticket_foot(figures: Figures, gates: Sequence[str], more: int, rest: Amount) -> tuple[Cell, ...]:
    """The sum over all tickets, those too that are not shown."""
    own = sum_of(ticket.own for ticket in figures.tickets)
    shared = sum(ticket.shared_nanousd for ticket in figures.tickets)
    by_gate: dict[str, Amount] = {}
    for ticket in figures.tickets:
        for part in ticket.gates:
            by_gate[part.name] = by_gate.get(part.name, Amount()) + part.amount
    note = f"{more:,} of them are only in the exports; they cost {usd(rest.nanousd)}" if more else ""
    name = Cell(counted(len(figures.tickets), "ticket"), note)
    sums = (cost(by_gate[gate]) for gate in gates)
    return (name, *blank(1), money(own.nanousd + shared), cost(own), money(shared), *blank(2), *sums)


def _slice_section(
    section: str, title: str, kind: str, slices: Sequence[Slice], total: Amount, colors: str = "series"
) -> Section:
    chart = Chart(
        title.replace("By", "Cost by"),
        "usd",
        names(part.name for part in slices),
        (Series("cost", dollars(part.amount.nanousd for part in slices)),),
        tuple(end_of_bar(part.amount) for part in slices),
        colors=colors,
    )
    table = slice_table(title, kind, slices, total)
    return Section(
        section, title, f"{kind}s", (TOKENS,), charts=(chart,) if slices else (), tables=(table,), is_half=True
    )


def slice_table(caption: str, kind: str, slices: Sequence[Slice], total: Amount) -> Table:
    return Table(
        caption,
        columns(kind, "*Cost", "*Share", "*Calls", "*Read", "*Cached", "*Written"),
        tuple(_slice_row(text(part.name), part.amount, total) for part in slices),
        _slice_row(Cell("All"), sum_of(part.amount for part in slices), total),
        is_long=len(slices) > LONG,
    )


def _slice_row(name: Cell, amount: Amount, total: Amount) -> tuple[Cell, ...]:
    return (
        name,
        cost(amount),
        percent(amount.nanousd, total.nanousd),
        number(amount.calls),
        tokens(amount.usage.prompt),
        percent(amount.cache_read, amount.usage.prompt),
        tokens(amount.output),
    )


def _waves(figures: Figures) -> Section:
    waves = figures.by_wave
    chart = Chart(
        "Cost by wave",
        "usd",
        names(_wave_names(waves)),
        (
            Series("tickets", dollars(wave.amount.nanousd - wave.parent.nanousd for wave in waves)),
            Series(PARENT, dollars(wave.parent.nanousd for wave in waves)),
        ),
        tuple(end_of_bar(wave.amount) for wave in waves),
    )
    table = Table(
        "By wave",
        columns("Run", "*Wave", "*Tickets", "*Calls", "*Parent", "*Cost"),
        rows_of(_wave_row(wave) for wave in waves),
        _wave_foot(waves),
        is_long=len(waves) > LONG,
    )
    words = ("Calls before or beside the waves have no number.",) if any(wave.wave is None for wave in waves) else ()
    return Section("waves", "By wave", "Waves", words, charts=(chart,) if waves else (), tables=(table,), is_half=True)


def _wave_names(waves: Sequence[WaveCost]) -> Iterable[str]:
    several_runs = len({wave.run for wave in waves}) > 1
    for wave in waves:
        name = "no wave" if wave.wave is None else f"wave {wave.wave}"
        yield f"{wave.run} {name}" if several_runs else name


def _wave_row(wave: WaveCost) -> tuple[Cell, ...]:
    return (
        text(wave.run),
        number(wave.wave),
        number(wave.tickets),
        number(wave.amount.calls),
        cost(wave.parent),
        cost(wave.amount),
    )


def _wave_foot(waves: Sequence[WaveCost]) -> tuple[Cell, ...]:
    everything, parent = sum_of(wave.amount for wave in waves), sum_of(wave.parent for wave in waves)
    return (Cell("All"), *blank(2), number(everything.calls), cost(parent), cost(everything))


def source_section(figures: Figures) -> Section:
    tables = [slice_table("Who made the calls", "Source", figures.by_source, figures.total)]
    if figures.elsewhere:
        tables.append(slice_table("Calls for no ticket", "Gate", figures.elsewhere, figures.total))
    if figures.unattributed:
        parts = figures.unattributed
        rows = rows_of((text(part.session), money(part.nanousd), money(part.repriced_nanousd)) for part in parts)
        beyond = sum(part.nanousd or 0 for part in parts)
        repriced = sum(part.repriced_nanousd or 0 for part in parts)
        foot = (Cell("All that is known"), money(beyond), money(repriced))
        heads = columns("Session", "*Cost", "*The host's prices add to ours")
        tables.append(Table("Unattributed", heads, rows, foot, is_long=len(rows) > LONG))
    words = (TOKENS, UNATTRIBUTED) if figures.unattributed else (TOKENS,)
    return Section("sources", "Where the numbers come from", "Sources", words, tables=tuple(tables))
