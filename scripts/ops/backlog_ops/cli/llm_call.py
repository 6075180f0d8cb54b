"""`llm_call.py`: one prompt to the model chain; the answer on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from backlog_ops.domain.budget import dollars
from backlog_ops.domain.gates import Tier
from backlog_ops.domain.settings import NANO_PER_USD, LlmOps
from backlog_ops.errors import EXIT_INTERRUPTED, EXIT_OK, BacklogError, UsageError
from backlog_ops.llm.chain import ask, chain_of, resolve
from backlog_ops.llm.types import Answer, Attempt, ChainError, Outcome, Prompt
from backlog_ops.money.ledger import record
from backlog_ops.money.reservations import hold, let_go
from backlog_ops.run.receipts import receipt
from backlog_ops.storage.config_file import load_prices, load_settings
from backlog_ops.storage.database import connect
from backlog_ops.storage.locations import database_path, find_repository

if TYPE_CHECKING:
    from backlog_ops.domain.pricing import PriceTable
    from backlog_ops.llm.steps import Step
    from backlog_ops.llm.types import Call
    from backlog_ops.storage.database_file import Connection

_T = TypeVar("_T")

PROGRAM = "llm_call"
_EPILOG = """\
The prompt comes from --user, --user-file, or standard input (a pipe, or `-`).
example: git diff --staged | llm_call.py --model free --system "Write a commit message."
exit codes: 0 answered, 2 wrong usage, 3 invalid configuration, 4 nobody could answer, 5 no answer passed
the schema, 6 the day's budget does not allow it, 7 refused, cut or empty, 8 prompt too large, 130 interrupted"""


def main() -> int:
    """Run with `sys.argv`; returns the exit code (contracts.md, "llm_call.py")."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # an exit, so that a `claude` we started ends with us
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        return _run(_options(), os.environ)
    except BacklogError as error:
        _say(error.message)
        for line in () if isinstance(error, ChainError) else error.details:  # attempts are on stderr already
            _say(f"  {line}")
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left; nothing to add
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says so while exiting
        return EXIT_OK


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def _options() -> argparse.Namespace:
    options, extra = _parser().parse_known_args()
    # What stands in the wrong place may be the prompt, so only the names of flags are repeated.
    for flag in extra:
        if flag.startswith("-"):
            raise UsageError(f"unknown flag {flag.partition('=')[0]}; see --help")
    if extra or options.stdin not in ([], ["-"]):
        raise UsageError("unexpected argument; a prompt goes into --user, --user-file or standard input")
    if len([given for given in (options.user, options.user_file, options.stdin or None) if given is not None]) > 1:
        raise UsageError("more than one prompt: give one of --user, --user-file and -")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="llm_call.py",
        description="Ask a model one thing: the cheapest that can answer, with fallbacks.",
        epilog=_EPILOG,
        # A fixed width: to ask the terminal for its own, argparse imports shutil for every call, helped or not.
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model", required=True, choices=[tier.value for tier in Tier], help="who is to answer")
    system = parser.add_mutually_exclusive_group()
    system.add_argument("--system", metavar="TEXT", help="system prompt")
    system.add_argument("--system-file", metavar="F", help="file that holds the system prompt")
    add("--user", metavar="TEXT", help="prompt (others can see it in the process list)")
    add("--user-file", metavar="F", help="file that holds the prompt")
    add("stdin", nargs="*", metavar="-", help="prompt on standard input")
    add("--json-schema", metavar="F", help="the answer is JSON that passes this schema")
    add("--max-tokens", metavar="N", type=_tokens, help="of the answer")
    add("--temperature", metavar="T", type=_temperature, help="0 to 2, where the model takes one")
    add("--timeout", metavar="S", type=_seconds, help="seconds for the whole chain")
    add("--ticket", metavar="ID", help="for the ledger")
    add("--gate", metavar="NAME", help="for the ledger")
    add("--tag", metavar="K:V", action="append", default=[], type=_tag, help="for the ledger; repeatable")
    add("--no-fallback", action="store_true", help="ask this tier only")
    add("--offline", action="store_true", help="ask nothing beyond this machine")
    add("--stream", action="store_true", help="print the answer as it arrives")
    add("--output", choices=["text", "json"], default="text", help="json: one object with usage and cost")
    add("--config", metavar="F", type=Path, help="instead of the repository's backlog.config.json")
    add("--explain", action="store_true", help="print who would be asked, and ask nobody")
    return parser


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    tiers = chain_of(Tier(options.model), fallback=not options.no_fallback)
    ops = load_settings(environ, Path.cwd(), options.config).llm_ops
    if options.explain:
        _write("\n".join(_explanation(tiers, ops, environ, options.offline)))
        return EXIT_OK
    prompt = Prompt(
        system=_text_of("--system", options.system, options.system_file),
        user=_user_text(options),
        schema=_schema(options.json_schema),
        max_tokens=options.max_tokens,
        temperature=options.temperature,
    )
    pieces: list[str] = []

    def show(text: str) -> None:
        _emit(text)
        pieces.append(text)

    prices = load_prices(environ)
    books = _Bookkeeper(options, environ, ops, prices)
    answer = ask(
        prompt,
        tiers,
        ops,
        environ=environ,
        prices=prices,
        timeout=options.timeout,
        offline=options.offline,
        admit=books.admit,
        on_attempt=books.enter,
        on_text=show if options.stream and options.output == "text" else None,
    )
    if pieces:
        _emit("" if pieces[-1].endswith("\n") else "\n")
    elif options.output == "json":
        _write(json.dumps(_as_json(options.model, ops, answer), ensure_ascii=False))
    else:
        _write(answer.text)
    return EXIT_OK


class _Bookkeeper:
    """Prints each attempt as it ends and enters it in the ledger, which may fail but not lose an answer. What a call
    may cost is set aside before it is made, out of the day's budget.
    """

    def __init__(
        self, options: argparse.Namespace, environ: Mapping[str, str], ops: LlmOps, prices: PriceTable
    ) -> None:
        self._options, self._environ, self._prices = options, environ, prices
        self._models, self._most_a_day = ops.models.by_tier, ops.budget.per_day_nanousd
        self._holder = f"llm_call/{os.urandom(16).hex()}"
        self._count = 0
        self._cause: str | None = None
        self._ledger: Connection | None = None
        self._ledger_works = True

    def admit(self, step: Step, call: Call) -> str | None:
        """Why a call may not be made; None, and its cost set aside, where it may."""
        from backlog_ops.domain.pricing import iso_day
        from backlog_ops.llm.sizing import most_usage

        today = iso_day(time.time())
        cost = self._prices.cost(self._models[step.tier], most_usage(call), today)
        left = self._safely(
            lambda: hold(self._open(), self._holder, cost or 1, self._most_a_day, time.time()),
            "the budget could not be checked",
        )
        if left is None:
            return None
        takes = "an unknown amount" if cost is None else f"up to {dollars(cost)}"
        most = dollars(self._most_a_day)
        return f"it may cost {takes}, and {dollars(left)} is left of today's {most} (llmOps.budget.perDayUsd)"

    def enter(self, attempt: Attempt) -> None:
        """Tell of an attempt that has ended, and book it."""
        if self._cause is not None and attempt.outcome is Outcome.ANSWERED:
            _say(f"fell back to {attempt.tier} ({attempt.provider}) because of {self._cause}")
        _say(attempt.summary())
        self._count += 1
        self._safely(lambda: self._book(attempt), "not entered in the ledger")
        if attempt.outcome not in (Outcome.ANSWERED, Outcome.SKIPPED):
            self._cause = f"{attempt.tier} {attempt.provider}: {attempt.outcome}: {attempt.detail}"

    def _safely(self, use: Callable[[], _T], what: str) -> _T | None:
        """What a use of the ledger gives. One that fails is told once; from then on nothing is asked of it."""
        try:
            return use() if self._ledger_works else None
        except (BacklogError, OSError, sqlite3.Error) as error:
            self._ledger_works = False
            _say(f"{what}: {error}")
            return None

    def _open(self) -> Connection:
        if self._ledger is None:
            repository = find_repository(Path.cwd())
            self._ledger = connect(database_path(self._environ, repository[1] if repository else None))
        return self._ledger

    def _book(self, attempt: Attempt) -> None:
        if attempt.reached_model:
            row = receipt(
                attempt,
                key=f"{self._holder}/{self._count}",
                at=time.time(),
                source="llm_call",
                ticket=self._options.ticket,
                gate=self._options.gate,
                fallback_cause=self._cause,
                tags=dict(self._options.tag),
            )
            record(self._open(), row)
        if self._ledger is not None:
            let_go(self._ledger, self._holder)


def _explanation(tiers: Sequence[Tier], ops: LlmOps, environ: Mapping[str, str], offline: bool) -> list[str]:
    return [
        f"{step.tier} {step.provider} {step.model} at {step.where}: {step.skip or 'would be asked'}"
        for step in resolve(tiers, ops, environ, offline)
    ]


def _as_json(asked: str, ops: LlmOps, answer: Answer) -> dict[str, Any]:
    last = answer.attempts[-1]
    return {
        "text": answer.text,
        "parsed": answer.parsed,
        "asked": {"tier": asked, "model": ops.models.by_tier[Tier(asked)]},
        "answered": {
            "tier": last.tier.value,
            "provider": last.provider,
            "model": last.answered_model or last.asked_model,
        },
        **_spending(last),
        "attempts": [
            {
                "tier": attempt.tier.value,
                "provider": attempt.provider,
                "asked_model": attempt.asked_model,
                "answered_model": attempt.answered_model,
                "outcome": attempt.outcome.value,
                "detail": attempt.detail,
                "latency_ms": attempt.latency_ms,
                **_spending(attempt),
            }
            for attempt in answer.attempts
        ],
    }


def _spending(attempt: Attempt) -> dict[str, Any]:
    known = attempt.cost_nanousd is not None
    return {
        "usage": None if attempt.usage is None else vars(attempt.usage),
        "cost": {
            "nanousd": attempt.cost_nanousd,
            "usd": (attempt.cost_nanousd or 0) / NANO_PER_USD if known else None,
            "price_date": attempt.price_date,
        },
    }


def _user_text(options: argparse.Namespace) -> str:
    if options.user is not None or options.user_file is not None:
        text = _text_of("--user", options.user, options.user_file)
    elif sys.stdin is None or (not options.stdin and sys.stdin.isatty()):
        raise UsageError("no prompt: give --user, --user-file, or pipe it in")
    else:
        text = _decoded(sys.stdin.buffer.read(), "standard input")
    if not text.strip():
        raise UsageError("the prompt is empty: give --user, --user-file, or pipe it in")
    return text


def _text_of(flag: str, text: str | None, file: str | None) -> str:
    if file is not None:
        return _decoded(_read(file), file)
    return _decoded(os.fsencode(text or ""), flag)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 (byte {error.start}): convert it first") from None


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None


def _schema(file: str | None) -> dict[str, Any] | None:
    if file is None:
        return None
    try:
        schema = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{file}: not a JSON Schema: it must be an object")
    return schema


def _tokens(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    return _number(text, "must be a number of seconds above 0", above=0.0, most=86_400.0)


def _temperature(text: str) -> float:
    return _number(text, "must be a number from 0 to 2", above=-1e-9, most=2.0)


def _number(text: str, rule: str, above: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(rule) from None
    if not above < value <= most:  # false for NaN as well
        raise argparse.ArgumentTypeError(rule)
    return value


def _tag(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (name and colon):
        raise argparse.ArgumentTypeError("must look like NAME:VALUE")
    return name, value


def _write(text: str) -> None:
    _emit(text if text.endswith("\n") else text + "\n")


def _emit(text: str) -> None:
    # Bytes: whatever the locale, an answer is UTF-8; a lone surrogate in it must not end the call.
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads stderr: no reason to lose the answer
        print(f"{PROGRAM}: {line}".encode("utf-8", "replace").decode(), file=sys.stderr, flush=True)
