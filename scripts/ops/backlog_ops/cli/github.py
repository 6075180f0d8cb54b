"""GitHub workflow commands that annotate a line (docs.github.com, "Workflow commands for GitHub Actions")."""

from __future__ import annotations


def annotation(kind: str, file: str, line: int, message: str) -> str:
    """`kind` is error or warning. Values are escaped: none of them can start a command of its own."""
    place = _escape(file).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} file={place},line={line}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
