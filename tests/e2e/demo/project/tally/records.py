"""Expenses as they stand in a CSV file."""

import csv
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tally.money import parse_amount


class Expense(NamedTuple):
    """One line of the file; `cents` is negative for money that came back."""

    date: str
    category: str
    cents: int


def read_expenses(lines: Iterable[str]) -> Iterator[Expense]:
    """The expenses in CSV lines of date, category and amount."""
    for date, category, amount in csv.reader(lines):
        yield Expense(date, category, parse_amount(amount))
