"""Asking for an answer: down the tiers, and within each down its providers, until one is usable.

next at once      refused, cut, empty, too large, not reachable, a key or a model turned down
once more         an answer that fails its schema or the caller's check: one repair turn that names the fault
again in a moment 429, 529, 5xx and broken connections, twice at most, as long as `retry-after` fits
not again         an endpoint that is down, hangs or refuses the key is skipped for the rest of the chain
never             once text was shown while it arrived: half an answer and another one are no answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.pricing import PriceTable
from backlog_ops.domain.settings import LlmOps
from backlog_ops.llm.redact import shown
from backlog_ops.llm.steps import OLLAMA, Step, chain_of, provider_of, resolve
from backlog_ops.llm.types import (
    Allowance,
    Answer,
    Attempt,
    AttemptError,
    Call,
    ChainError,
    Clock,
    NobodyReachedError,
    NoModelLargeEnoughError,
    NothingAnsweredError,
    Outcome,
    OverBudgetError,
    Prompt,
    Reply,
    Spent,
    Turn,
    UnusableAnswersError,
)

__all__ = ["ask", "chain_of", "resolve"]

MAX_RETRIES = 2
FIRST_WAIT_SECONDS = 0.5  # doubles; half of it is chance, so that many callers do not come back together

Accept = Callable[[str, Any], str | None]
Admit = Callable[[Step, Call], str | None]


def ask(
    prompt: Prompt,
    tiers: Sequence[Tier],
    ops: LlmOps,
    *,
    environ: Mapping[str, str],
    prices: PriceTable,
    timeout: float | None = None,
    offline: bool = False,
    accept: Accept | None = None,
    admit: Admit | None = None,
    on_attempt: Callable[[Attempt], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    clock: Clock | None = None,
) -> Answer:
    """The first usable answer of the chain.

    timeout     seconds for the whole chain (default: llmOps.timeouts.callSeconds)
    accept      a check beyond the schema: None, or why `(text, parsed)` cannot be used
    admit       asked before each call that costs money: None, or why it may not be made
    on_attempt  gets every attempt as it ends; what it raises ends the call
    on_text     gets the answer; piece by piece as it arrives where nothing is left to be checked

    Raises ChainError: NobodyReachedError, UnusableAnswersError, OverBudgetError, NothingAnsweredError or
    NoModelLargeEnoughError; UsageError for a schema that is none.
    """
    asking = _Asking(prompt, ops, environ, prices, timeout, accept, admit, on_attempt, on_text, clock or Clock())
    return asking.run(resolve(tiers, ops, environ, offline))


class _Asking:
    """One call of `ask`: what has been tried, what is closed, how much time is left."""

    def __init__(
        self,
        prompt: Prompt,
        ops: LlmOps,
        environ: Mapping[str, str],
        prices: PriceTable,
        timeout: float | None,
        accept: Accept | None,
        admit: Admit | None,
        on_attempt: Callable[[Attempt], None] | None,
        on_text: Callable[[str], None] | None,
        clock: Clock,
    ) -> None:
        self._prompt, self._ops, self._environ, self._prices = prompt, ops, environ, prices
        self._accept, self._admit = accept, admit
        self._on_attempt, self._on_text, self._clock = on_attempt, on_text, clock
        self._seconds = ops.timeouts.call if timeout is None else timeout
        self._deadline = clock.monotonic() + self._seconds
        self._live = on_text is not None and accept is None and prompt.schema is None
        self._held, self._streamed = "", False
        self._attempts: list[Attempt] = []
        self._closed: dict[str, str] = {}  # provider → why it is not worth asking again
        self._check = None
        if prompt.schema is not None:
            from backlog_ops.llm.structured import Check

            self._check = Check(prompt.schema)

    def run(self, steps: Sequence[Step]) -> Answer:
        for number, step in enumerate(steps):
            reason = step.skip or self._closed.get(step.provider)
            if reason is not None:
                self._skip(step, reason)
                continue
            if self._clock.monotonic() >= self._deadline:
                self._note(step, Outcome.SKIPPED, f"the time limit of {self._seconds:g} s is used up")
                break
            answer = self._ask_step(step, self._allowance(step, steps[number + 1 :]))
            if answer is not None:
                return answer
            if self._streamed:
                break
        raise self._gave_up()

    def _allowance(self, step: Step, later: Sequence[Step]) -> Allowance:
        """Half of what is left while others could still be asked; the local tier has a bound of its own."""
        now = self._clock.monotonic()
        others = any(s.skip is None and s.provider not in self._closed for s in later)
        share = now + (self._deadline - now) / 2 if others else self._deadline
        if step.tier is Tier.FREE:
            share = min(share, now + self._ops.local_max_seconds)
        return Allowance(self._ops.timeouts, share, self._deadline, self._clock)

    def _ask_step(self, step: Step, allowance: Allowance) -> Answer | None:
        """Ask one provider, with its retries and its repair; None when the next must be asked."""
        prompt = self._prompt
        turns = (Turn("user", prompt.user),)
        call = Call(step.model, prompt.system, turns, prompt.schema, prompt.max_tokens, prompt.temperature)
        provider = provider_of(step, self._ops, self._environ)
        retries, repaired = 0, False
        while True:
            refused = self._admit(step, call) if self._admit and step.provider != OLLAMA else None
            if refused is not None:
                self._note(step, Outcome.OVER_BUDGET, refused)
                return None
            self._held = ""
            began = self._clock.monotonic()
            try:
                reply = provider.call(call, allowance, self._stream)
                answer, complaint = self._judge(reply)
            except AttemptError as failed:
                wait = self._wait(failed, retries, allowance)
                self._note(step, failed.outcome, failed.detail, failed.spent, began, wait)
                if failed.closes_endpoint:
                    self._closed[step.provider] = failed.detail
                if wait is None:
                    return None
                retries += 1
                self._clock.sleep(wait)
                continue
            if complaint is None:
                self._note(step, Outcome.ANSWERED, "", reply.spent, began)
                self._show_rest(answer.text)
                return Answer(answer.text, answer.parsed, tuple(self._attempts))
            detail = shown(complaint, call.texts()[:2])
            self._note(step, Outcome.INVALID, detail, reply.spent, began)
            if repaired or allowance.seconds_to(allowance.share) == 0:
                return None
            repaired, call = True, call.repaired(reply.text, complaint)

    def _judge(self, reply: Reply) -> tuple[Answer, str | None]:
        """The answer in a reply and what is wrong with it. Raises AttemptError for one that is none."""
        text = reply.text.strip()
        if text in ("", "null"):
            raise AttemptError(Outcome.EMPTY, f"the answer was {text or 'empty'}", spent=reply.spent)
        parsed: Any = None
        if self._check is not None:
            from backlog_ops.llm.structured import json_text

            text = json_text(text)
            parsed, complaint = self._check.complaint(text)
            if complaint is not None:
                return Answer(text, None, ()), complaint
        return Answer(text, parsed, ()), self._accept(text, parsed) if self._accept else None

    def _wait(self, failed: AttemptError, retries: int, allowance: Allowance) -> float | None:
        """Seconds after which to ask the same provider again; None: not at all."""
        if not failed.retry or self._streamed or retries >= MAX_RETRIES:
            return None
        wait = failed.retry_after
        if wait is None:
            import random

            wait = FIRST_WAIT_SECONDS * 2**retries * (0.5 + random.random() / 2)
        return wait if wait < allowance.seconds_to(allowance.share) else None

    def _stream(self, text: str) -> None:
        if not self._live or self._on_text is None:
            return
        self._held += text
        if self._streamed or not "null".startswith(self._held.strip()):  # by now it is an answer
            text, self._held, self._streamed = self._held, "", True
            self._on_text(text)

    def _show_rest(self, text: str) -> None:
        """What `on_text` has not seen yet: all of it unless the answer was streamed."""
        if self._on_text is not None and not self._streamed:
            self._on_text(text)

    def _skip(self, step: Step, reason: str) -> None:
        """Say once, not once per tier, why a provider is not asked."""
        told = any(a.provider == step.provider and a.detail == reason for a in self._attempts)
        if not told:
            self._note(step, Outcome.SKIPPED, reason)

    def _note(
        self,
        step: Step,
        outcome: Outcome,
        detail: str,
        spent: Spent | None = None,
        began: float | None = None,
        wait: float | None = None,
    ) -> None:
        spent = spent or Spent()
        cost, price_date = self._price(step, spent)
        attempt = Attempt(
            provider=step.provider,
            tier=step.tier,
            asked_model=step.model,
            answered_model=spent.answered_model,
            outcome=outcome,
            detail=detail if wait is None else f"{detail}; again in {wait:.1f} s",
            usage=spent.usage,
            cost_nanousd=cost,
            price_date=price_date,
            latency_ms=0 if began is None else round((self._clock.monotonic() - began) * 1000),
        )
        self._attempts.append(attempt)
        if self._on_attempt is not None:
            self._on_attempt(attempt)

    def _price(self, step: Step, spent: Spent) -> tuple[int | None, str | None]:
        if step.provider == OLLAMA:
            return 0, None  # free and known to be, whatever came of it
        if spent.cost_nanousd is not None:
            return spent.cost_nanousd, None
        if spent.answered_model is None or spent.usage is None:
            return None, None
        cost = self._prices.cost(spent.answered_model, spent.usage, self._clock.today())
        return cost, self._prices.date if cost is not None else None

    def _gave_up(self) -> ChainError:
        tried = [a.outcome for a in self._attempts if a.outcome is not Outcome.SKIPPED]
        if Outcome.OVER_BUDGET in tried:
            refused = next(a for a in self._attempts if a.outcome is Outcome.OVER_BUDGET)
            return OverBudgetError(f"{refused.asked_model}: {refused.detail}", self._attempts)
        if Outcome.INVALID in tried:
            return UnusableAnswersError("answers came and none passed the check", self._attempts)
        if any(outcome in (Outcome.REFUSED, Outcome.CUT, Outcome.EMPTY) for outcome in tried):
            return NothingAnsweredError("every answer was refused, cut off or empty", self._attempts)
        if self._streamed:
            return NothingAnsweredError("the answer broke off; what is shown of it is not whole", self._attempts)
        if tried and all(outcome is Outcome.TOO_LARGE for outcome in tried):
            return NoModelLargeEnoughError("the prompt is too large for every model asked", self._attempts)
        remote = [a for a in self._attempts if a.provider != OLLAMA and a.outcome is not Outcome.SKIPPED and a.detail]
        if remote:  # there is somebody to ask, who says himself what is wrong
            return NobodyReachedError(f"no model answered: {remote[-1].provider}: {remote[-1].detail}", self._attempts)
        remedy = "set ANTHROPIC_API_KEY, or log in to Claude Code (`claude`)"
        if any(a.provider == OLLAMA for a in self._attempts):
            remedy = f"start Ollama, {remedy}"
        return NobodyReachedError(f"no model could be asked: {remedy}", self._attempts)
