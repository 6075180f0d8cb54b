import unittest

from tally.records import Expense
from tally.report import totals_by_category


class TotalsByCategory(unittest.TestCase):
    def test_adds_up_what_belongs_together(self):
        expenses = [
            Expense("2026-01-03", "tools", 500),
            Expense("2026-01-09", "books", 1200),
            Expense("2026-02-01", "tools", -100),
        ]
        self.assertEqual(totals_by_category(expenses), {"books": 1200, "tools": 400})
