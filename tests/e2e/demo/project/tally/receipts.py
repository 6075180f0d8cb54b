"""Where the scanned receipts lie."""

from pathlib import Path


def receipt_path(folder: Path, name: str) -> Path:
    """The file of a receipt that an expense names."""
    return folder / name
