"""What the page is put together from: sections of words, charts and tables. All texts here are plain, none is HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backlog_ops.domain.text import one_line
from backlog_ops.report.figures import Amount

NOTHING = "–"
FIRST_ROWS = 100  # of a long table: laying out a thousand takes a second
LONG = 20  # a table of more rows scrolls by itself
LONGEST_NAME = 60
LONGEST_TEXT = 600
TINY_NANOUSD = 50_000  # rounds to $0.0000, and is not nothing


@dataclass(frozen=True)
class Cell:
    text: str
    note: str = ""  # a second, smaller line
    value: float | None = None  # what a number sorts by
    nanousd: int | None = None  # the exact amount behind a cost
    mark: str = ""  # good | bad | open: a state, which `text` names too


@dataclass(frozen=True)
class Column:
    name: str
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[Cell, ...] = ()
    is_long: bool = False  # scrolls by itself, is searched and sorted; starts with `FIRST_ROWS`


@dataclass(frozen=True)
class Series:
    name: str
    values: tuple[float, ...]
    ends: tuple[str, ...] = ()  # written at the end of each of its bars, where the bars are not stacked


@dataclass(frozen=True)
class Chart:
    """Horizontal bars, one a label; stacked, or side by side."""

    title: str
    unit: str  # usd | percent | calls
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    ends: tuple[str, ...] = ()  # written at the end of each stack
    stacked: bool = True
    lines: tuple[tuple[float, str], ...] = ()  # a line across all bars, and what it stands for
    colors: str = "series"  # "series": by position; "gates": by the gate's name, the same in every chart


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    short: str  # in the list of sections
    words: tuple[str, ...] = ()
    aside: str = ""  # an assumption: set off from the other words
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    is_half: bool = False  # stands beside another one where there is room


@dataclass(frozen=True)
class Tile:
    name: str
    value: str
    note: str


def usd(nanousd: int | None) -> str:
    if nanousd is None:
        return "unknown"
    sign = "−" if nanousd < 0 else ""
    size = abs(nanousd)
    if 0 < size < TINY_NANOUSD:
        return f"{sign}<$0.0001"
    return f"{sign}${size / 1e9:,.4f}"


def large_usd(nanousd: int | None) -> str:
    """Cents are enough from a dollar on."""
    if nanousd is None or abs(nanousd) < 1_000_000_000:
        return usd(nanousd)
    return f"{'−' if nanousd < 0 else ''}${abs(nanousd) / 1e9:,.2f}"


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def unknown_note(amount: Amount) -> str:
    """What a cost does not say by itself: the calls that are not in it, and the estimates that are."""
    unknown = f"+ {amount.unknown_calls:,} unknown" if amount.unknown_calls else ""
    is_estimate = amount.estimated_calls > 0  # the row of corrections is below 0
    estimated = f"{amount.estimated_calls:,} estimated" if is_estimate else ""
    return ", ".join(note for note in (unknown, estimated) if note)


def share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole > 0 else NOTHING


def text(words: str, note: str = "", mark: str = "") -> Cell:
    return Cell(one_line(words, LONGEST_TEXT) or NOTHING, one_line(note, LONGEST_TEXT), mark=mark)


def number(value: int | None) -> Cell:
    return Cell(NOTHING) if value is None else Cell(f"{value:,}", value=value)


def tokens(value: int) -> Cell:
    """Millions with one digit: columns of nine digits leave no room for the others."""
    return Cell(f"{value / 1e6:,.1f} M" if abs(value) >= 1_000_000 else f"{value:,}", value=value)


def percent(part: float, whole: float) -> Cell:
    return Cell(share(part, whole), value=part / whole if whole > 0 else None)


def money(nanousd: int | None, note: str = "") -> Cell:
    return Cell(usd(nanousd), note, value=nanousd, nanousd=nanousd)


def is_unknown(amount: Amount) -> bool:
    """Whether nothing of it is known: to be said as such, not as $0."""
    return amount.unknown_calls > 0 and amount.nanousd == 0 and amount.unknown_calls >= amount.calls


def cost(amount: Amount) -> Cell:
    if is_unknown(amount):
        return Cell("unknown", counted(amount.unknown_calls, "call"), value=0, nanousd=0)
    return money(amount.nanousd, unknown_note(amount))


def end_of_bar(amount: Amount) -> str:
    if is_unknown(amount):
        return "unknown"
    return usd(amount.nanousd) + (f" + {amount.unknown_calls:,} unknown" if amount.unknown_calls else "")


def dollars(amounts: Iterable[int]) -> tuple[float, ...]:
    return tuple(nanousd / 1e9 for nanousd in amounts)


def names(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(one_line(text, LONGEST_NAME) or NOTHING for text in texts)


def columns(*names: str) -> tuple[Column, ...]:
    """A name that starts with a star is of a column of numbers."""
    return tuple(Column(one_line(name.lstrip("*"), LONGEST_NAME), name.startswith("*")) for name in names)


def blank(many: int) -> tuple[Cell, ...]:
    return (Cell(""),) * many


def rows_of(cells: Iterable[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(tuple(row) for row in cells)
