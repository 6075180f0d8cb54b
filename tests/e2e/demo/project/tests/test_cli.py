import contextlib
import io
import tempfile
import unittest

from tally.__main__ import main


def run_tally(csv, *options):
    printed = io.StringIO()
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file, contextlib.redirect_stdout(printed):
        file.write(csv)
        file.flush()
        code = main([*options, file.name])
    return code, printed.getvalue().splitlines()


class Tally(unittest.TestCase):
    def test_prints_a_line_for_each_category(self):
        code, lines = run_tally("2026-01-03,tools,5.00\n2026-01-09,books,12.00\n")
        self.assertEqual(code, 0)
        self.assertEqual([line.split() for line in lines], [["books", "12.00"], ["tools", "5.00"]])
