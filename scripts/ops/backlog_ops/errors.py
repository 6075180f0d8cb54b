"""Every error a user can cause, and the exit code it ends a command with.

    BacklogError                 base; exit 1
    ├── UsageError               exit 2   unknown flag, no prompt, unreadable file
    ├── ConfigurationError       exit 3   the configuration is invalid or missing
    ├── FindingsError            exit 1   tickets that do not validate, a failed gate
    ├── RepositoryError          exit 1   not a git repository, dirty base, detached HEAD
    ├── RunStateError            exit 1   no run is open, another run is open, unknown action
    ├── SurroundingsError        exit 1   the machine is the trouble: disk full, read only, no memory
    ├── UnreachableError         exit 4   nobody in the chain could answer; no `claude`, no `git`
    ├── SchemaError              exit 5   answers came, none passed the schema
    ├── BudgetError              exit 6   the budget does not allow the call
    ├── NoAnswerError            exit 7   the model refused, or every answer was cut or empty
    └── PromptTooLargeError      exit 8   the prompt is too large for every model in the chain

The message of each is one line that says what is wrong, where, and what to do; `details` are further
lines of the same kind (one problem each) for errors that report everything at once.
Exit codes are promises: design contracts, "llm_call.py" and "backlog-ops".
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_CONFIGURATION = 3
EXIT_UNREACHABLE = 4
EXIT_SCHEMA = 5
EXIT_BUDGET = 6
EXIT_NO_ANSWER = 7
EXIT_TOO_LARGE = 8
EXIT_INTERRUPTED = 130


class BacklogError(Exception):
    """Base of all errors that end a command with one clear line instead of a traceback."""

    exit_code = EXIT_FINDINGS

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)


class UsageError(BacklogError):
    exit_code = EXIT_USAGE


class ConfigurationError(BacklogError):
    exit_code = EXIT_CONFIGURATION


class FindingsError(BacklogError):
    exit_code = EXIT_FINDINGS


class RepositoryError(BacklogError):
    exit_code = EXIT_FINDINGS


class RunStateError(BacklogError):
    exit_code = EXIT_FINDINGS


class SurroundingsError(BacklogError):
    exit_code = EXIT_FINDINGS


class UnreachableError(BacklogError):
    exit_code = EXIT_UNREACHABLE


class SchemaError(BacklogError):
    exit_code = EXIT_SCHEMA


class BudgetError(BacklogError):
    exit_code = EXIT_BUDGET


class NoAnswerError(BacklogError):
    exit_code = EXIT_NO_ANSWER


class PromptTooLargeError(BacklogError):
    exit_code = EXIT_TOO_LARGE
