"""What a run stands on: the Python it runs in, the programs on the PATH, the folders it writes to."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.run.doctor.place import Place
from backlog_ops.storage.locations import WORK_FOLDER_NAME, find_repository, state_folder

OLDEST_PYTHON = (3, 10)
# module → name in config/requirements.in
PACKAGES = {"detect_secrets": "detect-secrets", "httpx": "httpx", "jsonschema": "jsonschema", "yaml": "PyYAML"}


def interpreter(place: Place) -> Iterator[Diagnosis]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    said = f"{version} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        yield Diagnosis("Python", Level.ERROR, said, "install 3.10 or newer, or name one in BACKLOG_PYTHON")
        return
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        remedy = f"start {place.plugin_root}/bin/backlog-ops, which brings its own"
        yield Diagnosis("Python", Level.ERROR, f"{said} lacks {', '.join(missing)}", remedy)
        return
    yield Diagnosis("Python", Level.OK, said)


def path(place: Place) -> Iterator[Diagnosis]:
    ours = place.plugin_root / "bin" / "backlog-ops"
    first = shutil.which("backlog-ops", path=place.environ.get("PATH", ""))
    if first is not None and os.path.realpath(first) != os.path.realpath(ours):
        message = f"another backlog-ops comes first: {first}"
        yield Diagnosis("PATH", Level.NOTE, message, f"sessions call ours by its full path, in a shell type {ours}")


def folders(place: Place) -> Iterator[Diagnosis]:
    repository = find_repository(place.folder)
    state = state_folder(place.environ, repository[1] if repository else None)
    yield _writable("state folder", state, "set XDG_STATE_HOME to a folder that you may write to")
    if repository is not None:
        work = repository[0] / WORK_FOLDER_NAME
        yield _writable("work folder", work, "move away what is there, or give yourself the right to write")


def _writable(subject: str, folder: Path, remedy: str) -> Diagnosis:
    """Whether `folder`, there or not yet, can be written to. Tells by its permissions, so nothing is written."""
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        return Diagnosis(subject, Level.ERROR, f"{there} is not a folder", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        return Diagnosis(subject, Level.ERROR, f"{there} cannot be written to", remedy)
    return Diagnosis(subject, Level.OK, str(folder))
