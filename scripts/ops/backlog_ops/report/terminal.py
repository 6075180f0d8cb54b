"""The report on a terminal: tables by rich, plain text where there is none. NO_COLOR is honoured.

Whatever a ticket or a cause says, it is one line of plain words here: nothing in it can steer a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backlog_ops.domain.text import one_line
from backlog_ops.money.ledger import Spent
from backlog_ops.report.figures import PARENT_SHARE, Amount, Figures, LocalModelStats, Slice, Yield

MOST_ROWS = 25  # of a table; a file or a page has them all
PLAIN_WIDTH = 200  # where no terminal says how wide it is
_LONGEST = 60
NONE = "–"

Column = tuple[str, bool]  # its head, and whether it holds numbers
Row = Sequence[str]


def show(figures: Figures, by: str | None, file: TextIO) -> None:
    """Print the summary and all tables, or the one of the dimension `by`: ticket, gate, model, wave."""
    with _printing(file) as console:
        _print_summary(console, figures)
        if figures.is_empty:
            return
        for table in [_BY[by]] if by is not None else _ALL:
            table(console, figures)


def show_summary(figures: Figures, file: TextIO) -> None:
    with _printing(file) as console:
        _print_summary(console, figures)


def show_stats(stats: LocalModelStats, yields: Sequence[Yield], file: TextIO) -> None:
    with _printing(file) as console:
        _say(console, f"below balanced: {stats.share} attempts committed, {stats.escalated_to_cloud} escalated")
        for gate, count in stats.failures_by_type:
            _say(console, f"escalated after {gate}: {count}")
        _print_yields(console, yields)


def dollars(nanousd: int | None, digits: int = 4) -> str:
    if nanousd is None:
        return "unknown"
    return f"{'-' if nanousd < 0 else ''}${abs(nanousd) / 1e9:,.{digits}f}"


def cost(amount: Amount | Spent) -> str:
    unknown = f" + {amount.unknown_calls} unknown" if amount.unknown_calls else ""
    return f"{dollars(amount.nanousd)}{unknown}"


@contextmanager
def _printing(file: TextIO) -> Iterator[Console]:
    """Nothing is printed before all is: rich fills lines up with blanks, which nobody is to read."""
    width = None if file.isatty() else PLAIN_WIDTH
    console = Console(file=file, width=width, highlight=False, emoji=False, markup=False)
    with console.capture() as printed:
        yield console
    file.writelines(f"{line.rstrip()}\n" for line in printed.get().split("\n")[:-1])


def _print_summary(console: Console, figures: Figures) -> None:
    period = "all calls" if figures.since is None else f"since {time.strftime('%Y-%m-%d', time.gmtime(figures.since))}"
    _say(console, f"{figures.project} · {period} · prices of {figures.price_date}", "bold")
    if figures.is_empty:
        _say(console, "No model call is in the ledger for this period: there is nothing to add up.")
        return
    total, acceptance = figures.total, figures.acceptance
    usage = total.usage
    _say(
        console,
        f"spent {total.spent} in {total.calls:,} calls · {usage.prompt:,} tokens read ({usage.cache_read:,} from the "
        f"cache), {usage.output:,} written",
    )
    if total.estimated_calls > 0:
        _say(console, f"{total.estimated_calls:,} calls count their output by an estimate", "yellow")
    each = dollars(acceptance.nanousd_each) if acceptance.accepted else NONE
    more = f" + {acceptance.spent.unknown_calls} of unknown cost" if acceptance.spent.unknown_calls else ""
    _say(
        console,
        f"an accepted ticket cost {each}{more}: {acceptance.accepted} accepted, {acceptance.parked} parked, "
        f"{acceptance.open} open; failed attempts, parked tickets and the parent are paid for by the accepted ones",
    )
    for part in figures.unattributed:
        if part.nanousd != 0:
            _say(console, f"unattributed: {dollars(part.nanousd)} that the host counts for session {part.session}")
        if part.repriced_nanousd:
            more = f"{dollars(abs(part.repriced_nanousd))} {'more' if part.repriced_nanousd > 0 else 'less'}"
            _say(console, f"the host's own prices make session {part.session} cost {more} than ours")


def _say(console: Console, line: str, style: str = "") -> None:
    console.print(Text(one_line(line, 500), style))


def _print_table(
    console: Console, title: str, columns: Sequence[Column], rows: Iterable[Row], foot: Row = (), note: str = ""
) -> None:
    """`foot` sums up all rows, those that are left out too."""
    listed = list(rows)
    if not listed:
        return
    table = Table(box=SIMPLE_HEAD, show_footer=bool(foot), show_edge=False, pad_edge=False)
    for number, (head, is_number) in enumerate(columns):
        table.add_column(
            Text(head),
            footer=Text(foot[number]) if foot else "",
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="ellipsis" if is_number else "fold",
        )
    for row in listed[:MOST_ROWS]:
        table.add_row(*(Text(one_line(cell, _LONGEST)) for cell in row))
    console.print()
    console.print(Text(title, "bold"))
    console.print(table)
    if len(listed) > MOST_ROWS:
        _say(console, f"{len(listed) - MOST_ROWS} more: `--html F`, or `--format csv`, has them", "dim")
    if note:
        _say(console, note, "dim")


def _tickets(console: Console, figures: Figures) -> None:
    used = {part.name for ticket in figures.tickets for part in ticket.gates}
    gates = [part.name for part in figures.by_gate if part.name in used]
    shown, _, _ = figures.dearest(MOST_ROWS)
    rows = []
    for ticket in figures.tickets if len(figures.tickets) <= MOST_ROWS else shown:
        costs = {part.name: part.amount for part in ticket.gates}
        by_gate = (cost(costs[gate]) if gate in costs else NONE for gate in gates)
        parent, full = dollars(ticket.shared_nanousd), Spent(ticket.full_nanousd, ticket.own.unknown_calls)
        rows.append((ticket.id, ticket.title, ticket.state or NONE, str(ticket.attempts), *by_gate, parent, cost(full)))
    columns = [("ticket", False), ("title", False), ("state", False), ("tries", True)]
    columns += [(gate, True) for gate in gates] + [("parent*", True), ("full cost", True)]
    _print_table(console, "Cost per ticket, by gate", columns, rows, note=f"* {PARENT_SHARE}")
    if len(figures.tickets) > MOST_ROWS:
        _say(console, f"{len(figures.tickets) - MOST_ROWS} more tickets: `--format csv` has them all", "dim")


def _slices(title: str, head: str, pick: Callable[[Figures], Sequence[Slice]]) -> Callable[[Console, Figures], None]:
    def table(console: Console, figures: Figures) -> None:
        total = figures.total
        rows = [
            (part.name, f"{part.amount.calls:,}", *_tokens(part.amount), cost(part.amount), _part(part.amount, total))
            for part in pick(figures)
        ]
        columns = [(head, False), ("calls", True), ("read", True), ("written", True), ("cost", True), ("", True)]
        foot = ("all", f"{total.calls:,}", *_tokens(total), cost(total), "")
        _print_table(console, title, columns, rows, foot if len(rows) > 1 and title != _RULES else ())

    return table


def _tokens(amount: Amount) -> tuple[str, str]:
    return f"{amount.usage.prompt:,}", f"{amount.output:,}"


def _part(amount: Amount, total: Amount) -> str:
    return f"{amount.nanousd / total.nanousd:.0%}" if total.nanousd else NONE


def _waves(console: Console, figures: Figures) -> None:
    rows = [
        (
            wave.run,
            NONE if wave.wave is None else str(wave.wave),
            str(wave.tickets),
            cost(wave.parent),
            cost(wave.amount),
        )
        for wave in reversed(figures.by_wave)
    ]
    columns = [("run", False), ("wave", True), ("tickets", True), ("of it the parent", True), ("cost", True)]
    _print_table(console, "By wave", columns, rows, ("all", "", "", cost(figures.parent), cost(figures.total)))


def _answered(console: Console, figures: Figures) -> None:
    words = {True: "as asked", False: "ANOTHER MODEL", None: "nobody said"}
    rows = [
        (
            f"{pair.asked_tier} {pair.asked_model}",
            f"{pair.provider} {pair.answered_model}",
            words[pair.as_asked],
            f"{pair.amount.calls:,}",
            cost(pair.amount),
        )
        for pair in figures.answered
    ]
    columns = [("asked", False), ("answered", False), ("", False), ("calls", True), ("cost", True)]
    _print_table(console, "Asked and answered", columns, rows)


def _escalations(console: Console, figures: Figures) -> None:
    rows = [
        (f"{line.from_tier} → {line.to_tier}", line.failed_gate, line.rule, str(line.count), cost(line.amount))
        for line in figures.escalations
    ]
    columns = [("escalated", False), ("failed at", False), ("rule", False), ("attempts", True), ("their cost", True)]
    _print_table(console, "Escalations", columns, rows)


def _fallbacks(console: Console, figures: Figures) -> None:
    rows = [
        (line.gate, line.cause, line.answered_model, f"{line.amount.calls:,}", cost(line.amount))
        for line in figures.fallbacks
    ]
    columns = [("gate", False), ("because", False), ("answered instead", False), ("calls", True), ("cost", True)]
    _print_table(console, "Fallbacks", columns, rows)


def _yields(console: Console, figures: Figures) -> None:
    _print_yields(console, figures.yields)


def _print_yields(console: Console, yields: Sequence[Yield]) -> None:
    rows = [
        (line.gate, line.model, f"{line.passed}/{line.tried}", NONE if line.share is None else f"{line.share:.0%}")
        for line in yields
    ]
    columns = [("gate", False), ("model", False), ("passed first", True), ("", True)]
    _print_table(console, "First-pass yield", columns, rows)


def _savings(console: Console, figures: Figures) -> None:
    savings = figures.savings
    rows = [
        (f"{line.gate} on {line.model}", cost(line.actual), dollars(line.counterfactual_nanousd))
        for line in savings.lines
    ]
    columns = [("the same tokens", False), ("was", True), ("would be", True)]
    foot = ("all", cost(savings.actual), dollars(savings.counterfactual_nanousd))
    saved = savings.saved_nanousd
    word = "unknown" if saved is None else f"{dollars(abs(saved))} {'less' if saved >= 0 else 'more'}"
    title = f"Against the routing before: {word}"
    _print_table(console, title, columns, rows, foot, savings.assumption)


def _budget(console: Console, figures: Figures) -> None:
    rows = [
        (
            use.what,
            cost(use.spent),
            dollars(use.limit_nanousd, 2),
            (NONE if use.percent is None else f"{use.percent:.0f} %") + (" !" if use.is_warning else ""),
        )
        for use in figures.budget
    ]
    columns = [("budget", False), ("spent", True), ("limit", True), ("used", True)]
    _print_table(console, "Budget", columns, rows)


_RULES = "By the rule that chose the tier"
_GATES = _slices("By gate", "gate", lambda figures: figures.by_gate)
_MODELS = _slices("By model", "model that answered", lambda figures: figures.by_model)
_BY = {"ticket": _tickets, "gate": _GATES, "model": _MODELS, "wave": _waves}
_ALL = (
    _tickets,
    _GATES,
    _MODELS,
    _waves,
    _slices("By source", "who called", lambda figures: figures.by_source),
    _answered,
    _escalations,
    _slices(_RULES, "rule", lambda figures: figures.by_rule),
    _fallbacks,
    _yields,
    _savings,
    _budget,
)
