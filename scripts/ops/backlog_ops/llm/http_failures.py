"""What an HTTP status means for the chain: ask again, ask somebody else, or give the endpoint up."""

from __future__ import annotations

from collections.abc import Mapping

from backlog_ops.llm.types import AttemptError, Outcome


def failure(
    where: str, status: int, headers: Mapping[str, str], message: str, *, now: float, final: bool = False
) -> AttemptError:
    """The failure that a response other than 200 stands for.

    `where` and `message` are shown as they are. `now` is Unix seconds, for a `retry-after` that is a date.
    `final`: the caller knows that asking again is useless (a spend limit).
    """
    said = f"{where}: HTTP {status}" + (f", {message}" if message else "")
    if 300 <= status < 400:
        detail = f"{said}: it redirects elsewhere, which is refused; configure the final address"
        return AttemptError(Outcome.REJECTED, detail, closes_endpoint=True)
    if status == 429:
        return AttemptError(
            Outcome.LIMITED,
            said,
            retry=not final,
            retry_after=retry_after(headers, now),
            closes_endpoint=final,
        )
    if status >= 500 or status == 408:
        again = not final and headers.get("x-should-retry") != "false"
        return AttemptError(Outcome.BROKEN, said, retry=again, retry_after=retry_after(headers, now))
    return AttemptError(Outcome.REJECTED, said, closes_endpoint=status in (401, 402, 403))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait, from `retry-after-ms` or `retry-after` (seconds or a date)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    from email.utils import parsedate_to_datetime

    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (TypeError, ValueError):
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
