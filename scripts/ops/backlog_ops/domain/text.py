"""Words of a user inside our own one-line messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# Line and paragraph separators and controls break a line; bidirectional overrides and isolates show a
# reader another order than a program reads; a lone surrogate cannot be written to any file.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_QUOTE = 80


def quote(text: str) -> str:
    """`text` in double quotes on one line: unsafe characters escaped, long text cut."""
    cut = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return '"' + UNSAFE.sub(lambda found: ascii(found.group())[1:-1], cut) + '"'


def one_line(text: str, longest: int) -> str:
    """`text` on one line that any file and terminal can take: unsafe characters become blanks, long text is cut."""
    plain = " ".join(UNSAFE.sub(" ", text).split())
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def hint(word: str, options: Iterable[str], likeness: float = 0.6) -> str:
    """`; did you mean "…"?` for the option most like `word` (1.0: the same), else nothing."""
    names = {option.casefold(): option for option in options}
    close = difflib.get_close_matches(word.casefold(), names, n=1, cutoff=likeness)
    return f'; did you mean "{names[close[0]]}"?' if close else ""
