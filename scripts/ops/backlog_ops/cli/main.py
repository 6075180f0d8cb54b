"""`backlog-ops`: the commands people and agents type (contracts.md). Parsing and dispatch; printing is beside it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from backlog_ops import __version__
from backlog_ops.errors import EXIT_INTERRUPTED, EXIT_UNREACHABLE, EXIT_USAGE, BacklogError

Command = Callable[[argparse.Namespace], int]


def _later(module: str, function: str) -> Command:
    """A command imported only when it is used: help and errors stay instant, `next` stays light."""

    def call(args: argparse.Namespace) -> int:
        command: Command = getattr(importlib.import_module(f"backlog_ops.cli.{module}"), function)
        return command(args)

    return call


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(EXIT_USAGE, f"{self.prog}: {message}; `{self.prog} --help` shows how\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="backlog-ops",
        description="Implements a folder of Markdown tickets in waves, each gate on the cheapest model that can do it.",
        epilog="example: backlog-ops run --max-usd 5",
    )
    parser.add_argument("--version", action="version", version=f"backlog-ops {__version__}")
    parser.add_argument("--debug", action="store_true", help="a traceback instead of one line for our own errors")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str, example: str, function: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: backlog-ops {example}",
        )
        sub.set_defaults(call=_later(*function.split(".")))
        return sub

    def formats(sub: argparse.ArgumentParser, *names: str) -> None:
        sub.add_argument("--format", choices=names, default=names[0], help=f"default {names[0]}")

    sub = add(
        "validate",
        "check the configuration and the tickets, every problem at once",
        "validate tickets",
        "reading.validate",
    )
    sub.add_argument("what", nargs="?", choices=["config", "tickets"], help="only one of the two")
    formats(sub, "text", "json", "github")

    sub = add(
        "route",
        "which tier and model a gate of a ticket gets, and the rule that decided",
        "route BUG-001 IMPLEMENT",
        "reading.route",
    )
    sub.add_argument("id", metavar="ID")
    sub.add_argument("gate", metavar="GATE", help="PLAN, IMPLEMENT, REVIEW, …")
    formats(sub, "text", "json")

    sub = add(
        "run",
        "implement the backlog without a parent session, or go on with the open run",
        "run BUG-001 FEAT-002",
        "driving.run",
    )
    sub.add_argument("ids", metavar="ID", nargs="*", help="only these tickets; default: all pending ones")
    sub.add_argument("--jobs", type=_positive, metavar="N", help="tickets side by side; default: all of a wave")
    sub.add_argument("--max-usd", type=_dollars, metavar="X", help="end cleanly when so much is spent")
    sub.add_argument("--output", choices=["text", "json"], default="text", help="json: one object at the end")

    sub = add("start", "open a run and print the first actions for a parent session", "start BUG-001", "handing.start")
    sub.add_argument("ids", metavar="ID", nargs="*")
    sub.add_argument("--dry-run", action="store_true", help="waves and tiers only; opens nothing, calls no model")
    sub.add_argument("--max-usd", type=_dollars, metavar="X")
    sub.add_argument("--json", action="store_true", help="with --dry-run; the actions are JSON in any case")

    for name, text in (
        ("next", "do what needs no parent, then print the actions for it"),
        ("resume", "the same, for a session that finds a run open"),
    ):
        add(name, text, name, "handing.next_actions").add_argument("--json", action="store_true", help="as for start")

    sub = add("submit", "hand in what an action asked for", "submit a17", "handing.submit")
    sub.add_argument("action", metavar="ACTION")
    sub.add_argument("--file", metavar="F", help="the answer file of a gate that writes one")

    sub = add(
        "check",
        "run the configured commands in an action's worktree and print what failed",
        "check a17 -- -k login",
        "handing.check",
    )
    sub.add_argument("action", metavar="ACTION")
    sub.add_argument("args", metavar="ARGS", nargs="*", help="after `--`: run the test command alone, with these")

    sub = add("status", "the run, read", "status", "reading.status")
    formats(sub, "text", "json")
    sub = add("show", "brief, diff, findings and receipts of a ticket", "show BUG-001", "reading.show")
    sub.add_argument("id", metavar="ID")
    formats(sub, "text", "json")
    add("abort", "end the open run; the base branch stays as it was", "abort", "driving.abort")
    add("clean", "remove worktrees and branches of ended runs", "clean", "driving.clean")
    # The engine's own detached worker: started by start and next, not listed.
    worker = commands.add_parser("worker")
    worker.add_argument("run_id")
    worker.set_defaults(call=_later("handing", "worker"))
    return parser


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
    args = _parse(sys.argv[1:] if argv is None else list(argv))
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
        print(f"backlog-ops: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except Exception as error:
        if args.debug:
            raise
        print(
            f"backlog-ops: internal error: {type(error).__name__}: {error}; run again with `backlog-ops --debug …` "
            "and report it",
            file=sys.stderr,
        )
        return 1
