"""The PLAN answer: what an implementer is told to do (rules.md, "Gate contracts")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.paths import path_problem

# Strings and arrays are bounded: a local model's grammar needs an end, and llama.cpp refuses one that repeats a
# piece 2,000 times or more. rules.md sets no length limit on plans: the bounds are far above what a ticket's needs.
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1000}


def _texts(limit: int) -> dict[str, Any]:
    return {"type": "array", "items": _TEXT, "maxItems": limit}


PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["files", "interfaces", "tests", "steps", "open_questions"],
    "properties": {
        "files": {
            "type": "array",
            "maxItems": 60,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["path", "action", "purpose"],
                "properties": {
                    "path": {"type": "string", "minLength": 1, "maxLength": 300},
                    "action": {"type": "string", "enum": ["create", "modify", "delete"]},
                    "purpose": {"type": "string", "minLength": 1, "maxLength": 1000},
                },
            },
        },
        "interfaces": _texts(60),
        "tests": _texts(100),
        "steps": _texts(100),
        "open_questions": _texts(20),
    },
}


@dataclass(frozen=True)
class PlannedFile:
    path: str  # normalised, relative to the repository
    action: str  # create | modify | delete
    purpose: str


@dataclass(frozen=True)
class Plan:
    files: tuple[PlannedFile, ...]
    interfaces: tuple[str, ...]
    tests: tuple[str, ...]
    steps: tuple[str, ...]
    open_questions: tuple[str, ...]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Plan:
        """Build from a schema-valid answer whose paths `plan_problem` accepted."""
        return cls(
            tuple(PlannedFile(f["path"], f["action"], f["purpose"]) for f in answer["files"]),
            tuple(answer["interfaces"]),
            tuple(answer["tests"]),
            tuple(answer["steps"]),
            tuple(answer["open_questions"]),
        )

    @property
    def deleted_paths(self) -> frozenset[str]:
        return frozenset(file.path for file in self.files if file.action == "delete")


def plan_problem(answer: Mapping[str, Any]) -> str | None:
    """Why a schema-valid PLAN answer cannot be used, or None. A path must be in its normal form already: what
    may be written is compared with what git reports, letter by letter.
    """
    if not answer["files"] and not answer["open_questions"]:
        return "it names no file"
    for file in answer["files"]:
        problem = path_problem(file["path"])
        if problem:
            return f"files: {file['path']!r}: {problem}"
    return None
