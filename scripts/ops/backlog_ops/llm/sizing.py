"""How many tokens a text may have, without a tokenizer: from below and from above.

English prose and code have 3.5 to 5 bytes a token, current tokenizers a third more tokens than older ones
(facts: characters / 4 is too few). So bytes / 3 sizes a context that will do, and bytes / 6, after runs of
white space and of the same sign are taken out (they are one token), proves what cannot fit and what was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from backlog_ops.llm.types import Call

_RUNS = re.compile(r"\s+|([^\w\s])\1+")
_MESSAGE_OVERHEAD = 16  # tokens a chat template adds per message, generously


def tokens_about(call: Call) -> int:
    """Enough tokens for the prompt in nearly every case."""
    return _bytes(call.texts()) // 3 + _MESSAGE_OVERHEAD * (len(call.turns) + 1)


def tokens_at_least(call: Call) -> int:
    """Fewer tokens than this the prompt cannot be."""
    return _bytes(_RUNS.sub(" ", text) for text in call.texts()) // 6


def _bytes(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
