"""The command: python3 -m tally FILE."""

import argparse
import sys
from collections.abc import Sequence

from tally.money import format_amount
from tally.records import read_expenses
from tally.report import totals_by_category


def main(arguments: Sequence[str]) -> int:
    """Print the totals of a file; 0 when it could be read."""
    parser = argparse.ArgumentParser(prog="tally")
    parser.add_argument("file")
    options = parser.parse_args(arguments)
    with open(options.file, encoding="utf-8", newline="") as file:
        totals = totals_by_category(read_expenses(file))
    for name, cents in totals.items():
        print(f"{name:<12}{format_amount(cents):>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
