"""`validate_config.py [FILE] [--format text|json|github]`: every problem of a configuration at once."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from backlog_ops.cli.github import annotation
from backlog_ops.errors import EXIT_CONFIGURATION, EXIT_OK, BacklogError, UsageError
from backlog_ops.storage.config_check import ConfigProblem
from backlog_ops.storage.config_file import check, config_path, no_configuration, read_config, remember_valid


def main(argv: Sequence[str]) -> int:
    """Exit code 0: valid, warnings allowed; 2: usage; 3: invalid or missing."""
    arguments = _parser().parse_args(argv)
    try:
        file = _file(arguments.file)
        content = _read(file)
        problems = check(content, os.fspath(file), os.environ)
    except BacklogError as error:
        print(f"validate_config: {error.message}", file=sys.stderr)
        return error.exit_code
    valid = not any(problem.is_error for problem in problems)
    if valid:
        remember_valid(os.environ, content)
    _PRINTERS[arguments.format](os.fspath(file), valid, problems)
    return EXIT_OK if valid else EXIT_CONFIGURATION


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="validate_config.py",
        description="Check a backlog.config.json and report every problem with its line.",
        epilog="example: validate_config.py backlog.config.json --format github",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="default: the file at the top of this repository")
    parser.add_argument(
        "--format",
        choices=sorted(_PRINTERS),
        default="text",
        help="text: problems on stderr; json: one object on stdout; github: workflow annotations on stdout",
    )
    return parser


def _file(named: str | None) -> Path:
    if named is not None:
        return Path(named)
    file = config_path(Path.cwd())
    if not file.exists():
        raise no_configuration(file)
    return Path(os.path.relpath(file))


def _read(file: Path) -> bytes:
    try:
        return read_config(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error


def _print_text(file: str, valid: bool, problems: Sequence[ConfigProblem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)
    if valid:
        print(f"{file}: ok")


def _print_json(file: str, valid: bool, problems: Sequence[ConfigProblem]) -> None:
    listed = [{"severity": p.severity.value, "path": p.path, "line": p.line, "message": p.message} for p in problems]
    print(json.dumps({"file": file, "valid": valid, "problems": listed}, indent=2))


def _print_github(file: str, valid: bool, problems: Sequence[ConfigProblem]) -> None:
    for problem in problems:
        message = f"{problem.path}: {problem.message}" if problem.path else problem.message
        print(annotation(problem.severity.value, file, problem.line, message))


_PRINTERS = {"text": _print_text, "json": _print_json, "github": _print_github}
