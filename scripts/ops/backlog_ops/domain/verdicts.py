"""The REVIEW verdict: a schema-valid file whose citations hold, or no approval (rules.md, "Gate contracts")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["verdict", "findings"],
    "if": {"properties": {"verdict": {"const": "APPROVED"}}},
    "then": {"required": ["tree"]},
    "properties": {
        "verdict": {"type": "string", "enum": ["APPROVED", "CHANGES_REQUESTED"]},
        "tree": {"type": "string", "pattern": "^[0-9a-f]{40,64}$"},  # what was reviewed, as the package names it
        "findings": {
            "type": "array",
            "maxItems": 200,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["severity", "file", "line", "quote", "confidence", "text"],
                "properties": {
                    "severity": {"type": "string", "enum": ["critical", "high", "medium", "low"]},
                    "file": {"type": "string", "minLength": 1, "maxLength": 500},
                    "line": {"type": "integer", "minimum": 1},
                    "quote": {"type": "string", "minLength": 1, "maxLength": 2000},
                    "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
                    "text": {"type": "string", "minLength": 1, "maxLength": 4000},
                },
            },
        },
    },
}

_HIDDEN = re.compile(r"\[secret: [^\]]{1,100}\]")
_BLOCKING = frozenset({"critical", "high"})


@dataclass(frozen=True)
class Finding:
    severity: str
    file: str
    line: int
    quote: str
    confidence: int
    text: str

    def __str__(self) -> str:
        return f"{self.severity} {self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Review:
    """What a review amounts to. `reason` is one line; `findings` are those to act on, `kept` the others."""

    approved: bool
    reason: str
    findings: tuple[Finding, ...] = ()
    kept: tuple[Finding, ...] = ()


def judge(answer: Mapping[str, Any], tree: str, threshold: int, lines_of: Callable[[str], list[str] | None]) -> Review:
    """Judge a schema-valid verdict on the tree with this hash; an approval of another tree says nothing about it.

    `lines_of(path)` gives the lines of a file of the reviewed tree (or of its base, for a deleted file), None
    when there is no such file. A citation that does not hold fails the review: a reviewer that quotes what is
    not there did not read what it approved. So does an approval that carries a blocking finding.
    """
    # For JSON 1.0 is an integer too.
    whole = [{**f, "line": int(f["line"]), "confidence": int(f["confidence"])} for f in answer["findings"]]
    findings = tuple(Finding(**finding) for finding in whole)
    for finding in findings:
        problem = citation_problem(finding.file, finding.line, finding.quote, lines_of)
        if problem:
            return Review(False, f"citation does not hold: {problem}", kept=findings)
    acted = tuple(f for f in findings if f.confidence >= threshold)
    kept = tuple(f for f in findings if f.confidence < threshold)
    if answer["verdict"] != "APPROVED":
        # A bare or unsure rejection is still a rejection; the next attempt then sees everything that was said.
        return Review(False, f"changes requested ({len(findings)} findings)", acted or kept, () if not acted else kept)
    if answer["tree"] != tree:
        return Review(False, f"approved another tree ({answer['tree'][:9]}, not {tree[:9]})", acted, kept)
    blocking = [f for f in acted if f.severity in _BLOCKING]
    if blocking:
        return Review(False, f"contradiction: approved with {blocking[0]}", acted, kept)
    return Review(True, f"approved ({len(acted)} notes)", acted, kept)


def together(reviews: Mapping[str, Review]) -> Review:
    """What several reviewers (by name) amount to: approved where all approve. One alone speaks without its name."""
    if len(reviews) == 1:
        return next(iter(reviews.values()))
    said = "; ".join(f"{name}: {review.reason}" for name, review in reviews.items())
    return Review(
        bool(reviews) and all(review.approved for review in reviews.values()),
        said or "no reviewer",
        tuple(finding for review in reviews.values() for finding in review.findings),
        tuple(finding for review in reviews.values() for finding in review.kept),
    )


def citation_problem(file: str, line: int, quote: str, lines_of: Callable[[str], list[str] | None]) -> str | None:
    """Why a quote does not stand where it is said to, or None. White space does not count."""
    lines = lines_of(file)
    if lines is None:
        return f"{file} is not in the tree"
    if line > len(lines):
        return f"{file}:{line} does not exist ({len(lines)} lines)"
    quoted, first = _squeezed(quote), _squeezed(lines[line - 1])
    below = _squeezed("\n".join(lines[line - 1 :][: len(quoted) + 1]))
    # What was hidden from the one who quotes may be anything.
    parts = [re.escape(part) for part in _HIDDEN.split(quoted)]
    found = re.search(r"\S{1,500}?".join(parts), below)
    if not quoted or found is None or found.start() > len(first):
        return f"{file}:{line} does not say {quote[:80]!r}"
    return None


def _squeezed(text: str) -> str:
    return " ".join(text.split())
