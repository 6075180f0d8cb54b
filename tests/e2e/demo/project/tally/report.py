"""Sums over expenses."""

from collections import Counter
from collections.abc import Iterable

from tally.records import Expense


def totals_by_category(expenses: Iterable[Expense]) -> dict[str, int]:
    """Cents spent on each category, in alphabetical order."""
    totals: Counter[str] = Counter()
    for expense in expenses:
        totals[expense.category] += expense.cents
    return dict(sorted(totals.items()))
