"""`init`: what a repository lacks for its first run, planned as values and then written. Nothing is overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from backlog_ops.domain.settings import argv
from backlog_ops.domain.stacks.checkout import Stack
from backlog_ops.domain.stacks.choice import DETECTORS, choose, configuration, detect
from backlog_ops.errors import ConfigurationError, RepositoryError, UsageError
from backlog_ops.run.git import Git
from backlog_ops.run.stack_survey import survey
from backlog_ops.storage.config_file import check, load_preset, load_settings
from backlog_ops.storage.locations import CONFIG_FILE_NAME, PLUGIN_ROOT

TICKET_TEMPLATE = PLUGIN_ROOT / "config" / "templates" / "ticket.md"


class NewFile(NamedTuple):
    path: str  # relative to the repository
    text: str


@dataclass(frozen=True)
class SetUp:
    """What `init` will do. `stack` and `config` are None where the configuration was there already."""

    data_dir: str
    new: tuple[NewFile, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]
    stack: Stack | None = None
    config: Mapping[str, Any] | None = None


def plan(git: Git, environ: Mapping[str, str], test_command: str | None) -> SetUp:
    """Looks at everything and writes nothing.

    Raises UsageError where the tests cannot be told, ConfigurationError where a configuration is there and invalid,
    RepositoryError where something else stands in the way of a file.
    """
    if _is_there(git.folder, CONFIG_FILE_NAME):
        settings = load_settings(environ, git.folder, cache=False)
        if test_command is not None and _words(test_command) != settings.quality_gates.test:
            message = f"--test-command: {CONFIG_FILE_NAME} is there and never overwritten; set its testCommand"
            raise UsageError(message)
        return _with_files(git, settings.backlog.data_dir)
    try:
        stack = choose(detect(survey(git, DETECTORS)), test_command)
    except ValueError as error:
        raise UsageError(f"{error}; nothing was written") from None
    config = configuration(stack, git.folder.name)
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    _check(text, test_command)
    return _with_files(git, load_preset()["backlog"]["dataDir"], stack, config, text)


def write(git: Git, files: Sequence[NewFile]) -> None:
    """Write the files, or none of them. Raises RepositoryError."""
    made: list[Path] = []
    try:
        for file in files:
            target = git.folder / file.path
            for folder in reversed([folder for folder in target.parents if not folder.exists()]):
                folder.mkdir()
                made.append(folder)
            with target.open("x", encoding="utf-8", newline="\n") as stream:
                made.append(target)
                stream.write(file.text)
    except BaseException as error:
        for path in reversed(made):
            path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            where, why = error.filename or git.folder, error.strerror
            message = f"{where}: cannot be written ({why}); nothing was written, give yourself the right to write there"
            raise RepositoryError(message) from None
        raise


def _words(command: str) -> tuple[str, ...]:
    try:
        return argv(command)
    except ValueError:
        return (command,)


def _check(text: str, test_command: str | None) -> None:
    """Nothing that our own checker refuses is ever written."""
    for problem in check(text.encode()):
        if problem.is_error and test_command is not None and problem.path == "qualityGates.testCommand":
            raise UsageError(f"--test-command: {problem.message}; nothing was written")
        if problem.is_error:
            raise ConfigurationError(f"{problem}; nothing was written")


def _with_files(
    git: Git, data_dir: str, stack: Stack | None = None, config: Mapping[str, Any] | None = None, config_text: str = ""
) -> SetUp:
    folders = [f"{data_dir}/pending", f"{data_dir}/completed"]
    wanted = [
        NewFile(CONFIG_FILE_NAME, config_text),
        *(NewFile(f"{folder}/.gitkeep", "") for folder in folders),
        NewFile(f"{data_dir}/TEMPLATE.md", TICKET_TEMPLATE.read_text(encoding="utf-8")),
    ]
    there = {file.path: found for file in wanted if (found := _what_is_there(git.folder, file.path))}
    notes = list(stack.notes) if stack else []
    for path in git.ignored([f"{data_dir}/pending/x.md"]):
        notes.append(f"{path.rpartition('/')[0]} is ignored by git: tickets must be committed, change .gitignore")
    return SetUp(
        data_dir=data_dir,
        new=tuple(file for file in wanted if file.path not in there),
        kept=tuple(there.values()),
        notes=tuple(notes),
        stack=stack,
        config=config,
    )


def _what_is_there(top: Path, path: str) -> str:
    """The file, or the folder that needs no .gitkeep because something is in it; empty: write it."""
    if _is_there(top, path):
        return path
    folder = (top / path).parent
    if path.endswith("/.gitkeep") and folder.is_dir() and any(folder.iterdir()):
        return f"{path.rpartition('/')[0]}/"
    return ""


def _is_there(top: Path, path: str) -> bool:
    """Raises RepositoryError where a link or something of another kind stands in place of the file or a folder."""
    for place in _places(path):
        found = top / place
        if found.is_symlink():
            raise RepositoryError(f"{found}: is a symbolic link; put a file or folder of the repository in its place")
        is_right = found.is_file() if place == path else found.is_dir()
        if found.exists() and not is_right:
            kind = "file" if place == path else "folder"
            raise RepositoryError(f"{found}: is there and is no {kind}; move it away")
    return os.path.lexists(top / path)


def _places(path: str) -> Iterator[str]:
    """`a/b/c`: a, a/b, a/b/c."""
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
