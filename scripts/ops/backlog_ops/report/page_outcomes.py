"""What the money bought, section by section: accepted tickets, savings, yields, who answered, escalations, budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backlog_ops.domain.text import one_line
from backlog_ops.report.figures import Amount, Answered, Figures, SavingsLine, TicketCost, Yield, sum_of
from backlog_ops.report.page_parts import (
    LONG,
    LONGEST_TEXT,
    NOTHING,
    Cell,
    Chart,
    Section,
    Series,
    Table,
    Tile,
    blank,
    columns,
    cost,
    counted,
    dollars,
    end_of_bar,
    large_usd,
    money,
    names,
    number,
    percent,
    rows_of,
    share,
    text,
    tokens,
    usd,
)

ALL_GATES = "all gates"
ANSWER_MARKS = {True: "good", False: "bad", None: ""}
AS_ASKED = {True: "as asked", False: "another model", None: "nobody, or unsaid"}


def tiles(figures: Figures) -> tuple[Tile, ...]:
    """The answers first."""
    acceptance, usage, saved = figures.acceptance, figures.total.usage, figures.savings.saved_nanousd
    passed, tried = _first_passes(figures)
    each = NOTHING if acceptance.nanousd_each is None else large_usd(acceptance.nanousd_each)
    return (
        Tile("Spent", large_usd(figures.total.nanousd), _certainty(figures.total)),
        Tile("Tickets accepted", f"{acceptance.accepted:,}", f"{acceptance.parked:,} parked, {acceptance.open:,} open"),
        Tile("Cost of an accepted ticket", each, "with all failed attempts and parked tickets"),
        Tile(
            "Passed at the first attempt",
            share(passed, tried),
            f"{passed:,} of {counted(tried, 'ticket')}, through all gates" if tried else "no ticket has been tried",
        ),
        Tile(
            "Dearer than the baseline routing" if saved is not None and saved < 0 else "Below the baseline routing",
            NOTHING if saved is None else large_usd(abs(saved)),
            "a computation, nothing measured: see Savings",
        ),
        Tile(
            "Model calls",
            f"{figures.total.calls:,}",
            f"{tokens(usage.prompt).text} tokens read, {tokens(usage.output).text} written",
        ),
    )


def _certainty(total: Amount) -> str:
    unknown = f"and {counted(total.unknown_calls, 'call')} of unknown cost" if total.unknown_calls else ""
    estimated = f"{counted(total.estimated_calls, 'call')} estimated" if total.estimated_calls > 0 else ""
    return "; ".join(note for note in (unknown, estimated) if note) or "the cost of every call is known"


def _first_passes(figures: Figures) -> tuple[int, int]:
    lines = [line for line in figures.yields if line.gate == ALL_GATES]
    return sum(line.passed for line in lines), sum(line.tried for line in lines)


def outcome_sections(figures: Figures) -> tuple[Section, ...]:
    return (
        _accepted(figures),
        _yields(figures),
        _savings(figures),
        _answered(figures),
        _escalations(figures),
        _fallbacks(figures),
        _local_models(figures),
        _budget(figures),
    )


def _accepted(figures: Figures) -> Section:
    """What was spent on tickets and their runs, by how the tickets ended."""
    acceptance = figures.acceptance
    accepted = sum_of(ticket.own for ticket in figures.tickets if ticket.accepted)
    parked = sum_of(ticket.own for ticket in figures.tickets if ticket.state == "parked")
    unfinished = sum_of(ticket.own for ticket in figures.tickets if _is_open(ticket))
    known = accepted + parked + unfinished
    spent = acceptance.spent
    runs = Amount(spent.calls - known.calls, spent.nanousd - known.nanousd, spent.unknown_calls - known.unknown_calls)
    parts = (
        ("accepted tickets", acceptance.accepted, accepted),
        ("parked tickets", acceptance.parked, parked),
        ("open tickets", acceptance.open, unfinished),
        ("parent and runs", None, runs),
    )
    chart = Chart(
        "Spent on tickets, by how they ended",
        "usd",
        tuple(name for name, _, _ in parts),
        (Series("cost", dollars(amount.nanousd for _, _, amount in parts)),),
        tuple(end_of_bar(amount) for _, _, amount in parts),
    )
    rows = rows_of(
        (text(name), Cell(NOTHING) if count is None else number(count), number(amount.calls), cost(amount))
        for name, count, amount in parts
    )
    foot = (Cell("All"), number(len(figures.tickets)), number(spent.calls), cost(spent))
    table = Table("How the tickets ended", columns("What", "*Tickets", "*Calls", "*Cost"), rows, foot)
    return Section(
        "accepted",
        "Cost of an accepted ticket",
        "Accepted",
        _each(figures),
        charts=(chart,),
        tables=(table,),
        is_half=True,
    )


def _is_open(ticket: TicketCost) -> bool:
    return not ticket.accepted and ticket.state != "parked"


def _each(figures: Figures) -> tuple[str, ...]:
    acceptance = figures.acceptance
    if acceptance.nanousd_each is None:
        return ("No ticket has been accepted in this period.",)
    at_least = "at least " if acceptance.spent.unknown_calls else ""
    return (
        f"{usd(acceptance.spent.nanousd)} over {counted(acceptance.accepted, 'accepted ticket')}: {at_least}"
        f"{usd(acceptance.nanousd_each)} each. Failed attempts, parked tickets and the parent session are in it.",
    )


def _savings(figures: Figures) -> Section:
    savings = figures.savings
    saved = savings.saved_nanousd
    if saved is None:
        words = "A difference cannot be given: a cost or a price is not known, or there is nothing to compare."
    else:
        words = f"Computed difference: {usd(abs(saved))} {'less' if saved >= 0 else 'more'} than the baseline."
    rows = rows_of(_savings_row(line) for line in savings.lines)
    sums = (number(savings.actual.calls), cost(savings.actual), money(savings.counterfactual_nanousd))
    heads = columns("Gate", "Baseline model", "*Calls", "*Actual", "*Baseline")
    table = Table("Actual against baseline", heads, rows, (Cell("All"), *blank(1), *sums))
    charts = (_savings_chart(savings.lines),) if rows else ()
    assumption = one_line(savings.assumption, LONGEST_TEXT)
    return Section("savings", "Savings", "Savings", (words,), assumption, charts, (table,))


def _savings_row(line: SavingsLine) -> tuple[Cell, ...]:
    model = text(line.model, line.tier)
    baseline = money(line.counterfactual_nanousd)
    return (text(line.gate), model, number(line.actual.calls), cost(line.actual), baseline)


def _savings_chart(lines: Sequence[SavingsLine]) -> Chart:
    actual = dollars(line.actual.nanousd for line in lines)
    baseline = dollars(line.counterfactual_nanousd or 0 for line in lines)
    return Chart(
        "Actual cost, and the same tokens on the baseline routing",
        "usd",
        names(f"{line.gate} ({line.tier})" for line in lines),
        (
            Series("actual", actual, tuple(end_of_bar(line.actual) for line in lines)),
            Series("baseline", baseline, tuple(usd(line.counterfactual_nanousd) for line in lines)),
        ),
        stacked=False,
    )


def _yields(figures: Figures) -> Section:
    lines = figures.yields
    chart = Chart(
        "Passed at the first attempt",
        "percent",
        names(f"{line.gate} · {line.model}" for line in lines),
        (Series("passed", tuple(100 * (line.share or 0.0) for line in lines)),),
        tuple(f"{share(line.passed, line.tried)} ({line.passed:,} of {line.tried:,})" for line in lines),
    )
    rows = rows_of(_yield_row(line) for line in lines)
    heads = columns("Gate", "Model that wrote it", "*Passed", "*Tried", "*Share")
    table = Table("First-pass yield", heads, rows, is_long=len(rows) > LONG)
    words = ("Of what entered a gate for the first time, how much passed it.",)
    return Section(
        "yields", "First-pass yield", "Yield", words, charts=(chart,) if lines else (), tables=(table,), is_half=True
    )


def _yield_row(line: Yield) -> tuple[Cell, ...]:
    return (
        text(line.gate),
        text(line.model),
        number(line.passed),
        number(line.tried),
        percent(line.passed, line.tried),
    )


def _answered(figures: Figures) -> Section:
    pairs = figures.answered
    tiers = tuple(dict.fromkeys(pair.asked_tier for pair in pairs))
    counts = {answer: [_calls(pairs, tier, answer) for tier in tiers] for answer in AS_ASKED}
    chart = Chart(
        "Calls by the tier that was asked, and who answered",
        "calls",
        names(tiers),
        tuple(Series(AS_ASKED[answer], tuple(map(float, calls))) for answer, calls in counts.items()),
        tuple(counted(sum(calls), "call") for calls in zip(*counts.values(), strict=True)),
    )
    rows = rows_of(
        (
            text(pair.asked_model, pair.asked_tier),
            text(pair.answered_model, pair.provider),
            text(AS_ASKED[pair.as_asked], mark=ANSWER_MARKS[pair.as_asked]),
            number(pair.amount.calls),
            cost(pair.amount),
        )
        for pair in pairs
    )
    total = sum_of(pair.amount for pair in pairs)
    table = Table(
        "Asked and answered",
        columns("Asked", "Answered", "Match", "*Calls", "*Cost"),
        rows,
        (Cell("All"), *blank(2), number(total.calls), cost(total)),
        is_long=len(rows) > LONG,
    )
    return Section(
        "answered", "Asked and answered", "Answered", charts=(chart,) if pairs else (), tables=(table,), is_half=True
    )


def _calls(pairs: Iterable[Answered], tier: str, answer: bool | None) -> int:
    return sum(pair.amount.calls for pair in pairs if pair.asked_tier == tier and pair.as_asked is answer)


def _escalations(figures: Figures) -> Section:
    rows = rows_of(
        (
            text(f"{line.from_tier} → {line.to_tier}"),
            text(line.failed_gate),
            text(line.rule),
            number(line.count),
            cost(line.amount),
        )
        for line in figures.escalations
    )
    total = sum_of(line.amount for line in figures.escalations)
    count = sum(line.count for line in figures.escalations)
    foot = (Cell("All"), *blank(2), number(count), cost(total))
    heads = columns("Tier", "Gate that failed", "Rule", "*Attempts", "*Cost")
    tables = [Table("Escalations", heads, rows, foot, is_long=len(rows) > LONG)]
    if figures.by_rule:
        rules = rows_of((text(part.name), number(part.amount.calls), cost(part.amount)) for part in figures.by_rule)
        tables.append(Table("The rule that chose the tier", columns("Rule", "*Calls", "*Cost"), rules))
    return Section("escalations", "Escalations", "Escalations", tables=tuple(tables), is_half=True)


def _fallbacks(figures: Figures) -> Section:
    rows = rows_of(
        (text(line.gate), text(line.answered_model), text(line.cause), number(line.amount.calls), cost(line.amount))
        for line in figures.fallbacks
    )
    total = sum_of(line.amount for line in figures.fallbacks)
    foot = (Cell("All"), *blank(2), number(total.calls), cost(total))
    heads = columns("Gate", "Model that answered", "Cause", "*Calls", "*Cost")
    table = Table("Calls made because the one before was of no use", heads, rows, foot, is_long=len(rows) > LONG)
    return Section("fallbacks", "Fallbacks", "Fallbacks", tables=(table,), is_half=True)


def _local_models(figures: Figures) -> Section:
    stats = figures.local_model_stats
    if not stats.total_attempts:
        return Section(
            "local", "Small models", "Small models", ("No attempt was made below the balanced tier.",), is_half=True
        )
    rows = (
        (Cell("attempts"), number(stats.total_attempts)),
        (Cell("succeeded", share(stats.success_count, stats.total_attempts)), number(stats.success_count)),
        (Cell("escalated"), number(stats.escalated_to_cloud)),
        *((text(f"failed {gate}"), number(count)) for gate, count in stats.failures_by_type),
    )
    table = Table("Attempts below the balanced tier", columns("What", "*Count"), rows)
    return Section("local", "Small models", "Small models", tables=(table,), is_half=True)


def _budget(figures: Figures) -> Section:
    uses = figures.budget
    if not uses:
        return Section("budget", "Budget", "Budget", ("No limit applies to this period.",))
    chart = Chart(
        "Used of each limit",
        "percent",
        names(use.what for use in uses),
        (Series("used", tuple(use.percent or 0.0 for use in uses)),),
        tuple(share(use.spent.nanousd, use.limit_nanousd) for use in uses),
        lines=((float(uses[0].warn_at_percent), "warns"), (100.0, "limit")),
    )
    rows = rows_of(
        (
            text(use.what),
            text(
                "near or over the limit" if use.is_warning else "within the limit",
                mark="bad" if use.is_warning else "good",
            ),
            percent(use.spent.nanousd, use.limit_nanousd),
            cost(Amount(use.spent.unknown_calls, use.spent.nanousd, use.spent.unknown_calls)),
            money(use.limit_nanousd),
        )
        for use in uses
    )
    heads = columns("Limit of", "State", "*Used", "*Spent", "*Limit")
    table = Table("Budget", heads, rows, is_long=len(rows) > LONG)
    return Section("budget", "Budget", "Budget", charts=(chart,), tables=(table,))
