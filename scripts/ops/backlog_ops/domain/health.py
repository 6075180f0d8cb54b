"""What `doctor` says: one diagnosis a line, each with its remedy."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.Enum):
    OK = "ok"
    NOTE = "note"  # good to know
    WARNING = "warning"  # works, but not as it should
    ERROR = "error"  # something will not work

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Diagnosis:
    subject: str  # what was looked at, such as git
    level: Level
    message: str
    remedy: str = ""
    is_configuration: bool = False

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}{'; ' if self.remedy else ''}{self.remedy}"
