"""What an investigator hands in: answers with citations, and what could not be found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backlog_ops.domain.verdicts import citation_problem

_TEXT = {"type": "string", "minLength": 1, "maxLength": 4000}

INVESTIGATION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answers", "open"],
    "properties": {
        "answers": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["question", "answer", "evidence"],
                "properties": {
                    "question": _TEXT,
                    "answer": _TEXT,
                    "evidence": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 50,
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["file", "line", "quote"],
                            "properties": {
                                "file": {"type": "string", "minLength": 1, "maxLength": 500},
                                "line": {"type": "integer", "minimum": 1},
                                "quote": {"type": "string", "minLength": 1, "maxLength": 2000},
                            },
                        },
                    },
                },
            },
        },
        "open": {
            "type": "array",
            "maxItems": 20,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["question", "why"],
                "properties": {"question": _TEXT, "why": _TEXT},
            },
        },
    },
}


def investigation_problem(
    found: Mapping[str, Any], asked: Sequence[str], lines_of: Callable[[str], list[str] | None]
) -> str | None:
    """Why a schema-valid hand-in counts for nothing, or None: every question is answered or left open, and every
    citation holds (`lines_of` as in verdicts.judge).
    """
    if not found["answers"] and not found["open"]:
        return "it says nothing"
    if len({" ".join(entry["question"].split()) for entry in [*found["answers"], *found["open"]]}) < len(asked):
        return f"{len(asked)} questions were asked, not all are answered or named as open"
    for answer in found["answers"]:
        for cited in answer["evidence"]:
            problem = citation_problem(cited["file"], int(cited["line"]), cited["quote"], lines_of)
            if problem:
                return f"citation does not hold: {problem}"
    return None
