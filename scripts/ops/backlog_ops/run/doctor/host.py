"""Claude Code: which one, what of its settings works against a run, whether the plugin's hooks can start."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backlog_ops.domain import host as rules
from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.domain.shapes import as_object, parse_object
from backlog_ops.llm.steps import find_claude
from backlog_ops.run.doctor.place import NoAnswerFromProgramError, Place, answer_of
from backlog_ops.storage.locations import find_repository

ROOT_VARIABLE = "${CLAUDE_PLUGIN_ROOT}"
MOST_BYTES = 1_000_000
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")


def host(place: Place) -> Iterator[Diagnosis]:
    version: rules.Version | None = None
    binary = find_claude(place.environ)
    if binary is None:
        # In a session it is running, wherever it is; a run without one has to start it.
        level = Level.WARNING if place.environ.get("CLAUDECODE") else Level.ERROR
        remedy = "install Claude Code (npm install -g @anthropic-ai/claude-code) or set CLAUDE_BIN"
        yield Diagnosis("claude", level, "not found, `backlog-ops run` needs it", remedy)
    else:
        try:
            version = rules.parse_version(answer_of(place, [binary, "--version"]))
            yield _version(binary, version)
        except NoAnswerFromProgramError as error:
            yield Diagnosis("claude", Level.ERROR, str(error), "install it again, or set CLAUDE_BIN")
    yield _login(place)
    places, unreadable = _places(place)
    yield from unreadable
    yield from rules.overrides(places, version)


def _version(binary: str, version: rules.Version | None) -> Diagnosis:
    if version is None:
        return Diagnosis("claude", Level.WARNING, f"{binary} does not say its version", "update it: `claude update`")
    said = f"{'.'.join(map(str, version))} at {binary}"
    if version < rules.OLDEST_TRIED:
        oldest = ".".join(map(str, rules.OLDEST_TRIED))
        return Diagnosis("claude", Level.WARNING, f"{said} is older than {oldest}", "update it: `claude update`")
    return Diagnosis("claude", Level.OK, said)


def _login(place: Place) -> Diagnosis:
    """Whether a model can likely be reached; what a key is, is never shown."""
    for name in _KEYS:
        if place.environ.get(name, "").strip():
            return Diagnosis("login", Level.OK, f"{name} is set")
    stored = _settings_folder(place) / ".credentials.json"
    if stored.is_file():
        return Diagnosis("login", Level.OK, f"stored in {stored}")
    remedy = "log in (`claude`, then /login) or set ANTHROPIC_API_KEY"
    return Diagnosis("login", Level.WARNING, "no key is set and no login found (a keychain is not looked into)", remedy)


def _settings_folder(place: Place) -> Path:
    named = place.environ.get("CLAUDE_CONFIG_DIR")
    return Path(named) if named else Path(place.environ.get("HOME") or Path.home()) / ".claude"


def _places(place: Place) -> tuple[list[rules.Place], list[Diagnosis]]:
    """Where settings of the host are, and the files among them that cannot be read."""
    repository = find_repository(place.folder)
    project = (repository[0] if repository else place.folder) / ".claude"
    files = [_settings_folder(place) / "settings.json", project / "settings.json", project / "settings.local.json"]
    places = [rules.Place("the environment", place.environ)]
    unreadable = []
    for file in dict.fromkeys(files):
        if not file.exists():
            continue
        settings = _json(file)
        if settings is None:
            message = f"{file}: cannot be read as a JSON object"
            unreadable.append(Diagnosis("settings", Level.WARNING, message, "mend it, Claude Code ignores it"))
            continue
        env = {name: str(value) for name, value in as_object(settings.get("env")).items()}
        places.append(rules.Place(str(file), env, settings))
    return places, unreadable


def _json(file: Path) -> Mapping[str, Any] | None:
    try:
        with file.open("rb") as stream:
            return parse_object(stream.read(MOST_BYTES))
    except OSError:
        return None


def hooks(place: Place) -> Iterator[Diagnosis]:
    """Whether each command of hooks/hooks.json has its program and its script."""
    file = place.plugin_root / "hooks" / "hooks.json"
    again = "install the plugin again"
    settings = _json(file)
    if settings is None:
        yield Diagnosis("hooks", Level.ERROR, f"{file}: is missing or no JSON object", again)
        return
    commands = [_words(hook, place.plugin_root) for hook in _commands(settings)]
    problems = list(dict.fromkeys(problem for words in commands for problem in _problems(words, place)))
    for problem in problems:
        yield Diagnosis("hooks", Level.ERROR, problem, again)
    if not problems:
        yield Diagnosis("hooks", Level.OK, f"{len(commands)} can start")


def _commands(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for groups in as_object(settings.get("hooks")).values():
        for group in groups if isinstance(groups, list) else []:
            entries = as_object(group).get("hooks")
            for hook in entries if isinstance(entries, list) else []:
                if as_object(hook).get("type") == "command":
                    yield as_object(hook)


def _words(hook: Mapping[str, Any], root: Path) -> list[str]:
    """The command of a hook as an argument vector: of a shell line with `command` alone, else with its `args`."""
    command, args = str(hook.get("command", "")), hook.get("args")
    try:
        words = [command, *map(str, args)] if isinstance(args, list) else shlex.split(command)
    except ValueError:
        words = [command]
    return [word.replace(ROOT_VARIABLE, str(root)) for word in words]


def _problems(words: list[str], place: Place) -> Iterator[str]:
    program = shutil.which(words[0], path=place.environ.get("PATH", "")) if words else None
    if program is None:
        yield f"{words[0] if words else 'a hook without a command'}: not found on the PATH"
    elif os.path.basename(program) == "sh":
        try:
            answer_of(place, [program, "-c", ":"])
        except NoAnswerFromProgramError as error:
            yield str(error)
    for word in words:
        if word.startswith(f"{place.plugin_root}{os.sep}") and not os.path.isfile(word):
            yield f"{word}: is missing"
