"""Commands that add the ledger up: report, stats."""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backlog_ops.cli.opening import open_context
from backlog_ops.errors import EXIT_OK, UsageError
from backlog_ops.report import counting, export
from backlog_ops.report.counting import Question
from backlog_ops.report.figures import Figures
from backlog_ops.run.context import Context
from backlog_ops.run.session_agents import settle

_MOST_LINES = 200  # of runs and of waves, for people; machines get them all
_DAYS_BACK = re.compile(r"(\d{1,6})d", re.ASCII)


def report(args: argparse.Namespace) -> int:
    ctx = _look()
    since = _day(args.since, ctx.clock())
    if args.by == "call":
        return _calls(ctx, since, args.format, args.html)
    question = replace(_question(ctx, since), most_lines=_MOST_LINES if args.format == "text" else None)
    figures = counting.count(ctx.store.connection, question)
    if args.html is not None:
        _write_page(figures, Path(args.html))
    _warn(figures.notes)
    if args.format == "json":
        export.write_json(figures, args.by, sys.stdout)
    elif args.format == "csv":
        by = args.by or "ticket"
        export.write_csv(export.records(figures, by), export.heads_of(figures, by), sys.stdout)
    else:
        _print(figures, args.by, args.html)
    return EXIT_OK


def stats(args: argparse.Namespace) -> int:
    ctx = _look()
    question = _question(ctx, _day(args.since, ctx.clock()))
    local, yields = counting.count_attempts(ctx.store.connection, question.since)
    _warn(question.notes)
    if args.format == "json":
        print(json.dumps(export.stats_json(local, yields)))
    elif args.format == "csv":
        export.write_csv(export.stats_records(local, yields), export.STATS_HEADS, sys.stdout)
    else:
        from backlog_ops.report import terminal

        terminal.show_stats(local, yields, sys.stdout)
    return EXIT_OK


def _look() -> Context:
    """Opens the ledger; what stands in transcripts by now is booked first."""
    gc.disable()  # a report makes a million small values and ends: looking for garbage took a third of its time
    ctx = open_context()
    settle(ctx)
    return ctx


def _question(ctx: Context, since: str | None) -> Question:
    llm = ctx.settings.llm_ops
    return Question(ctx.project, ctx.clock(), since, ctx.prices, llm.models.by_tier, llm.budget)


def _calls(ctx: Context, since: str | None, form: str, html: str | None) -> int:
    if form == "text" or html is not None:
        raise UsageError("--by call: exports rows; add `--format csv` or `--format json`, without --html")
    rows = export.calls(ctx.store.connection, since)
    if form == "csv":
        export.write_csv(rows, export.CALL_HEADS, sys.stdout)
    else:
        export.write_array(rows, sys.stdout)
        print()
    return EXIT_OK


def _print(figures: Figures, by: str | None, html: str | None) -> None:
    from backlog_ops.report import terminal  # rich is for people only

    if html is None:
        terminal.show(figures, by, sys.stdout)
        return
    terminal.show_summary(figures, sys.stdout)
    print(f"page: {html}")


def _write_page(figures: Figures, file: Path) -> None:
    from backlog_ops.report.html import page

    text = page(figures)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--html {file}: cannot be written: {error.strerror or error}") from None


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"backlog-ops: {note}", file=sys.stderr)


def _day(text: str | None, now: float) -> str | None:
    """The ISO day (UTC) of `--since`: a date, or so many days back. Raises UsageError."""
    if text is None:
        return None
    today = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).date()
    try:
        back = _DAYS_BACK.fullmatch(text)
        day = today - datetime.timedelta(days=int(back[1])) if back else datetime.date.fromisoformat(text)
        if not back and day.isoformat() != text:  # from Python 3.11 on other spellings are dates too
            raise ValueError(text)
    except (ValueError, OverflowError):
        raise UsageError(f"--since {text}: must be a date such as 2026-11-23, or days back such as 7d") from None
    if day > today:
        raise UsageError(f"--since {text}: is in the future; today is {today.isoformat()} (UTC)")
    return day.isoformat()
