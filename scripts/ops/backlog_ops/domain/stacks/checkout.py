"""A repository as a value, what a detector makes of it, and what a detector is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Checkout:
    """A repository's files, as far as the detectors want to know them. Paths are relative to `top`."""

    top: str
    paths: frozenset[str]  # files that git tracks or would, and what detectors look for in their local folders
    texts: Mapping[str, str]  # path → content, of the files that a detector reads
    present: frozenset[str] = frozenset()  # local folders (.venv, node_modules) that are there
    ignored: frozenset[str] = frozenset()  # local folders that git ignores, there or not

    @property
    def linkable(self) -> frozenset[str]:
        """Local folders that a worktree lacks and may be given by a link."""
        return self.present & self.ignored

    def text(self, path: str) -> str:
        """The content of a file that a detector reads; empty where there is none."""
        return self.texts.get(path, "")


@dataclass(frozen=True)
class Stack:
    """How one kind of project is checked. Commands are what the configuration takes; empty: none was found."""

    name: str
    project_name: str = ""
    type_check: str = ""
    lint: str = ""
    test: str = ""
    setup: str | tuple[str, ...] = ""  # run in a fresh worktree
    link: tuple[str, ...] = ()  # local folders to link into a worktree
    notes: tuple[str, ...] = ()  # what a person should know, one line each

    def with_note(self, note: str) -> Stack:
        return replace(self, notes=(*self.notes, note))


@dataclass(frozen=True)
class Detector:
    """`detect` answers None when the repository has nothing of its stack.

    Raises ValueError, with the file and the remedy, when a file that decides cannot be understood.
    """

    detect: Callable[[Checkout], Stack | None]
    reads: Callable[[str], bool]  # the paths whose content it wants
    local_folders: tuple[str, ...] = ()  # made on each machine, not in git
    looks_for: tuple[str, ...] = ()  # glob patterns inside the local folders
