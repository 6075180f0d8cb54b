"""What every step needs, gathered once: the repository, the store, the settings, the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.host_models import alias_for
from backlog_ops.domain.pricing import PriceTable
from backlog_ops.domain.settings import Settings
from backlog_ops.errors import RepositoryError, RunStateError
from backlog_ops.run.git import Git
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.store import OpenAction, Store
from backlog_ops.storage.locations import WORK_FOLDER_NAME

if TYPE_CHECKING:  # parsing a ticket needs YAML: 15 ms that `next` does not pay
    from backlog_ops.domain.routing import Decision
    from backlog_ops.domain.tickets import Ticket


@dataclass(frozen=True)
class Context:
    """`environ` is what child processes inherit; `merging` serialises what moves the run's branch."""

    git: Git
    store: Store
    settings: Settings
    environ: Mapping[str, str]
    prices: PriceTable
    clock: Callable[[], float]
    state_folder: Path
    merging: threading.Lock = field(default_factory=threading.Lock)
    for_session: bool = False  # a parent session starts the agents
    stopping: threading.Event = field(default_factory=threading.Event)  # Ctrl-C: stop between steps, lose nothing

    @property
    def top(self) -> Path:
        return self.git.folder

    @property
    def project(self) -> str:
        return self.settings.project_name or self.top.name

    @property
    def work_folder(self) -> Path:
        return self.top / WORK_FOLDER_NAME

    def make_work_folder(self) -> Path:
        """`.backlog-ops/`, which ignores itself: the user's own .gitignore stays as it is."""
        try:
            self.work_folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RepositoryError(
                f"{self.work_folder}: cannot be made ({error.strerror}); move away what is there"
            ) from None
        ignore = self.work_folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# made by backlog-ops: worktrees and briefs of runs, safe to delete between runs\n*\n")
        return self.work_folder

    def worktree_path(self, ticket: TicketState) -> Path:
        return self.work_folder / "worktrees" / ticket.run / ticket.id

    def action_folder(self, ticket: TicketState, action_id: str) -> Path:
        return self.work_folder / "runs" / ticket.run / ticket.id / action_id

    def opening(
        self, ticket: TicketState, action: Action, brief: Path, hand_in: Path | None, write_set: Sequence[str] = ()
    ) -> OpenAction:
        """What drivers and guards are to know of an action whose brief is written."""
        if hand_in is not None:
            hand_in.unlink(missing_ok=True)  # nobody has been asked yet: whoever laid it there was not asked
        host_model = alias_for(action.tier, self.settings.llm_ops.models.by_tier)
        return OpenAction(action.number, brief, hand_in, host_model, self.worktree_path(ticket), write_set)

    def open_run(self) -> Run:
        run = self.store.open_run()
        if run is None:
            raise RunStateError("no run is open: `backlog-ops start` or `backlog-ops run` begins one")
        return run

    def parsed(self, ticket: TicketState) -> Ticket:
        """The ticket as it was when the run began; it was valid then, so it still parses."""
        from backlog_ops.domain.tickets import parse_ticket

        parsed, problems = parse_ticket(ticket.path, ticket.text.encode(), self.settings.ticket_validation)
        if parsed is None:
            raise RunStateError(str(problems[0]))
        return parsed

    def decide(self, gate: Gate, ticket: TicketState) -> Decision:
        """Route a gate of a ticket by its tags, its complexity and what happened to it in this run."""
        from backlog_ops.domain.routing import History, route

        parsed = self.parsed(ticket)
        history = History(ticket.fails, ticket.attempt - ticket.forgiven)
        return route(gate, parsed.tags, parsed.complexity, history, self.settings.llm_ops.routing)

    def say(self, ticket: TicketState, text: str) -> None:
        self.store.say(ticket.run, text, ticket.id)
