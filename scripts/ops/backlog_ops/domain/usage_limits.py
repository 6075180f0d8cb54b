"""Whether what the host said last for an agent that died names a usage limit, and when that is reset.

    You've hit your 5-hour limit · resets 5:16am (Europe/Berlin)       a subscription; 2.1.197: "session limit"
    You've hit your weekly limit · resets Jan 3, 2027, 2:36am (UTC)    a reset more than a day ahead
    You're out of usage credits · resets 3:17am (UTC)
    API Error: 400 You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.
    API Error: Request rejected (429) · spend limit reached · resets Dec 8 · …       a gateway
    Credit balance is too low                                          until somebody pays
    Claude AI usage limit reached|1764000000                           hosts of 2025

What 2.1.197 and 2.1.330 say to which answer of the API: tests/e2e/test_usage_limits_host.py. An overloaded API is no
usage limit, nor is a rate limit of a minute: the host has waited for those itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo

from backlog_ops.domain.text import UNSAFE

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
_FARTHEST = 40 * _DAY  # a month and some; what lies beyond is a mistake
_STATUSES = (None, 400, 402, 403, 429)  # the others say that the API is ill, or the login wrong
_LONGEST_TEXT, _LONGEST_WHY = 2000, 200

# Patterns as text: compiling them takes 9 ms, and few commands meet a limit.
_AROUND = (
    r"(?:[a-z_]+: )?"  # how a result ended
    r'(?:Agent "[^"]*" failed: )?(?:Agent terminated early due to an API error: )?'
    r"(?:API Error: (?:\d{3} )?)?"
    r"(?:Request rejected \(429\) · |Server is temporarily limiting requests \(not your usage limit\) · )?"
)
_APPENDIX = r" \(error type \w+, .*"
_LIMIT = r"""(?xi)
    You['’]ve\ (?:hit|reached)\ your\ (?:[^·∙|.]{1,60}\ )?(?:limit|group\ budget)\b
    | You['’]re\ out\ of\ (?:usage\ credits|extra\ usage)\b
    | Usage\ credits\ ran\ out\ before\ the\ response\ was\ finished\b
    | Usage\ is\ paused\ for\ your\ organization\b
    | Your\ org\ is\ out\ of\ usage\b
    | Your\ usage\ allocation\ has\ been\ disabled\ by\ your\ admin\b
    | Your\ seat\ type\ doesn['’]t\ include\ (?:extra\ )?usage\b
    | Your\ group['’]s\ usage\ limit\ is\ set\ to\ \$0
    | You\ have\ reached\ your\ specified\ (?:\w+\ )?API\ usage\ limits\b
    | This\ request\ would\ exceed\ your\ \w+['’]s\ (?:monthly\ )?(?:spend|usage)\ limit\b
    | (?:Your\ )?credit\ balance\ is\ too\ low\b
    | (?:Claude\ (?:AI\ )?usage|5-hour|session|(?:Opus\ |Sonnet\ )?weekly|Opus|Sonnet|usage|spend)\ limit\ reached\b
    | Limit\ reached\ [·∙]
"""
_FIVE_HOURS = r"(?i)\b(?:session|5-hour) limit\b"

_EPOCH = r"\|(\d{10})(?:\d{3})?\b"
_SPAN = r"(\d{1,9}) ?(d(?:ays?)?|h(?:ours?|rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)\b,? ?"
_UNITS = {"d": _DAY, "h": _HOUR, "m": _MINUTE, "s": 1.0}
_WAIT = (
    r"(?i)\W*\b(?:(?:resets?|try again) in|retry[ -]after:?) "
    rf"(?:(?P<spans>(?:{_SPAN})+)|(?P<seconds>\d{{1,9}})\b)"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MOMENT = rf"""(?xi)
    \W*\b (?:(?:it|you|your\ [^·∙.|]{{1,40}}?)\ )? (?:resets|will\ reset|will\ regain\ access) (?:\ at|\ on)? \ (?=\w)
    (?:
        (?P<iso>\d{{4}}-\d\d-\d\d) (?:\ at\ |T|\ )?
        | (?P<month>{"|".join(_MONTHS)})[a-z]*\ (?P<day>\d{{1,2}})\b (?:,\ (?P<year>\d{{4}}))? (?:,?\ (?:at\ )?(?=\d))?
    )?
    (?P<clock> (?P<hour>\d{{1,2}}) (?: :(?P<minute>\d\d)(?::\d\d(?:\.\d+)?)?(?:\ ?[ap]m\b)? | \ ?[ap]m\b ) )?
    (?: \ ?\((?P<place>[^)]+)\) | \ ?(?P<zone>UTC|GMT|Z|[+-]\d\d:?\d\d)(?!\w) )?
"""


@dataclass(frozen=True)
class UsageLimit:
    """`why`: one line for people. `resets_at`: Unix seconds; None where nobody says, or it cannot be."""

    why: str
    resets_at: float | None


def usage_limit(text: str, now: float, status: int | None = None, *, offset: float = 0.0) -> UsageLimit | None:
    """The usage limit that ended an agent; None where something else did.

    `text`: how the host explains the agent's death, never a model's own words; it may stand behind "API Error:" and
    the like. `status`: the API's HTTP status, where it is known. `now`: Unix seconds when it was said, since most
    texts name a time of day only. `offset`: seconds that local time is ahead of UTC, for a time without a zone.
    """
    if status not in _STATUSES:
        return None
    line = UNSAFE.sub("", " ".join(text[:_LONGEST_TEXT].split()))
    said = re.sub(_APPENDIX, "", re.sub(_AROUND, "", line, count=1))
    wait = re.search(_WAIT, said)
    is_rejected = status == 429 or re.search(r"\(429\)|HTTP 429", line)
    asks_to_wait = is_rejected and wait is not None and _seconds(wait) >= _MINUTE
    if not re.match(_LIMIT, said) and not asks_to_wait:
        return None
    for found, at in _resets(said, wait, now, offset):
        if now < at <= now + _FARTHEST:
            rest = said[: found.start()] + said[found.end() :].rstrip(" .·∙")
            return UsageLimit(_cut(rest or said), at)
    return UsageLimit(_cut(said), None)


def _cut(said: str) -> str:
    return said if len(said) <= _LONGEST_WHY else said[: _LONGEST_WHY - 1] + "…"


def _resets(said: str, wait: re.Match[str] | None, now: float, offset: float) -> Iterator[tuple[re.Match[str], float]]:
    """What may be the time of the reset, and where it stands."""
    epoch, moment = re.search(_EPOCH, said), re.search(_MOMENT, said)
    if epoch:
        yield epoch, float(epoch[1])
    if wait:
        yield wait, now + _seconds(wait)
    if moment:
        at = _instant(moment, now, offset, 5 * _HOUR if re.search(_FIVE_HOURS, said) else _DAY - _HOUR)
        if at is not None:
            yield moment, at


def _seconds(wait: re.Match[str]) -> float:
    if wait["seconds"]:
        return float(wait["seconds"])
    return sum(
        int(number) * _UNITS[unit[0].lower()] for number, unit in re.findall(_SPAN, wait["spans"], re.IGNORECASE)
    )


def _instant(found: re.Match[str], now: float, offset: float, longest: float) -> float | None:
    """The Unix seconds of a date, a time of day, or both; None where it is neither, or in a place nobody knows.

    A time of day is the next one. Where that is more than `longest` seconds ahead it has just passed instead.
    """
    zone = _zone(found, offset)
    if zone is None:
        return None
    here = datetime.fromtimestamp(now, zone)
    try:
        if found["iso"] or found["month"]:
            return _on_its_date(found, here).timestamp() + _lost(found)
        if not found["clock"]:
            return None
        at = datetime.combine(here.date(), _time_of_day(found), zone)
    except (ValueError, OverflowError):  # such as February 30
        return None
    if at.timestamp() + _lost(found) <= now:
        at += timedelta(days=1)
    return at.timestamp() + _lost(found) if at.timestamp() <= now + longest else None


def _lost(found: re.Match[str]) -> float:
    """Seconds by which the reset may be later: the host cuts them off its times of day."""
    return _MINUTE if _half(found) else 0.0


def _half(found: re.Match[str]) -> str:
    """am, pm, or nothing."""
    end = (found["clock"] or "").lower()[-2:]
    return end if end in ("am", "pm") else ""


def _on_its_date(found: re.Match[str], here: datetime) -> datetime:
    if found["iso"]:
        return datetime.combine(date.fromisoformat(found["iso"]), _time_of_day(found), here.tzinfo)
    month, day = _MONTHS.index(found["month"].lower()) + 1, int(found["day"])
    at = datetime.combine(date(int(found["year"] or here.year), month, day), _time_of_day(found), here.tzinfo)
    is_next_year = not found["year"] and at < here - timedelta(days=180)
    return at.replace(year=at.year + 1) if is_next_year else at


def _time_of_day(found: re.Match[str]) -> time:
    hour, half = int(found["hour"] or 0), _half(found)
    if half and hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return time(hour, int(found["minute"] or 0))


def _zone(found: re.Match[str], offset: float) -> tzinfo | None:
    name = found["place"] or found["zone"]
    if name is None:  # only a gateway names a date without a time: it means UTC
        return timezone(timedelta(seconds=offset)) if found["clock"] else timezone.utc
    if name.upper() in ("UTC", "GMT", "Z"):
        return timezone.utc
    from zoneinfo import ZoneInfo

    try:
        return datetime.strptime(name, "%z").tzinfo if name[0] in "+-" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
