"""Reading a repository for the stack detectors: the names of its files, and the few that they want to read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from backlog_ops.domain.stacks.checkout import Checkout, Detector
from backlog_ops.run.git import Git

MAX_READ_FILES = 500
MAX_READ_BYTES = 200_000  # of one file; what decides stands in front


def survey(git: Git, detectors: Iterable[Detector]) -> Checkout:
    """The repository as the detectors want to see it. Raises GitError."""
    detectors = tuple(detectors)
    folders = [name for detector in detectors for name in detector.local_folders]
    present = [name for name in folders if (git.folder / name).is_dir()]
    paths = _listed(git) | {path for detector in detectors for path in _looked_for(git.folder, detector, present)}
    wanted = sorted(path for path in paths if any(detector.reads(path) for detector in detectors))
    # What is installed and what lies at the top decides; of a thousand tests a part tells as much as all.
    wanted.sort(key=lambda path: (path.partition("/")[0] not in folders, path.count("/")))
    return Checkout(
        top=str(git.folder),
        paths=frozenset(paths),
        texts={path: _text(git.folder / path) for path in wanted[:MAX_READ_FILES]},
        present=frozenset(present),
        ignored=frozenset(name for name in folders if _is_ignored(git, name)),
    )


def _listed(git: Git) -> set[str]:
    """Files that git tracks or would track, as they are in the work tree."""
    every, gone = (
        {os.fsdecode(path) for path in git.run("ls-files", "-z", *which).stdout.split(b"\0") if path}
        for which in (("--cached", "--others", "--exclude-standard"), ("--deleted",))
    )
    return every - gone


def _looked_for(top: Path, detector: Detector, present: Iterable[str]) -> set[str]:
    folders = [top / name for name in detector.local_folders if name in present]
    found = (path for folder in folders for pattern in detector.looks_for for path in folder.glob(pattern))
    return {path.relative_to(top).as_posix() for path in found}


def _is_ignored(git: Git, folder: str) -> bool:
    """Whether git ignores all that is in `folder`: uv's environments ignore themselves by a file inside."""
    return any(git.ok("check-ignore", "--quiet", "--", path) for path in (folder, f"{folder}/x"))


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_READ_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return ""
