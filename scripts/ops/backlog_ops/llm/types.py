"""The words of this package: what is asked, what comes back, and what is known of each try.

Prompt     what a caller wants said              Attempt   one try at one model, for people and the ledger
Call       the same, as one provider gets it     Answer    the text, with every attempt that led to it
Allowance  how long a try may take               AttemptError    why a try gave no answer; never leaves `chain`
Reply      what a provider brought back          ChainError   nobody in the chain gave a usable answer
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.pricing import Usage, iso_day
from backlog_ops.domain.settings import NANO_PER_USD, Timeouts
from backlog_ops.errors import (
    BacklogError,
    BudgetError,
    NoAnswerError,
    PromptTooLargeError,
    SchemaError,
    UnreachableError,
)


class Outcome(enum.Enum):
    """How one attempt ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # the model declined
    CUT = "cut"  # stopped by a length limit: half an answer is none
    EMPTY = "empty"  # nothing but white space, `null` or thoughts
    INVALID = "invalid"  # an answer that does not pass the schema or the caller's check
    TOO_LARGE = "too_large"  # the prompt does not fit the model
    BROKEN = "broken"  # a server error, or a response that ends or reads wrong
    TIMEOUT = "timeout"
    LIMITED = "limited"  # a rate or spend limit
    REJECTED = "rejected"  # the request itself was turned down: key, model or parameters
    UNREACHABLE = "unreachable"
    SKIPPED = "skipped"  # not configured, or known to be useless by now
    OVER_BUDGET = "over_budget"  # what it may cost is not left

    @property
    def may_have_cost(self) -> bool:
        """Whether a model may have worked on it, even if nobody learned what that used."""
        return self not in _NO_MODEL_RAN

    def __str__(self) -> str:
        return self.value


_NO_MODEL_RAN = frozenset(
    {
        *(Outcome.TOO_LARGE, Outcome.LIMITED, Outcome.REJECTED, Outcome.UNREACHABLE),
        *(Outcome.SKIPPED, Outcome.OVER_BUDGET),
    }
)


@dataclass(frozen=True)
class Prompt:
    """What a caller wants answered. With a `schema` the answer is JSON that passes it."""

    system: str
    user: str
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None  # of the visible answer
    temperature: float | None = None  # dropped for models that take no sampling parameters


class Turn(NamedTuple):
    role: str  # user | assistant
    text: str


class Call(NamedTuple):
    """One request to one model; more than one turn only when an answer is to be repaired."""

    model: str
    system: str
    turns: tuple[Turn, ...]
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    temperature: float | None = None

    def repaired(self, answer: str, complaint: str) -> Call:
        """The same call with an unusable answer and what is wrong with it."""
        ask = f"That answer cannot be used: {complaint}\nAnswer again, in full, with this put right."
        return self._replace(turns=(*self.turns, Turn("assistant", answer), Turn("user", ask)))

    def texts(self) -> tuple[str, ...]:
        """Everything in it that is private."""
        return (self.system, *(turn.text for turn in self.turns))


@dataclass(frozen=True)
class Clock:
    """Time and chance, so that tests bring their own. `monotonic` and `wall` are seconds."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def today(self) -> str:
        """The ISO date in UTC: the day that prices are looked up for."""
        return iso_day(self.wall())


class Allowance(NamedTuple):
    """How long one try may take (contracts.md, "Waiting"). Instants are those of `clock.monotonic`."""

    timeouts: Timeouts
    share: float  # by then an answer must at least have begun, so that the next in the chain has time left
    deadline: float  # by then it must be there
    clock: Clock

    def seconds_to(self, instant: float) -> float:
        return max(instant - self.clock.monotonic(), 0.0)


class Spent(NamedTuple):
    """What a try is known to have used. None: nobody knows."""

    answered_model: str | None = None
    usage: Usage | None = None
    cost_nanousd: int | None = None  # where the provider itself knows; else the price table is asked


class Reply(NamedTuple):
    text: str
    spent: Spent


class AttemptError(Exception):
    """A try without an answer. `detail` is one line that holds neither keys nor the prompt."""

    def __init__(
        self,
        outcome: Outcome,
        detail: str,
        *,
        spent: Spent | None = None,
        retry: bool = False,
        retry_after: float | None = None,
        closes_endpoint: bool = False,
    ) -> None:
        super().__init__()
        self.outcome = outcome
        self.detail = detail
        self.spent = spent or Spent()
        self.retry = retry  # the same request may well succeed in a moment
        self.retry_after = retry_after  # seconds, as the server asked for
        self.closes_endpoint = closes_endpoint  # no other model behind it will do better

    def __str__(self) -> str:
        return self.detail


class Provider(Protocol):
    """One way to reach a model. Stands for one endpoint; keeps nothing between calls."""

    def call(self, call: Call, allowance: Allowance, on_text: Callable[[str], None]) -> Reply:
        """Ask once. `on_text` gets visible text as it arrives. Raises AttemptError."""
        ...


@dataclass(frozen=True)
class Attempt:
    provider: str
    tier: Tier
    asked_model: str
    answered_model: str | None
    outcome: Outcome
    detail: str  # why, and what to do about it; empty for an answer
    usage: Usage | None
    cost_nanousd: int | None  # None: unknown
    price_date: str | None  # of the price table, where it was asked
    latency_ms: int

    @property
    def reached_model(self) -> bool:
        """Whether it has a row in the ledger."""
        return self.outcome.may_have_cost or self.usage is not None

    def summary(self) -> str:
        """One line for people: who, how it ended, why, and what it used."""
        served = ""
        if self.answered_model not in (None, self.asked_model):
            served = f" (answered by {self.answered_model})"
        reason = f": {self.detail}" if self.detail else ""
        return f"{self.tier} {self.provider} {self.asked_model}{served}: {self.outcome}{reason}{self._used()}"

    def _used(self) -> str:
        if self.outcome in (Outcome.SKIPPED, Outcome.OVER_BUDGET):
            return ""
        used = [f"{self.latency_ms} ms"]
        if self.usage is not None:
            used.append(f"{self.usage.prompt} tokens in, {self.usage.output} out")
            known = self.cost_nanousd is not None
            used.append(f"${(self.cost_nanousd or 0) / NANO_PER_USD:.6f}" if known else "cost unknown")
        return f" ({', '.join(used)})"


@dataclass(frozen=True)
class Answer:
    text: str
    parsed: Any | None  # the JSON value where a schema was given
    attempts: tuple[Attempt, ...]  # the last one answered


class ChainError(BacklogError):
    """Nobody gave a usable answer; `attempts` says who was asked, `details` has a line for each."""

    def __init__(self, message: str, attempts: Sequence[Attempt]) -> None:
        super().__init__(message, [attempt.summary() for attempt in attempts])
        self.attempts = tuple(attempts)


class NobodyReachedError(ChainError, UnreachableError):
    """Exit 4."""


class UnusableAnswersError(ChainError, SchemaError):
    """Exit 5."""


class OverBudgetError(ChainError, BudgetError):
    """Exit 6."""


class NothingAnsweredError(ChainError, NoAnswerError):
    """Exit 7."""


class NoModelLargeEnoughError(ChainError, PromptTooLargeError):
    """Exit 8."""
