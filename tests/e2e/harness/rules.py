"""Scenarios: what the scripted API answers to which request.

A scenario is any callable `Req -> Answer`. `Rules` builds one from match rules, `script` from a list of
answers. A request that no scenario covers (None) is answered with HTTP 400, so that it fails loudly.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.harness.reply import Answer
from tests.e2e.harness.request import Req

Scenario = Callable[[Req], Answer]
Pattern = str | re.Pattern[str] | Callable[[str], object] | None


def _fits(wanted: Pattern, got: str) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted in got
    if isinstance(wanted, re.Pattern):
        return bool(wanted.search(got))
    return bool(wanted(got))


@dataclass
class Rule:
    """The first rule that matches and is not used up answers.

    A string matches as a substring, a compiled pattern by search, a callable by its truth. `reply` is
    anything a scenario may return, or a callable of the request; answers under `each` are dealt out one per
    match, the last one repeating.
    """

    reply: Any = None
    each: Sequence[Any] = ()
    model: Pattern = None
    system: Pattern = None
    first: Pattern = None  # against the first user message
    last: Pattern = None  # against the last user message
    result: Pattern = None  # against the joined text of the last message's tool results
    turn: int | None = None
    times: int | None = None  # used up after this many
    used: int = 0

    def matches(self, request: Req) -> bool:
        if self.times is not None and self.used >= self.times:
            return False
        if self.turn is not None and request.turn != self.turn:
            return False
        results = "\n".join(result.text for result in request.tool_results)
        return (
            _fits(self.model, request.model)
            and _fits(self.system, request.system)
            and _fits(self.first, request.first_text)
            and _fits(self.last, request.last_text)
            and (self.result is None or (bool(request.tool_results) and _fits(self.result, results)))
        )

    def next_answer(self) -> Any:
        number, self.used = self.used, self.used + 1
        return self.each[min(number, len(self.each) - 1)] if self.each else self.reply


class Rules:
    def __init__(self, rules: Iterable[Rule], default: Any = None) -> None:
        self._rules = list(rules)
        self._default = default
        self._lock = threading.Lock()

    def __call__(self, request: Req) -> Answer:
        with self._lock:
            rule = next((rule for rule in self._rules if rule.matches(request)), None)
            answer = rule.next_answer() if rule else self._default
        return _settle(answer, request)


def script(*steps: Any, end: Any = "done") -> Scenario:
    """One answer per call, in order, then `end` for ever."""
    remaining = iter(steps)
    lock = threading.Lock()

    def scenario(request: Req) -> Answer:
        with lock:
            step = next(remaining, end)
        return _settle(step, request)

    return scenario


def _settle(answer: Any, request: Req) -> Answer:
    return answer(request) if callable(answer) else copy.deepcopy(answer)
