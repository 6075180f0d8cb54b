"""Taking `<think>` blocks off an answer, as it streams.

Models think before they answer, so only blocks in front of it are thoughts: several in a row, nested or
never closed. The same words further on belong to the answer (a commit message may well speak of them).
"""

from __future__ import annotations

import re

_OPEN, _CLOSE = "<think>", "</think>"
_ORPHAN_CLOSE = re.compile(r"^[ \t]*</think>[ \t]*$", re.IGNORECASE | re.MULTILINE)


class ThoughtFilter:
    """Feed it chunks; it gives back what may be shown. White space before the answer goes as well."""

    def __init__(self) -> None:
        self._held = ""  # not decided yet: perhaps the first half of a tag
        self._depth = 0
        self._answering = False

    def feed(self, chunk: str) -> str:
        if self._answering:
            return chunk
        self._held += chunk
        while True:
            if self._depth:
                if not self._leave_thought():
                    return ""
            else:
                self._held = self._held.lstrip()
                if self._held[: len(_OPEN)].lower() == _OPEN:
                    self._depth, self._held = 1, self._held[len(_OPEN) :]
                elif _OPEN.startswith(self._held.lower()):
                    return ""  # too short to tell
                else:
                    self._answering = True
                    return self.rest()

    def rest(self) -> str:
        """What is still held back when the stream has ended: never a thought."""
        rest, self._held = ("" if self._depth else self._held), ""
        return rest

    def _leave_thought(self) -> bool:
        """Drop thoughts up to the next tag and step in or out there; False where no tag is in sight."""
        lowered = self._held.lower()
        inner, outer = lowered.find(_OPEN), lowered.find(_CLOSE)
        if outer < 0 and inner < 0:
            self._held = self._held[-len(_CLOSE) :]  # a tag may be cut in two
            return False
        if inner >= 0 and (outer < 0 or inner < outer):
            self._depth, self._held = self._depth + 1, self._held[inner + len(_OPEN) :]
        else:
            self._depth, self._held = self._depth - 1, self._held[outer + len(_CLOSE) :]
        return True


def without_thoughts(text: str) -> str:
    """The answer alone.

    A template may have opened the block on the model's behalf; then a line that holds nothing but
    `</think>` ends it. A stream cannot know that in time: see `ollama`, which holds such models' text back.
    """
    visible = ThoughtFilter()
    answer = visible.feed(text) + visible.rest()
    orphan = _ORPHAN_CLOSE.search(answer)
    return answer[orphan.end() :].lstrip() if orphan else answer
