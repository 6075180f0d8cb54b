import unittest

from tally.money import format_amount, parse_amount


class ParseAmount(unittest.TestCase):
    def test_reads_cents(self):
        self.assertEqual(parse_amount("12.50"), 1250)

    def test_reads_whole_amounts(self):
        self.assertEqual(parse_amount("7"), 700)

    def test_reads_amounts_below_zero(self):
        self.assertEqual(parse_amount("-0.05"), -5)

    def test_refuses_one_decimal(self):
        with self.assertRaises(ValueError):
            parse_amount("1.5")


class FormatAmount(unittest.TestCase):
    def test_writes_two_decimals(self):
        self.assertEqual(format_amount(1205), "12.05")
