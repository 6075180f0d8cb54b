"""What a configuration must satisfy beyond its JSON Schema, each rule with its reason.

Pure. The rules read the configuration with its defaults filled in and skip what has the wrong type: the
schema has reported that already, and everything is reported at once.
"""

from __future__ import annotations

import enum
import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.paths import normal_path, path_problem
from backlog_ops.domain.text import quote

SUPPORTED_VERSION = (1, 0)
_COMMANDS = (
    ("qualityGates", "typeCheckCommand"),
    ("qualityGates", "lintCommand"),
    ("qualityGates", "testCommand"),
    ("qualityGates", "buildCommand"),
    ("worktree", "setupCommand"),
)
_PATTERNS = ("backlog", "sharedFiles")
_PATHS = (("backlog", "dataDir"), _PATTERNS, ("codeRules", "files"), ("worktree", "link"))
_ROUTING = ("llmOps", "routing")
_ESCALATING = ("entryModelPlan", "entryModelImplement", "entryModelReview")
_REVIEWERS = ("reviewPipeline", "reviewers")
_WEAK_REVIEWER = 'below "balanced" a reviewer misses defects: in field trials Haiku flagged 0 of 10 planted ones'

Path = tuple[str | int, ...]


class Severity(enum.Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    severity: Severity
    path: Path  # keys and array indexes from the root
    message: str


def show_path(path: Path) -> str:
    """`backlog.sharedFiles[2]`; keys that are no plain names are quoted, so that a problem stays one line."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif part.isidentifier():
            shown += f".{part}" if shown else part
        else:
            shown += f"[{json.dumps(part)}]"
    return shown


def check_version(config: Mapping[str, Any]) -> Finding | None:
    """An error when the file was written for another format: nothing else in it can be judged then."""
    version = config.get("version")
    if not isinstance(version, str) or not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
        return None
    major, minor = (int(part) for part in version.split("."))
    ours = ".".join(str(part) for part in SUPPORTED_VERSION)
    if (major, minor) > SUPPORTED_VERSION:
        message = f"written for a newer version ({version}, this plugin reads {ours}): update the plugin"
        return _error(("version",), message)
    if major < SUPPORTED_VERSION[0]:
        return _error(("version",), f'there is no format {version}: write "{ours}"')
    return None


def check_rules(config: Mapping[str, Any], known_models: Collection[str]) -> Iterator[Finding]:
    """Every finding in the complete configuration `config`; `known_models` are the ids that have a price."""
    yield from _check_tiers(config)
    yield from _check_reviewers(_at(config, _REVIEWERS))
    yield from _check_models(config, known_models)
    yield from _check_endpoints(config)
    for path in _COMMANDS:
        yield from _check_command(path, _at(config, path))
    for path in _PATHS:
        value = _at(config, path)
        entries = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, entry in entries:
            if isinstance(entry, str) and (message := _path_problem(entry, path == _PATTERNS)):
                yield _error(path if index is None else (*path, index), message)


def _check_tiers(config: Mapping[str, Any]) -> Iterator[Finding]:
    """rules.md, "Gates" and "Escalation"."""
    tiers = {key: _tier(_at(config, (*_ROUTING, key))) for key in (*_ESCALATING, "escalationModel")}
    for key, gate in (("entryModelImplement", "IMPLEMENT edits"), ("entryModelReview", "REVIEW reads")):
        if tiers[key] is Tier.FREE:
            yield _error(
                (*_ROUTING, key),
                f'"free" is a local model without tool use, and {gate} files: use "cheap" or above',
            )
    if tiers["entryModelReview"] is Tier.CHEAP:
        yield Finding(Severity.WARNING, (*_ROUTING, "entryModelReview"), _WEAK_REVIEWER)
    escalation = tiers["escalationModel"]
    if escalation is None:
        return
    if escalation < Tier.BALANCED:
        yield _error((*_ROUTING, "escalationModel"), 'escalation must reach "balanced" or "frontier"')
        return
    for key in _ESCALATING:
        entry = tiers[key]
        if entry is not None and escalation < entry:
            yield _error(
                (*_ROUTING, "escalationModel"),
                f'"{escalation}" is below {key} "{entry}": escalating would be a step down',
            )


def _check_reviewers(reviewers: object) -> Iterator[Finding]:
    names = set[str]()
    for index, reviewer in enumerate(reviewers if isinstance(reviewers, list) else []):
        name = _at(reviewer, ("name",))
        if isinstance(name, str):
            if name in names:
                yield _error((*_REVIEWERS, index, "name"), f"{quote(name)} is another one's name: verdicts go by names")
            names.add(name)
        if _tier(_at(reviewer, ("model",))) is Tier.CHEAP:
            yield Finding(Severity.WARNING, (*_REVIEWERS, index, "model"), _WEAK_REVIEWER)


def _check_models(config: Mapping[str, Any], known_models: Collection[str]) -> Iterator[Finding]:
    for tier in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER):
        path = ("llmOps", "models", tier.value)
        model = _at(config, path)
        if isinstance(model, str) and model and model not in known_models:
            yield Finding(
                Severity.WARNING,
                path,
                f'no price is known for {quote(model)}: its calls will cost "unknown"',
            )


def _check_endpoints(config: Mapping[str, Any]) -> Iterator[Finding]:
    for section, optional in (("gateway", True), ("ollama", False)):
        path = ("llmOps", section, "baseURL")
        url = _at(config, path)
        if not isinstance(url, str) or (optional and not url):
            continue
        parts = _URL.fullmatch(url)
        if re.match(r"[^/]*//[^/]*@", url):
            yield _error(path, "must not hold a user name or password: keys come from the environment only")
        elif parts is None:
            yield _error(path, "must be a URL like http://127.0.0.1:11434 or https://host/path")
        elif parts["scheme"] == "http" and not _LOOPBACK.fullmatch(parts["host"]):
            message = "plain http to another machine: prompts and keys travel unencrypted"
            yield Finding(Severity.WARNING, path, message)
    path = ("llmOps", "gateway", "apiKeyEnv")
    name = _at(config, path)
    if isinstance(name, str) and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        # The value is not repeated: it may be the key itself.
        yield _error(path, "must be the name of an environment variable, never the key itself")


_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[^?#\x00-\x20\x7f]*)?"
)
_LOOPBACK = re.compile(r"localhost|.*\.localhost|127(\.[0-9]{1,3}){3}|\[::1\]")


def _check_command(path: Path, command: object) -> Iterator[Finding]:
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        words = command
        if words and not words[0].strip():
            yield _error(path, "the first word must be a program")
        if any("\0" in word for word in words):
            yield _error(path, "holds a NUL character")
    elif isinstance(command, str):
        if found := shell_syntax(command):
            remedy = "no shell runs this: put it in a script or a make target"
            yield _error(path, f"{quote(found)} is shell syntax, but {remedy}")
            return
        try:
            words = shlex.split(command)
        except ValueError:
            yield _error(path, "a quote is not closed, or the last character is a backslash")
            return
    else:
        return
    if path == ("qualityGates", "testCommand") and command and not words:
        yield _error(path, "must not be blank: without tests no gate can tell a good change from a bad one")


def shell_syntax(command: str) -> str | None:
    """The first part of `command` that only a shell would understand; None when it is plain words."""
    if "\0" in command:
        return "\0"
    assignment = re.match(r"\s*[A-Za-z_][A-Za-z0-9_]*=", command)
    if assignment:
        return assignment.group().strip()
    quote, index = "", 0
    while index < len(command):
        char = command[index]
        if char == "\\" and quote != "'":
            index += 2
            continue
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif quote != "'" and (expansion := _EXPANSION.match(command, index)):
            return expansion.group()
        elif not quote and (operator := _OPERATOR.match(command, index)):
            return operator.group()
        index += 1
    return None


_EXPANSION = re.compile(r"`|\$[({]|\$[A-Za-z_][A-Za-z0-9_]*|\$[0-9@*#?$!]")
_OPERATOR = re.compile(r"&&|\|\||[|&;<>()\n]")


def _path_problem(path: str, is_pattern: bool) -> str | None:
    if not is_pattern:
        return path_problem(path)  # in its normal form, because others compare it with git's paths
    try:
        normal_path(re.sub(r"[*?]+", "x", path))
    except ValueError as error:
        return str(error)
    return None


def _at(config: Mapping[str, Any], path: Path) -> Any:
    value: Any = config
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _tier(value: object) -> Tier | None:
    return next((tier for tier in Tier if tier.value == value), None)


def _error(path: Path, message: str) -> Finding:
    return Finding(Severity.ERROR, path, message)
