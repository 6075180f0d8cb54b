"""Which stack's commands a repository is configured with, and the configuration itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backlog_ops.domain.config_rules import SUPPORTED_VERSION
from backlog_ops.domain.stacks.checkout import Checkout, Stack
from backlog_ops.domain.stacks.node import DETECTOR as NODE
from backlog_ops.domain.stacks.python import DETECTOR as PYTHON
from backlog_ops.domain.text import UNSAFE

DETECTORS = (PYTHON, NODE)
_LONGEST_NAME = 200  # characters, as the configuration's schema says
_REMEDY = "--test-command 'CMD' says what runs them all"


def detect(checkout: Checkout) -> list[Stack]:
    """Every stack that is there. Raises ValueError, see `Detector`."""
    found = (detector.detect(checkout) for detector in DETECTORS)
    return [stack for stack in found if stack is not None]


def choose(stacks: Sequence[Stack], test_command: str | None) -> Stack:
    """The one stack that has tests, else, with the person's own `test_command`, what the stacks do not disagree on.

    Raises ValueError, with the remedy, when the tests cannot be told.
    """
    if test_command is not None:
        return _together(stacks, test_command)
    tested = [stack for stack in stacks if stack.test]
    if len(tested) == 1:
        return tested[0]
    if tested:
        said = " and ".join(f"{stack.name} (`{stack.test}`)" for stack in tested)
        raise ValueError(f"{said} both have tests: {_REMEDY}")
    seen = " and ".join(stack.name for stack in stacks)
    where = f"in this {seen} project" if seen else "and no Python or Node project at the top of the repository"
    raise ValueError(f"no test command found {where}: {_REMEDY}")


def _together(stacks: Sequence[Stack], test_command: str) -> Stack:
    """Links of all stacks; of the commands those that only one stack has."""
    disputed: list[str] = []

    def only(key: str, of: Callable[[Stack], Any]) -> Any:
        values = [of(stack) for stack in stacks if of(stack)]
        if len(values) > 1:
            disputed.append(key)
        return values[0] if len(values) == 1 else ""

    whole = Stack(
        name=" and ".join(stack.name for stack in stacks),
        project_name=next((stack.project_name for stack in stacks if stack.project_name), ""),
        type_check=only("qualityGates.typeCheckCommand", lambda stack: stack.type_check),
        lint=only("qualityGates.lintCommand", lambda stack: stack.lint),
        test=test_command,
        setup=only("worktree.setupCommand", lambda stack: stack.setup),
        link=tuple(dict.fromkeys(name for stack in stacks for name in stack.link)),
        notes=tuple(note for stack in stacks for note in stack.notes),
    )
    for key in disputed:
        whole = whole.with_note(f"{key} is left empty, {whole.name} each have one: set what runs both")
    return whole


def configuration(stack: Stack, folder_name: str) -> dict[str, Any]:
    """The smallest configuration that says all that was found out; everything else keeps its default."""
    name = stack.project_name or folder_name
    config: dict[str, Any] = {
        "version": ".".join(str(part) for part in SUPPORTED_VERSION),
        "project": {"name": "" if UNSAFE.search(name) or len(name) > _LONGEST_NAME else name},
        "qualityGates": {
            "typeCheckCommand": stack.type_check,
            "lintCommand": stack.lint,
            "testCommand": stack.test,
        },
    }
    worktree = {"setupCommand": stack.setup, "link": list(stack.link)}
    if any(worktree.values()):
        config["worktree"] = {key: value for key, value in worktree.items() if value}
    return config
