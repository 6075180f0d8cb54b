"""How many tokens a text may have, without a tokenizer: from above and from below.

From above, to size a context that will do: a token for every 3 bytes (characters / 4 is too few for current
tokenizers). From below, to prove what cannot fit and what was cut: a token for every 6 characters, after runs
of white space or of one sign, which may be a single token, are taken out.
"""

from __future__ import annotations

import re

from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.types import Call

ANSWER_TOKENS = 16_384  # where the caller names no limit: room for any gate's answer

_RUNS = re.compile(r"\s+|(\S)\1{3,}")
_MESSAGE_OVERHEAD = 16  # tokens a chat template adds per message, generously


def tokens_about(call: Call) -> int:
    """Enough tokens for the prompt in nearly every case."""
    size = sum(len(text.encode("utf-8", "replace")) for text in call.texts())
    return size // 3 + _MESSAGE_OVERHEAD * (len(call.turns) + 1)


def tokens_at_least(call: Call) -> int:
    """Fewer tokens than this the prompt cannot be."""
    return sum(len(_RUNS.sub(" ", text)) for text in call.texts()) // 6


def most_usage(call: Call) -> Usage:
    """What a call uses at the most, in nearly every case: for what is set aside before it is made."""
    return Usage(input=tokens_about(call), output=call.max_tokens or ANSWER_TOKENS)
