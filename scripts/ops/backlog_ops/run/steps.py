"""Where a ticket stands: the step names what happens NEXT, so a killed engine simply does it (again)."""

from __future__ import annotations

import enum

from backlog_ops.domain.gates import Gate


class Step(enum.Enum):
    WAITING = "waiting"  # its wave has not begun
    PREPARE = "prepare"  # make the worktree
    INVESTIGATE = "investigate"  # open an action, or judge what was found out
    PLAN = "plan"
    IMPLEMENT = "implement"  # open an action, or inspect what was handed in
    LINT = "lint"
    REVIEW = "review"  # open an action, or judge the verdict
    COMMIT = "commit"
    MERGE = "merge"
    DONE = "done"
    PARKED = "parked"

    @property
    def is_final(self) -> bool:
        return self in (Step.DONE, Step.PARKED)

    @property
    def gate(self) -> Gate | None:
        return {
            Step.INVESTIGATE: Gate.INVESTIGATE,
            Step.PLAN: Gate.PLAN,
            Step.IMPLEMENT: Gate.IMPLEMENT,
            Step.LINT: Gate.LINT,
            Step.REVIEW: Gate.REVIEW,
            Step.COMMIT: Gate.COMMIT,
            Step.MERGE: Gate.COMMIT,
        }.get(self)

    def __str__(self) -> str:
        return self.value
