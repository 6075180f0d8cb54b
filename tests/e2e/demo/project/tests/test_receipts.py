import unittest
from pathlib import Path

from tally.receipts import receipt_path


class ReceiptPath(unittest.TestCase):
    def test_lies_in_the_folder(self):
        self.assertEqual(receipt_path(Path("/receipts"), "a.pdf"), Path("/receipts/a.pdf"))
