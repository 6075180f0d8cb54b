"""What the scripted models say and write, ticket by ticket. The only place that knows the solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Edit:
    """One exact replacement in a file of the worktree."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Remark:
    """A finding too small to block; `quote` is the line it cites."""

    path: str
    quote: str
    text: str


def _file(path: str, purpose: str) -> Json:
    return {"path": path, "action": "modify", "purpose": purpose}


PLANS: Mapping[str, Json] = {
    "BUG-001": {
        "files": [
            _file("tally/money.py", "put the sign in front of the amount without it"),
            _file("tests/test_money.py", "amounts below zero, and the way back"),
        ],
        "interfaces": ["format_amount(cents: int) -> str, unchanged"],
        "tests": [
            'tests/test_money.py: test_writes_the_sign_in_front: -5 is "-0.05", -1250 is "-12.50"',
            "tests/test_money.py: test_reads_back_what_it_wrote: parse_amount(format_amount(c)) == c",
        ],
        "steps": ["Add the two tests.", "Change the last line of format_amount."],
        "open_questions": [],
    },
    "FEAT-002": {
        "files": [
            _file("tally/report.py", "totals_by_month"),
            _file("tests/test_report.py", "its test"),
        ],
        "interfaces": ["totals_by_month(expenses: Iterable[Expense]) -> dict[str, int]"],
        "tests": ["tests/test_report.py: test_adds_up_each_month_in_order_of_time: two months, out of order"],
        "steps": ["Add the test.", "Add totals_by_month below totals_by_category; the month is date[:7]."],
        "open_questions": [],
    },
    "FEAT-003": {
        "files": [
            _file("tally/__main__.py", "the option --by-month"),
            _file("tests/test_cli.py", "its test"),
        ],
        "interfaces": ["python3 -m tally [--by-month] FILE"],
        "tests": ["tests/test_cli.py: test_prints_a_line_for_each_month: two months, oldest first"],
        "steps": ["Add the test.", "Add the option, and choose the function that adds up by it."],
        "open_questions": [],
    },
    "SEC-004": {
        "files": [
            _file("tally/receipts.py", "refuse what does not lie below the folder"),
            _file("tests/test_receipts.py", "the ways out of the folder"),
        ],
        "interfaces": ["receipt_path(folder: Path, name: str) -> Path; raises ValueError"],
        "tests": [
            "tests/test_receipts.py: test_refuses_ways_out: .., a/../.., an absolute name, an empty name",
            "tests/test_receipts.py: test_refuses_a_link_that_leads_out",
            "tests/test_receipts.py: test_keeps_sub_folders",
        ],
        "steps": [
            "Add the tests on a real temporary folder.",
            "Resolve folder and file; the folder must be among the parents of the file.",
        ],
        "open_questions": [],
    },
}


def _after(path: str, line: str, added: str) -> Edit:
    return Edit(path, line, line + added)


_MONEY_TESTS = """
    def test_writes_the_sign_in_front(self):
        self.assertEqual(format_amount(-5), "-0.05")
        self.assertEqual(format_amount(-1250), "-12.50")

    def test_reads_back_what_it_wrote(self):
        for cents in range(-250, 251):
            self.assertEqual(parse_amount(format_amount(cents)), cents)
"""
_FORMAT_BEFORE = 'return f"{cents // 100}.{cents % 100:02d}"'
_FORMAT_CHEAP = 'return f"{int(cents / 100)}.{abs(cents) % 100:02d}"'
_FORMAT_RIGHT = """sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}\""""

_BY_MONTH = '''

def totals_by_month(expenses: Iterable[Expense]) -> dict[str, int]:
    """Cents spent in each month, keyed by YYYY-MM, oldest first."""
    totals: Counter[str] = Counter()
    for expense in expenses:
        totals[expense.date[:7]] += expense.cents
    return dict(sorted(totals.items()))
'''
_BY_MONTH_TESTS = """

class TotalsByMonth(unittest.TestCase):
    def test_adds_up_each_month_in_order_of_time(self):
        expenses = [
            Expense("2026-02-01", "tools", -100),
            Expense("2026-01-03", "tools", 500),
            Expense("2026-02-09", "books", 1200),
        ]
        self.assertEqual(list(totals_by_month(expenses).items()), [("2026-01", 500), ("2026-02", 1100)])
"""

_CLI_TESTS = """
    def test_prints_a_line_for_each_month(self):
        code, lines = run_tally("2026-02-09,books,12.00\\n2026-01-03,tools,5.00\\n", "--by-month")
        self.assertEqual(code, 0)
        self.assertEqual([line.split() for line in lines], [["2026-01", "5.00"], ["2026-02", "12.00"]])
"""
_OPEN_FILE = '    with open(options.file, encoding="utf-8", newline="") as file:'
_CHOOSE = "    add_up = totals_by_month if options.by_month else totals_by_category\n"
_BY_MONTH_OPTION = '    parser.add_argument("--by-month", action="store_true")\n'
_BY_CATEGORY_IMPORT = "from tally.report import totals_by_category"

_RECEIPT_BEFORE = '''\
    """The file of a receipt that an expense names."""
    return folder / name
'''
_RECEIPT_RIGHT = '''\
    """The file of a receipt that an expense names; ValueError if it does not lie below the folder."""
    inside = folder.resolve()
    if inside not in (inside / name).resolve().parents:
        raise ValueError(f"not below the receipts folder: {name!r}")
    return folder / name
'''
_RECEIPT_TESTS = """
    def test_keeps_sub_folders(self):
        self.assertEqual(receipt_path(Path("/receipts"), "2026/a.pdf"), Path("/receipts/2026/a.pdf"))

    def test_refuses_ways_out(self):
        for name in ("..", "../a.pdf", "2026/../../a.pdf", "/etc/passwd", "", "."):
            with self.subTest(name), self.assertRaises(ValueError):
                receipt_path(Path("/receipts"), name)

    def test_refuses_a_link_that_leads_out(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "link").symlink_to("/etc")
            with self.assertRaises(ValueError):
                receipt_path(Path(folder), "link/passwd")
"""

# One list of edits for each attempt at a ticket; the last one repeats.
IMPLEMENTATIONS: Mapping[str, Sequence[Sequence[Edit]]] = {
    "BUG-001": [
        [  # The cheap model loses the sign of what is smaller than one: its own test fails.
            _after("tests/test_money.py", 'format_amount(1205), "12.05")\n', _MONEY_TESTS),
            Edit("tally/money.py", _FORMAT_BEFORE, _FORMAT_CHEAP),
        ],
        [Edit("tally/money.py", _FORMAT_CHEAP, _FORMAT_RIGHT)],
    ],
    "FEAT-002": [
        [
            _after("tests/test_report.py", _BY_CATEGORY_IMPORT, ", totals_by_month"),
            _after("tests/test_report.py", '{"books": 1200, "tools": 400})\n', _BY_MONTH_TESTS),
            _after("tally/report.py", "    return dict(sorted(totals.items()))\n", _BY_MONTH),
        ]
    ],
    "FEAT-003": [
        [
            _after("tests/test_cli.py", '[["books", "12.00"], ["tools", "5.00"]])\n', _CLI_TESTS),
            _after("tally/__main__.py", _BY_CATEGORY_IMPORT, ", totals_by_month"),
            Edit(
                "tally/__main__.py",
                '    parser.add_argument("file")\n',
                _BY_MONTH_OPTION + '    parser.add_argument("file")\n',
            ),
            Edit("tally/__main__.py", _OPEN_FILE, _CHOOSE + _OPEN_FILE),
            Edit("tally/__main__.py", "= totals_by_category(read_", "= add_up(read_"),
        ]
    ],
    "SEC-004": [
        [
            Edit("tests/test_receipts.py", "import unittest\n", "import tempfile\nimport unittest\n"),
            _after("tests/test_receipts.py", 'Path("/receipts/a.pdf"))\n', _RECEIPT_TESTS),
            Edit("tally/receipts.py", _RECEIPT_BEFORE, _RECEIPT_RIGHT),
        ]
    ],
}

# A reviewer's remarks; a ticket without any is approved without findings.
REMARKS: Mapping[str, Remark] = {
    "SEC-004": Remark(
        "tally/receipts.py",
        "    return folder / name",
        "What was checked is not what is returned; a link made in between would be followed.",
    ),
}

COMMIT_PHRASES: Mapping[str, str] = {
    "BUG-001": "print amounts below zero with their sign",
    "FEAT-002": "add totals by month",
    "FEAT-003": "print totals by month with --by-month",
    "SEC-004": "keep receipt names inside the receipts folder",
}
