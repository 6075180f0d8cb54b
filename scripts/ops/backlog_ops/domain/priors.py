"""What a gate takes in tokens where nobody has seen it work yet. docs/costs.md prints the same numbers.

Set-up: measured on the real Claude Code 2.1.330 (request bytes / 4). Text gates: the token counts of the plan's own
origin, times 1.3 for the tokenizer of the 5.x models. Agents: so many calls that an attempt reads and writes half of
what the origin counts for two attempts; at the 90th percentile it takes all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.gates import Gate

IMPLEMENTER_SET_UP = 3_085  # tokens before the brief: Read, Edit, Write, Bash
READER_SET_UP = 1_705  # Read, Write
FIRST_ATTEMPTS_THAT_PASS = 4  # of FIRST_ATTEMPTS
FIRST_ATTEMPTS = 5


@dataclass(frozen=True)
class Prior:
    """One action or one text call: as it usually is, and at its 90th percentile."""

    usual: Conversation
    high: Conversation


def _text(tokens_in: int, tokens_out: int) -> Prior:
    """A single call; high: it is asked once more, as after an answer that could not be used."""
    usual = Conversation(1, round(tokens_in * 1.3), 0, round(tokens_out * 1.3), cached=False)
    return Prior(usual, usual.with_calls(2))


def _agent(calls: int, set_up: int, growth: int, output: int) -> Prior:
    usual = Conversation(calls, set_up, growth, output)
    return Prior(usual, usual.with_calls(2 * calls))


PRIORS: Mapping[Gate, Prior] = {
    Gate.CLASSIFY: _text(700, 50),
    Gate.WAVE_PLAN: _text(700, 330),
    Gate.INVESTIGATE: _agent(10, READER_SET_UP + 3_000, 1_500, 250),
    Gate.PLAN: _text(5_000, 2_000),
    Gate.DRAFT: _text(5_000, 2_000),
    Gate.IMPLEMENT: _agent(25, IMPLEMENTER_SET_UP + 5_000, 1_500, 250),
    Gate.REVIEW: _agent(3, READER_SET_UP + 6_000, 800, 500),
    Gate.COMMIT: _text(1_000, 200),
    Gate.SUMMARY: _text(1_000, 670),
}

# An attempt after a failed one starts from its diff and its findings.
NEXT_ATTEMPT = Conversation(10, IMPLEMENTER_SET_UP + 9_000, 1_500, 250)

# A wave in a parent session: its own 12,500 tokens and the skill, five calls in a terminal.
PARENT = Conversation(5, 14_500, 450, 120)
