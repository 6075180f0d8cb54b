"""The configuration as values: one NamedTuple per section of `backlog.config.json`.

Every command defines them anew; as dataclasses that would take seven times as long.
`config/backlog.config.schema.json` says what each key means; `storage/config_file.py` reads, checks and
fills in defaults. Past that point nobody handles a dict, and every command is an argv: no shell sees one.
Times are seconds; money, US dollars in the file, is integer nano-dollars here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backlog_ops.domain.gates import Gate, Tier

NANO_PER_USD = 1_000_000_000


def argv(command: str | Sequence[str]) -> tuple[str, ...]:
    """A configured command as an argument vector. Raises ValueError on an unclosed quote."""
    return tuple(shlex.split(command) if isinstance(command, str) else command)


class Backlog(NamedTuple):
    data_dir: str  # relative to the repository, holds pending/ and completed/
    max_slots: int  # tickets per wave
    shared_files: tuple[str, ...]  # glob patterns no two tickets of a wave may both touch

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Backlog:
        return cls(data["dataDir"], data["maxSlots"], tuple(data["sharedFiles"]))


class Merging(NamedTuple):
    """The end of a run."""

    into_base: bool  # else its commits stay on backlog/<run>
    asks_first: bool  # a person says yes before the base branch moves

    @classmethod
    def from_json(cls, backlog: Mapping[str, Any]) -> Merging:
        return cls(backlog["mergeInto"] == "base", backlog["askBeforeMerge"])


class QualityGates(NamedTuple):
    type_check: tuple[str, ...]  # argv; empty: not configured
    lint: tuple[str, ...]
    test: tuple[str, ...]  # required
    build: tuple[str, ...]
    timeout_seconds: float  # per command

    def commands(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(config key, argv) of every configured command, in the order LINT runs them."""
        named = (
            ("typeCheckCommand", self.type_check),
            ("lintCommand", self.lint),
            ("testCommand", self.test),
            ("buildCommand", self.build),
        )
        return tuple((key, argv) for key, argv in named if argv)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QualityGates:
        return cls(
            type_check=argv(data["typeCheckCommand"]),
            lint=argv(data["lintCommand"]),
            test=argv(data["testCommand"]),
            build=argv(data["buildCommand"]),
            timeout_seconds=data["timeoutSeconds"],
        )


class TicketValidation(NamedTuple):
    require_acceptance_criteria: bool
    require_affected_files: bool
    max_bytes: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TicketValidation:
        return cls(data["requireAcceptanceCriteria"], data["requireAffectedFiles"], data["maxBytes"])


class Reviewer(NamedTuple):
    """One of those who review every diff, side by side; all must approve."""

    name: str
    focus: str  # what this one looks at, in words for its brief; "": everything
    least_tier: Tier | None  # never asked below it; None: as the gate is routed

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reviewer:
        return cls(data["name"], data.get("focus", ""), Tier(data["model"]) if data.get("model") else None)


class ReviewPipeline(NamedTuple):
    confidence_threshold: int  # 0–100; findings below it are kept, not acted on
    max_package_bytes: int  # a review package larger than this fails the gate
    reviewers: tuple[Reviewer, ...]  # at least one

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReviewPipeline:
        reviewers = tuple(Reviewer.from_json(reviewer) for reviewer in data["reviewers"])
        return cls(data["confidenceThreshold"], data["maxPackageBytes"], reviewers)


class Worktree(NamedTuple):
    setup_command: tuple[str, ...]  # argv, run once in a fresh worktree
    link: tuple[str, ...]  # paths of the repository to symlink into each worktree (.venv, node_modules)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Worktree:
        return cls(argv(data["setupCommand"]), tuple(data["link"]))


class Routing(NamedTuple):
    entry: Mapping[Gate, Tier]  # CLASSIFY, PLAN (and WAVE_PLAN), DRAFT, IMPLEMENT, REVIEW
    escalation: Tier
    max_escalations: int
    max_attempts: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Routing:
        plan = Tier(data["entryModelPlan"])
        return cls(
            entry={
                Gate.CLASSIFY: Tier(data["entryModelClassify"]),
                Gate.WAVE_PLAN: plan,
                Gate.PLAN: plan,
                Gate.DRAFT: Tier(data["entryModelDraft"]),
                Gate.IMPLEMENT: Tier(data["entryModelImplement"]),
                Gate.REVIEW: Tier(data["entryModelReview"]),
            },
            escalation=Tier(data["escalationModel"]),
            max_escalations=data["maxEscalationsPerTicket"],
            max_attempts=data["maxAttemptsPerTicket"],
        )


class Models(NamedTuple):
    """Model id per tier: `free` is Ollama's name for a local model, the others Claude ids."""

    by_tier: Mapping[Tier, str]


class Gateway(NamedTuple):
    base_url: str  # "" when there is none
    api_key_env: str  # name of the environment variable that holds its key


class Timeouts(NamedTuple):
    connect_local: float
    connect_remote: float
    first_byte_warm: float
    first_byte_cold: float
    idle: float
    call: float  # one text call with its whole chain
    agent: float  # one agent gate

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timeouts:
        return cls(
            connect_local=data["connectLocalSeconds"],
            connect_remote=data["connectRemoteSeconds"],
            first_byte_warm=data["firstByteWarmSeconds"],
            first_byte_cold=data["firstByteColdSeconds"],
            idle=data["idleSeconds"],
            call=data["callSeconds"],
            agent=data["agentSeconds"],
        )


class Budget(NamedTuple):
    per_ticket_nanousd: int
    per_run_nanousd: int
    per_day_nanousd: int
    warn_percent: int  # of a budget that is spent
    spike_factor: float  # an action that costs so many times what its ticket's earlier ones did is asked about; 0: none

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Budget:
        return cls(
            per_ticket_nanousd=round(data["perTicketUsd"] * NANO_PER_USD),
            per_run_nanousd=round(data["perRunUsd"] * NANO_PER_USD),
            per_day_nanousd=round(data["perDayUsd"] * NANO_PER_USD),
            warn_percent=data["warnAtPercent"],
            spike_factor=data["spikeFactor"],
        )


class LlmOps(NamedTuple):
    routing: Routing
    models: Models
    gateway: Gateway
    ollama_base_url: str
    local_max_seconds: float
    timeouts: Timeouts
    budget: Budget
    mismatch_fails: bool  # an answer of another model than the routed one fails the gate

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LlmOps:
        return cls(
            routing=Routing.from_json(data["routing"]),
            models=Models({tier: data["models"][tier.value] for tier in Tier}),
            gateway=Gateway(data["gateway"]["baseURL"], data["gateway"]["apiKeyEnv"]),
            ollama_base_url=data["ollama"]["baseURL"],
            local_max_seconds=data["local"]["maxSeconds"],
            timeouts=Timeouts.from_json(data["timeouts"]),
            budget=Budget.from_json(data["budget"]),
            mismatch_fails=data["onModelMismatch"] == "fail",
        )


class Settings(NamedTuple):
    project_name: str
    backlog: Backlog
    merging: Merging
    quality_gates: QualityGates
    code_rules_files: tuple[str, ...]
    ticket_validation: TicketValidation
    review_pipeline: ReviewPipeline
    worktree: Worktree
    llm_ops: LlmOps

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """Build from a complete, valid configuration (defaults already filled in). Raises KeyError if not."""
        return cls(
            project_name=data["project"]["name"],
            backlog=Backlog.from_json(data["backlog"]),
            merging=Merging.from_json(data["backlog"]),
            quality_gates=QualityGates.from_json(data["qualityGates"]),
            code_rules_files=tuple(data["codeRules"]["files"]),
            ticket_validation=TicketValidation.from_json(data["ticketValidation"]),
            review_pipeline=ReviewPipeline.from_json(data["reviewPipeline"]),
            worktree=Worktree.from_json(data["worktree"]),
            llm_ops=LlmOps.from_json(data["llmOps"]),
        )
