"""Git, the repository, its configuration and its tickets."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.domain.settings import Settings
from backlog_ops.errors import BacklogError
from backlog_ops.run.backlog import read_backlog
from backlog_ops.run.context import Context
from backlog_ops.run.doctor.place import NoAnswerFromProgramError, Place, answer_of
from backlog_ops.run.git import Git, open_repository
from backlog_ops.run.opening import check_repository
from backlog_ops.run.store import Store
from backlog_ops.storage.config_file import check, complete, load_preset, load_prices, read_config
from backlog_ops.storage.locations import CONFIG_FILE_NAME, find_repository, state_folder

if TYPE_CHECKING:
    from backlog_ops.storage.config_check import ConfigProblem

OLDEST_GIT = (2, 25)
MOST_TICKET_PROBLEMS = 10


class _AsCommitted(Git):
    """The repository as if nothing in it was changed: between two runs somebody works in it."""

    def tracked_changes(self) -> list[str]:
        return []


def project(place: Place) -> Iterator[Diagnosis]:
    git_found = _git(place)
    yield git_found
    if git_found.level is Level.ERROR and shutil.which("git", path=place.environ.get("PATH", "")) is None:
        return
    try:
        git = open_repository(place.folder)
    except BacklogError as error:
        yield _from(error, "repository")
        return
    found, settings = _configuration(git.folder, place.environ)
    yield from _repository(git, settings or Settings.from_json(load_preset()), place)
    yield from found
    if settings is not None:
        yield from _tickets(git.folder, settings)


def _git(place: Place) -> Diagnosis:
    remedy = "install git 2.25 or newer"
    try:
        said = answer_of(place, ["git", "--version"])
    except NoAnswerFromProgramError as error:
        return Diagnosis("git", Level.ERROR, str(error), remedy)
    found = re.search(r"(\d+)\.(\d+)(?:\.\d+)*", said)
    if found is None:
        return Diagnosis("git", Level.WARNING, "does not say its version", remedy)
    is_old = (int(found[1]), int(found[2])) < OLDEST_GIT
    return Diagnosis("git", Level.ERROR if is_old else Level.OK, f"version {found[0]}", remedy if is_old else "")


def _repository(git: Git, settings: Settings, place: Place) -> Iterator[Diagnosis]:
    repository = find_repository(git.folder)
    folder = state_folder(place.environ, repository[1] if repository else None)
    ctx = Context(
        git=_AsCommitted(git.folder),
        store=Store(folder / "state.db", time.time),  # opened by nobody here
        settings=settings,
        environ=place.environ,
        prices=load_prices(),
        clock=time.time,
        state_folder=folder,
    )
    try:
        branch, commit = check_repository(ctx)
    except BacklogError as error:
        yield _from(error, "repository")
        return
    yield Diagnosis("repository", Level.OK, f"{git.folder}, a run can begin on {branch} at {commit[:9]}")
    changed = git.tracked_changes()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield Diagnosis(
            "repository", Level.NOTE, f"{changed[0]}{more}: changed", "commit before a run, it starts there"
        )


def _configuration(top: Path, environ: Mapping[str, str]) -> tuple[list[Diagnosis], Settings | None]:
    """What is wrong with it, and the settings that hold, which are the defaults without a file; None: invalid."""
    file = top / CONFIG_FILE_NAME
    if not file.exists():
        message = f"there is no {CONFIG_FILE_NAME} in {top}"
        missing = Diagnosis("configuration", Level.ERROR, message, "`backlog-ops init` writes one", True)
        return [missing], Settings.from_json(load_preset())
    try:
        content = read_config(file)
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror}"
        return [Diagnosis("configuration", Level.ERROR, message, "make it readable", True)], None
    problems = check(content, CONFIG_FILE_NAME, environ)
    found = [_problem(problem) for problem in problems]
    if any(problem.is_error for problem in problems):
        return found, None
    found.append(Diagnosis("configuration", Level.OK, f"{CONFIG_FILE_NAME} is valid"))
    return found, Settings.from_json(complete(json.loads(content), load_preset()))


def _problem(problem: ConfigProblem) -> Diagnosis:
    path = f"{problem.path}: " if problem.path else ""
    message = f"{problem.file}:{problem.line}: {path}{problem.message}"
    return Diagnosis("configuration", Level.ERROR if problem.is_error else Level.WARNING, message, "", True)


def _tickets(top: Path, settings: Settings) -> Iterator[Diagnosis]:
    files = read_backlog(top, settings)
    for problem in files.problems[:MOST_TICKET_PROBLEMS]:
        yield Diagnosis("tickets", Level.ERROR, str(problem))
    if len(files.problems) > MOST_TICKET_PROBLEMS:
        more = len(files.problems) - MOST_TICKET_PROBLEMS
        yield Diagnosis("tickets", Level.ERROR, f"{more} more problems", "`backlog-ops validate tickets` names all")
    folder = f"{settings.backlog.data_dir}/pending"
    if not files.problems and files.pending:
        yield Diagnosis("tickets", Level.OK, f"{len(files.pending)} valid in {folder}")
    elif not files.problems:
        remedy = f"fill in a copy of {settings.backlog.data_dir}/TEMPLATE.md and commit it"
        yield Diagnosis("tickets", Level.NOTE, f"none in {folder}", remedy)


def _from(error: BacklogError, subject: str) -> Diagnosis:
    message, _, remedy = error.message.partition("; ")
    return Diagnosis(subject, Level.ERROR, message, remedy)
