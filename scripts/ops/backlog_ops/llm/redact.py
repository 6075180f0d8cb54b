"""Text of other programs, made fit to be shown: one short line without keys and without the prompt."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_CHARS = 240
_SHORTEST_ECHO = 12  # characters; less than that in common with a prompt is chance


def shown(message: str, private: Iterable[str] = (), secrets: Iterable[str] = ()) -> str:
    """`message` as one line of at most 240 characters; what it repeats of `private` texts becomes `…`.

    Servers like to quote the request in their errors (contracts.md: keys and the prompt never reach a log
    or an error text). `secrets` are taken out whatever their length.
    """
    for secret in filter(None, secrets):
        message = message.replace(secret, "…")
    line = " ".join(message[: 4 * _MAX_CHARS].split())
    for text in private:
        line = _without_echo(line, " ".join(text.split()))
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + "…"


def _without_echo(line: str, text: str) -> str:
    kept, start = [], 0
    while start < len(line):
        end = start + _SHORTEST_ECHO
        if end > len(line) or line[start:end] not in text:
            kept.append(line[start])
            start += 1
            continue
        while end < len(line) and line[start : end + 1] in text:
            end += 1
        kept.append("…")
        start = end
    return "".join(kept)
