"""Every problem of a configuration at once, each with its line: JSON, then schema, then rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.config_rules import Finding, Severity, check_rules, check_version, show_path
from backlog_ops.errors import ConfigurationError
from backlog_ops.storage.config_file import (
    MAX_BYTES,
    PRESET_FILE,
    complete,
    load_preset,
    load_prices,
    load_schema,
)
from backlog_ops.storage.config_schema import check_schema
from backlog_ops.storage.located_json import JsonSyntaxError, parse


@dataclass(frozen=True)
class ConfigProblem:
    """`str()` is its line: `FILE:LINE: JSON.path: message`, without a path where the whole file is meant."""

    severity: Severity
    file: str
    line: int
    path: str
    message: str

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        note = "" if self.is_error else "warning: "
        return f"{self.file}:{self.line}: {self.path + ': ' if self.path else ''}{note}{self.message}"


def check_config(content: bytes, file: str, environ: Mapping[str, str] | None) -> list[ConfigProblem]:
    """`config_file.check`, for whoever has jsonschema."""
    try:
        document = parse(_decode(content))
    except JsonSyntaxError as error:
        message = f"not valid JSON at column {error.column}: {error.message}"
        return [ConfigProblem(Severity.ERROR, file, error.line, "", message)]
    except ValueError as error:
        return [ConfigProblem(Severity.ERROR, file, 1, "", str(error))]
    if not isinstance(document.value, dict):
        return [ConfigProblem(Severity.ERROR, file, document.line(()), "", "must be a JSON object: {…}")]
    found = [Finding(Severity.ERROR, path, "is written twice; keep one") for path in document.duplicates]
    found.extend(_findings(document.value, environ))
    problems = [ConfigProblem(f.severity, file, document.line(f.path), show_path(f.path), f.message) for f in found]
    return sorted(problems, key=lambda problem: problem.line)


def _decode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES:,} bytes: this is no configuration")
    if content.startswith(b"\xef\xbb\xbf"):
        raise ValueError("begins with a byte order mark: save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    if not text.strip():
        raise ValueError(f"is empty: start from a copy of {PRESET_FILE}")
    return text


def _priced_models(environ: Mapping[str, str] | None) -> set[str]:
    try:
        prices = load_prices(environ)
    except ConfigurationError:  # the user's own prices: another file, with a line of its own elsewhere
        prices = load_prices()
    return {*prices.prices, *prices.aliases}


def _findings(config: dict[str, Any], environ: Mapping[str, str] | None) -> list[Finding]:
    version = check_version(config)
    if version is not None:
        return [version]
    by_rule = list(check_rules(complete(config, load_preset()), _priced_models(environ)))
    reasons = {finding.path for finding in by_rule if finding.severity is Severity.ERROR}
    # A rule gives the reason that the schema cannot; a warning about a wrong value helps nobody.
    by_schema = [f for f in check_schema(config, load_schema()) if f.path not in reasons]
    faulty = reasons.union(finding.path for finding in by_schema)
    return by_schema + [f for f in by_rule if f.severity is Severity.ERROR or f.path not in faulty]
