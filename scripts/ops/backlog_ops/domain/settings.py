"""The configuration as values: one frozen dataclass per section of `backlog.config.json`.

`config/backlog.config.schema.json` says what each key means; `storage/config_file.py` reads, checks and
fills in defaults. Past that point nobody handles a dict, and every command is an argv: no shell sees one.
Times are seconds; money, US dollars in the file, is integer nano-dollars here.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.gates import Gate, Tier

NANO_PER_USD = 1_000_000_000


def argv(command: str | Sequence[str]) -> tuple[str, ...]:
    """A configured command as an argument vector. Raises ValueError on an unclosed quote."""
    return tuple(shlex.split(command) if isinstance(command, str) else command)


@dataclass(frozen=True)
class Backlog:
    data_dir: str  # relative to the repository, holds pending/ and completed/
    max_slots: int  # tickets per wave
    shared_files: tuple[str, ...]  # glob patterns no two tickets of a wave may both touch


@dataclass(frozen=True)
class QualityGates:
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


@dataclass(frozen=True)
class TicketValidation:
    require_acceptance_criteria: bool
    require_affected_files: bool
    max_bytes: int


@dataclass(frozen=True)
class ReviewPipeline:
    confidence_threshold: int  # 0–100; findings below it are kept, not acted on
    max_package_bytes: int  # a review package larger than this fails the gate


@dataclass(frozen=True)
class Worktree:
    setup_command: tuple[str, ...]  # argv, run once in a fresh worktree
    link: tuple[str, ...]  # paths of the repository to symlink into each worktree (.venv, node_modules)


@dataclass(frozen=True)
class Routing:
    entry: Mapping[Gate, Tier]  # CLASSIFY, PLAN (and WAVE_PLAN), DRAFT, IMPLEMENT, REVIEW
    escalation: Tier
    max_escalations: int
    max_attempts: int


@dataclass(frozen=True)
class Models:
    """Model id per tier: `free` is Ollama's name for a local model, the others Claude ids."""

    by_tier: Mapping[Tier, str]


@dataclass(frozen=True)
class Gateway:
    base_url: str  # "" when there is none
    api_key_env: str  # name of the environment variable that holds its key


@dataclass(frozen=True)
class Timeouts:
    connect_local: float
    connect_remote: float
    first_byte_warm: float
    first_byte_cold: float
    idle: float
    call: float  # one text call with its whole chain
    agent: float  # one agent gate


@dataclass(frozen=True)
class Budget:
    per_ticket_nanousd: int
    per_run_nanousd: int


@dataclass(frozen=True)
class LlmOps:
    routing: Routing
    models: Models
    gateway: Gateway
    ollama_base_url: str
    local_max_seconds: float
    timeouts: Timeouts
    budget: Budget


@dataclass(frozen=True)
class Settings:
    project_name: str
    backlog: Backlog
    quality_gates: QualityGates
    code_rules_files: tuple[str, ...]
    ticket_validation: TicketValidation
    review_pipeline: ReviewPipeline
    worktree: Worktree
    llm_ops: LlmOps

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        """Build from a complete, valid configuration (defaults already filled in). Raises KeyError if not."""
        ops, gates, routing = data["llmOps"], data["qualityGates"], data["llmOps"]["routing"]
        plan = Tier(routing["entryModelPlan"])
        limits = ops["timeouts"]
        return cls(
            project_name=data["project"]["name"],
            backlog=Backlog(
                data_dir=data["backlog"]["dataDir"],
                max_slots=data["backlog"]["maxSlots"],
                shared_files=tuple(data["backlog"]["sharedFiles"]),
            ),
            quality_gates=QualityGates(
                type_check=argv(gates["typeCheckCommand"]),
                lint=argv(gates["lintCommand"]),
                test=argv(gates["testCommand"]),
                build=argv(gates["buildCommand"]),
                timeout_seconds=gates["timeoutSeconds"],
            ),
            code_rules_files=tuple(data["codeRules"]["files"]),
            ticket_validation=TicketValidation(
                require_acceptance_criteria=data["ticketValidation"]["requireAcceptanceCriteria"],
                require_affected_files=data["ticketValidation"]["requireAffectedFiles"],
                max_bytes=data["ticketValidation"]["maxBytes"],
            ),
            review_pipeline=ReviewPipeline(
                confidence_threshold=data["reviewPipeline"]["confidenceThreshold"],
                max_package_bytes=data["reviewPipeline"]["maxPackageBytes"],
            ),
            worktree=Worktree(
                setup_command=argv(data["worktree"]["setupCommand"]),
                link=tuple(data["worktree"]["link"]),
            ),
            llm_ops=LlmOps(
                routing=Routing(
                    entry={
                        Gate.CLASSIFY: Tier(routing["entryModelClassify"]),
                        Gate.WAVE_PLAN: plan,
                        Gate.PLAN: plan,
                        Gate.DRAFT: Tier(routing["entryModelDraft"]),
                        Gate.IMPLEMENT: Tier(routing["entryModelImplement"]),
                        Gate.REVIEW: Tier(routing["entryModelReview"]),
                    },
                    escalation=Tier(routing["escalationModel"]),
                    max_escalations=routing["maxEscalationsPerTicket"],
                    max_attempts=routing["maxAttemptsPerTicket"],
                ),
                models=Models({tier: ops["models"][tier.value] for tier in Tier}),
                gateway=Gateway(ops["gateway"]["baseURL"], ops["gateway"]["apiKeyEnv"]),
                ollama_base_url=ops["ollama"]["baseURL"],
                local_max_seconds=ops["local"]["maxSeconds"],
                timeouts=Timeouts(
                    connect_local=limits["connectLocalSeconds"],
                    connect_remote=limits["connectRemoteSeconds"],
                    first_byte_warm=limits["firstByteWarmSeconds"],
                    first_byte_cold=limits["firstByteColdSeconds"],
                    idle=limits["idleSeconds"],
                    call=limits["callSeconds"],
                    agent=limits["agentSeconds"],
                ),
                budget=Budget(
                    per_ticket_nanousd=round(ops["budget"]["perTicketUsd"] * NANO_PER_USD),
                    per_run_nanousd=round(ops["budget"]["perRunUsd"] * NANO_PER_USD),
                ),
            ),
        )
