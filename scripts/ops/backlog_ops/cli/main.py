"""`backlog-ops`: the commands people and agents type (contracts.md). Parsing and dispatch; printing is beside it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from backlog_ops import __version__
from backlog_ops.cli.exit_zero import OPTION, add_exit_zero, asks_for_zero, ending_with_zero
from backlog_ops.errors import EXIT_INTERRUPTED, EXIT_UNREACHABLE, EXIT_USAGE, BacklogError

HOOKS = ("returned", "stopped", "woken", "session", "settle")
Command = Callable[[argparse.Namespace], int]


def _later(module: str, function: str) -> Command:
    """A command imported only when it is used: help and errors stay instant, `next` stays light."""

    def call(args: argparse.Namespace) -> int:
        command: Command = getattr(importlib.import_module(f"backlog_ops.cli.{module}"), function)
        return command(args)

    return call


class _Parser(argparse.ArgumentParser):
    commands: Mapping[str, argparse.ArgumentParser]

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; `{self.prog} --help` shows how\n")


class _Commands:
    """The sub-commands of one parser, each with a one-line help and an example."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
        self.by_name: Mapping[str, argparse.ArgumentParser] = self._parsers.choices

    def add(self, name: str, function: str, example: str, text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = self._parsers.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: backlog-ops {example}",
        )
        sub.set_defaults(call=_later(*function.split(".")))
        return sub

    def add_hidden(self, name: str, function: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = self._parsers.add_parser(name)
        sub.set_defaults(call=_later(*function.split(".")))
        return sub


def _parser() -> _Parser:
    parser = _Parser(
        prog="backlog-ops",
        description="Implements a folder of Markdown tickets in waves, each gate on the cheapest model that can do it.",
        epilog="example: backlog-ops run --max-usd 5",
    )
    parser.add_argument("--version", action="version", version=f"backlog-ops {__version__}")
    parser.add_argument("--debug", action="store_true", help="a traceback instead of one line for our own errors")
    commands = _Commands(parser)
    _add_setting_up(commands)
    _add_reading(commands)
    _add_prices(commands)
    _add_driving(commands)
    _add_steering(commands)
    _add_handing(commands)
    parser.commands = commands.by_name
    return parser


def _formats(sub: argparse.ArgumentParser, *names: str) -> None:
    sub.add_argument("--format", choices=names, default=names[0], help=f"default {names[0]}")


def _add_reading(commands: _Commands) -> None:
    text = "check the configuration and the tickets, every problem at once"
    sub = commands.add("validate", "reading.validate", "validate tickets", text)
    sub.add_argument("what", nargs="?", choices=["config", "tickets"], help="only one of the two")
    _formats(sub, "text", "json", "github")

    text = "which tier and model a gate of a ticket gets, and the rule that decided"
    sub = commands.add("route", "reading.route", "route BUG-001 IMPLEMENT", text)
    sub.add_argument("id", metavar="ID")
    sub.add_argument("gate", metavar="GATE", help="PLAN, IMPLEMENT, REVIEW, …")
    _formats(sub, "text", "json")

    text = "what the pending tickets will cost, by gate, before any model is asked"
    sub = commands.add("quote", "quoting.print_quote", "quote BUG-001", text)
    sub.add_argument("ids", metavar="ID", nargs="*", help="only these tickets; default: all pending ones")
    _formats(sub, "text", "json")
    add_exit_zero(sub)

    sub = commands.add("status", "reading.status", "status", "the run, read")
    _formats(sub, "text", "json")
    add_exit_zero(sub)

    sub = commands.add("show", "reading.show", "show BUG-001", "brief, diff, findings and receipts of a ticket")
    sub.add_argument("id", metavar="ID")
    _formats(sub, "text", "json")
    add_exit_zero(sub)

    text = "what tickets, gates, models and waves cost, from every model call in the ledger"
    sub = commands.add("report", "reporting.report", "report --html report.html --since 30d", text)
    sub.add_argument("--html", metavar="F", help="write it as one self-contained page")
    text = "only this table; `call`: the rows themselves, as CSV or JSON"
    sub.add_argument("--by", choices=["ticket", "gate", "model", "wave", "call"], help=text)
    _add_period(sub)

    text = "hold the result of `claude -p --output-format json` against the receipts of its session"
    sub = commands.add("reconcile", "reconciling.reconcile", "reconcile result.json", text)
    sub.add_argument("file", metavar="FILE", help="what it printed; - for standard input")

    text = "how attempts below balanced fared, and what passed each gate the first time"
    _add_period(commands.add("stats", "reporting.stats", "stats --since 30d", text))


def _add_period(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--since", metavar="DATE|Nd", help="only that day (UTC) and later, or so many days back")
    _formats(sub, "text", "json", "csv")
    add_exit_zero(sub)


def _add_setting_up(commands: _Commands) -> None:
    text = "write the configuration, the ticket folders and a ticket template; nothing is overwritten"
    sub = commands.add("init", "setting_up.init", "init --test-command 'make test'", text)
    sub.add_argument("--dry-run", action="store_true", help="show what would be written as a diff, write nothing")
    sub.add_argument("--test-command", metavar="CMD", help="what runs the tests; default: as detected")
    _formats(sub, "text", "json")
    add_exit_zero(sub)

    text = "what is missing or mis-set on this machine and in this repository, each with its remedy"
    sub = commands.add("doctor", "setting_up.doctor", "doctor", text)
    _formats(sub, "text", "json")
    add_exit_zero(sub)


def _add_prices(commands: _Commands) -> None:
    text = "the prices in force; `prices update` renews them from a LiteLLM price map"
    sub = commands.add("prices", "prices.prices", "prices update --from litellm", text)
    sub.add_argument("what", nargs="?", choices=["update"], help="default: show the table")
    text = "with update: the map as a JSON file, a wheel that holds it, or the name of an installed package"
    sub.add_argument("--from", dest="source", metavar="F", help=text)
    sub.add_argument("--dry-run", action="store_true", help="with update: show what would change, write nothing")
    text = "with update: take a price of this model that was refused as unlikely; repeatable"
    sub.add_argument("--accept", action="append", default=[], metavar="MODEL", help=text)
    _formats(sub, "text", "json")


def _add_driving(commands: _Commands) -> None:
    text = "implement the backlog without a parent session, or go on with the open run"
    sub = commands.add("run", "driving.run", "run BUG-001 FEAT-002", text)
    sub.add_argument("ids", metavar="ID", nargs="*", help="only these tickets; default: all pending ones")
    sub.add_argument("--jobs", type=_positive, metavar="N", help="tickets side by side; default: all of a wave")
    sub.add_argument("--max-usd", type=_dollars, metavar="X", help="end cleanly when so much is spent")
    sub.add_argument("--output", choices=["text", "json"], default="text", help="json: one object at the end")
    sub.add_argument("--wait", action="store_true", help="when a usage limit is reached, wait for its reset and go on")

    commands.add("abort", "driving.abort", "abort", "end the open run; the base branch stays as it was")
    text = "remove worktrees, branches and kept work of ended runs"
    commands.add("clean", "driving.clean", "clean", text)


def _add_steering(commands: _Commands) -> None:
    sub = commands.add("park", "steering.park", "park BUG-001", "take a ticket out of the open run; its work is kept")
    sub.add_argument("id", metavar="ID")
    sub.add_argument("--reason", metavar="TEXT", help="why, for whoever takes it up again")
    text = "also write status: blocked into its file; needs-investigation where a question was left open"
    sub.add_argument("--write", action="store_true", help=text)

    text = "take parked tickets up again where they were parked, with what failed before"
    sub = commands.add("retry", "steering.retry_tickets", "retry BUG-001", text)
    sub.add_argument("ids", metavar="ID", nargs="+")

    text = "take a ticket's commit back by a commit of its own; the ticket is pending again"
    commands.add("undo", "steering.undo", "undo BUG-001", text).add_argument("id", metavar="ID")


def _add_handing(commands: _Commands) -> None:
    text = "open a run, or go on with the open one, and print the first actions for a parent session"
    sub = commands.add("start", "handing.start", "start BUG-001", text)
    sub.add_argument("ids", metavar="ID", nargs="*", help="only these tickets; default: all pending ones")
    sub.add_argument("--dry-run", action="store_true", help="waves and tiers only; opens nothing, calls no model")
    sub.add_argument("--max-usd", type=_dollars, metavar="X", help="end cleanly when so much is spent")
    sub.add_argument("--json", action="store_true", help="with --dry-run; the actions are JSON in any case")
    add_exit_zero(sub)

    text = "do what needs no parent, then print the actions for it"
    sub = commands.add("next", "handing.next_actions", "next", text)
    _for_a_parent(sub)
    text = "the same, for a session that finds a run open"
    _for_a_parent(commands.add("resume", "handing.next_actions", "resume", text))

    sub = commands.add("submit", "handing.submit", "submit a17", "hand in what an action asked for")
    sub.add_argument("action", metavar="ACTION")
    sub.add_argument("--file", metavar="F", help="the answer file of a gate that writes one")
    text = "the person's answer to a question such as q1"
    sub.add_argument("--answer", choices=["yes", "no"], help=text)
    text = "hand nothing in yet: ask to write these files, which the plan does not name"
    sub.add_argument("--request", metavar="PATH", nargs="+", help=text)

    text = "run the configured commands in an action's worktree and print what failed"
    sub = commands.add("check", "handing.check", "check a17 -- -k login", text)
    sub.add_argument("action", metavar="ACTION")
    sub.add_argument("args", metavar="ARGS", nargs="*", help="after `--`: run the test command alone, with these")

    # The engine's own detached worker and the plugin's hooks: nobody types them, so they are not listed.
    commands.add_hidden("worker", "handing.worker").add_argument("run_id")
    commands.add_hidden("hook", "hooks.hook").add_argument("name", choices=HOOKS)


def _for_a_parent(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="the output is JSON in any case")
    text = "sub-agents that have not handed in are gone: hand their actions out again"
    sub.add_argument("--lost", action="store_true", help=text)


def _positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number, 1 or more")
    return value


def _dollars(text: str) -> int:
    """US dollars as nano-dollars."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: must be an amount in US dollars, such as 2.50")
    return round(value * 1_000_000_000)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line as values. What follows the first `--` goes to `check` as it is, a second `--` included,
    which argparse would take out: `check a17 -- -- -t login` is how `npm test` hears of `-t login`.
    """
    end = words.index("--") if "--" in words else len(words)
    parser = _parser()
    args = parser.parse_args(words[:end])
    rest = list(words[end + 1 :])
    if rest and args.command != "check":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.args += rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (errors.py lists them)."""
    words = sys.argv[1:] if argv is None else list(argv)
    if OPTION in words and asks_for_zero(words, _parser().commands):
        return ending_with_zero(lambda: _run(words))
    return _run(words)


def _run(words: Sequence[str]) -> int:
    args = _parse(words)
    try:
        code: int = args.call(args)
        sys.stdout.flush()
        return code
    except BacklogError as error:
        print(f"backlog-ops: {error.message}", file=sys.stderr)
        for line in error.details:
            print(f"  {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("backlog-ops: interrupted; nothing is lost, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away; that is its right
        return EXIT_UNREACHABLE
    except OSError as error:
        if args.debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"backlog-ops: {_trouble_of_the_machine(error) or f'{where}{error.strerror or error}'}", file=sys.stderr)
        return 1
    except Exception as error:
        if args.debug:
            raise
        trouble = _trouble_of_the_machine(error)
        if trouble is not None:
            print(f"backlog-ops: {trouble}", file=sys.stderr)
            return 1
        print(
            f"backlog-ops: internal error: {type(error).__name__}: {error}; run again with `backlog-ops --debug …` "
            "and report it",
            file=sys.stderr,
        )
        return 1


def _trouble_of_the_machine(error: Exception) -> str | None:
    """What a database that cannot be written means in words; imported only then."""
    from backlog_ops.run.surroundings import surroundings_problem

    return surroundings_problem(error)
