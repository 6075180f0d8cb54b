"""Claude Code as the host of a run: its version, and settings of a user that defeat the routing.

What each setting does was tried on 2.1.197 and 2.1.330.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.domain.host_models import family
from backlog_ops.domain.text import quote

Version = tuple[int, int, int]
OLDEST_TRIED: Version = (2, 1, 197)
CALLS_NAME_THEIR_MODEL: Version = (2, 1, 330)  # before it CLAUDE_CODE_SUBAGENT_MODEL won over the call's own model

_MODEL = "CLAUDE_CODE_SUBAGENT_MODEL"
_FORCE = "CLAUDE_CODE_SUBAGENT_MODEL_FORCE"
_NOTED = {
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "sub-agents run in the foreground, which costs fewer parent calls",
    "CLAUDE_CODE_FORK_SUBAGENT": "sub-agents always run in the background, which costs more parent calls",
}
_ALIAS = re.compile(r"ANTHROPIC_DEFAULT_([A-Z]+)_MODEL")
_NEEDED = ("haiku", "sonnet")  # the models of sub-agents: rules.md, "Tiers"
_OFF = ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Place:
    """Where a user sets things: the environment of this process, or one of the host's settings files."""

    name: str
    env: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def sets(self, variable: str) -> bool:
        return self.env.get(variable, "").strip().lower() not in _OFF

    def said(self, what: str, level: Level, message: str) -> Diagnosis:
        return Diagnosis(what, level, f"set in {self.name}: {message}", "" if level is Level.NOTE else "take it out")


def parse_version(said: str) -> Version | None:
    """`2.1.330 (Claude Code)` as numbers."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def overrides(places: Sequence[Place], version: Version | None) -> Iterator[Diagnosis]:
    """What in `places` takes a tier's model from it, or the guards; `version` None: not known."""
    is_modern = version is not None and version >= CALLS_NAME_THEIR_MODEL
    has_model = any(_names_a_model(place) for place in places)
    for place in places:
        if place.sets(_FORCE):
            level = Level.ERROR if has_model else Level.WARNING
            yield place.said(_FORCE, level, f"with {_MODEL} it puts every sub-agent on one model, whatever its tier")
        if _names_a_model(place):
            yield _one_model(place, is_modern, version)
        for name, effect in _NOTED.items():
            if place.sets(name):
                yield place.said(name, Level.NOTE, effect)
        for name in sorted(place.env):
            if (alias := _ALIAS.fullmatch(name)) and place.env[name].strip():
                yield place.said(name, Level.WARNING, f"{alias[1].lower()} means {quote(place.env[name])} here")
        yield from _settings(place)


def _names_a_model(place: Place) -> bool:
    return place.env.get(_MODEL, "").strip() not in ("", "inherit")


def _one_model(place: Place, is_modern: bool, version: Version | None) -> Diagnosis:
    if is_modern:
        return place.said(_MODEL, Level.NOTE, "only a default for sub-agents that name no model; ours name theirs")
    if version is None:
        return place.said(_MODEL, Level.WARNING, "before 2.1.330 it puts every sub-agent on one model")
    return place.said(_MODEL, Level.ERROR, "this Claude Code puts every sub-agent on that model, whatever its tier")


def _settings(place: Place) -> Iterator[Diagnosis]:
    if place.settings.get("disableAllHooks") is True:
        yield place.said(
            "disableAllHooks", Level.WARNING, "no guard of this plugin runs, and each command of a run asks you first"
        )
    allowed = place.settings.get("availableModels")
    if isinstance(allowed, list):
        families = {family(entry) for entry in allowed if isinstance(entry, str)}
        missing = " and ".join(alias for alias in _NEEDED if alias not in families)
        if missing:
            yield Diagnosis(
                "availableModels",
                Level.WARNING,
                f"set in {place.name} without {missing}: such sub-agents run on the session's model",
                f"add {missing}",
            )
