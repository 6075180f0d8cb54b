"""Reading `backlog.config.json`: find it, check it, fill in defaults, hand out `Settings`.

Every command starts here, so the checker and jsonschema (63 ms to import) are loaded only for a file that is
not known: what was found valid once, with the same schema, preset and plugin version, is not checked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backlog_ops import __version__
from backlog_ops.domain.pricing import PriceTable
from backlog_ops.domain.settings import Settings
from backlog_ops.errors import ConfigurationError, UsageError
from backlog_ops.storage.locations import CONFIG_FILE_NAME, PLUGIN_ROOT, cache_folder, find_repository, state_base

if TYPE_CHECKING:
    from backlog_ops.storage.config_check import ConfigProblem

SCHEMA_FILE = PLUGIN_ROOT / "config" / "backlog.config.schema.json"
PRESET_FILE = PLUGIN_ROOT / "config" / "presets" / "default.json"
MODELS_FILE = PLUGIN_ROOT / "config" / "models.json"
MAX_BYTES = 1_000_000


def load_settings(
    environ: Mapping[str, str], start: Path, explicit: Path | None = None, cache: bool = True
) -> Settings:
    """The settings that hold in `start`: from `explicit`, else from the file at the top of its repository
    (or in `start` itself, outside any), else the preset's.

    Raises UsageError when `explicit` cannot be read, ConfigurationError when the file is invalid.
    """
    file = explicit or config_path(start)
    if explicit is None and not file.exists():
        return Settings.from_json(load_preset())
    return _read_settings(environ, file, explicit is not None, cache)


def require_settings(environ: Mapping[str, str], repository: Path) -> Settings:
    """Like `load_settings` for the top folder of a repository, but without a file there is no guessing."""
    file = repository / CONFIG_FILE_NAME
    if not file.exists():
        raise no_configuration(file)
    return _read_settings(environ, file, named_by_user=False, cache=True)


def config_path(start: Path) -> Path:
    """Where the configuration that holds in `start` is, or would be."""
    repository = find_repository(start)
    return (repository[0] if repository else start) / CONFIG_FILE_NAME


def no_configuration(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{file}: there is no configuration: `backlog-ops init` (in Claude Code /backlog:init) writes one"
    )


def read_config(file: Path) -> bytes:
    """The bytes of `file`, cut just past the limit, so that a huge one costs nothing. Raises OSError."""
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


def load_prices(environ: Mapping[str, str] | None = None) -> PriceTable:
    """The plugin's own table, and over it what the user of `environ` has added to it (docs/prices.md).

    Raises ConfigurationError where the user's file cannot be read: prices are not guessed at.
    """
    table = PriceTable.from_json(json.loads(MODELS_FILE.read_bytes()))
    own = load_own_prices(environ) if environ is not None else None
    return table if own is None or own.date < table.date else table.overlaid_by(own)


def own_prices_file(environ: Mapping[str, str]) -> Path:
    return state_base(environ) / MODELS_FILE.name


def load_own_prices(environ: Mapping[str, str]) -> PriceTable | None:
    """What `backlog-ops prices update` has written; None where there is nothing. Raises ConfigurationError."""
    file = own_prices_file(environ)
    try:
        return PriceTable.from_json(json.loads(read_config(file)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror or error}; make it readable") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        remedy = "remove it, and `backlog-ops prices update --from F` writes it anew"
        raise ConfigurationError(f"{file}: this is no price table; {remedy}") from error


def load_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_bytes())
    return schema


def load_preset() -> dict[str, Any]:
    preset: dict[str, Any] = json.loads(PRESET_FILE.read_bytes())
    return preset


def complete(config: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with what it leaves out taken from `preset`: objects merge, anything else replaces."""
    merged = {**preset, **config}
    for key, default in preset.items():
        if isinstance(default, dict) and isinstance(config.get(key), dict):
            merged[key] = complete(config[key], default)
    return merged


def check(
    content: bytes, file: str = CONFIG_FILE_NAME, environ: Mapping[str, str] | None = None
) -> list[ConfigProblem]:
    """Every problem of the configuration `content`, in the order of its lines; `file` is its name in them, and
    `environ` leads to the prices that its user has added.

    Raises ConfigurationError when jsonschema is not installed.
    """
    try:
        from backlog_ops.storage.config_check import check_config
    except ImportError as error:
        raise ConfigurationError(
            f"{file}: cannot be checked without the Python package jsonschema: install it, or run "
            f"{PLUGIN_ROOT / 'scripts' / 'ops' / 'validate_config.py'} once, which brings its own"
        ) from error
    return check_config(content, file, environ)


def remember_valid(environ: Mapping[str, str], content: bytes) -> None:
    """Note that `check` found no error in `content`; a cache that cannot be written is no cache."""
    note = _verdict_file(environ, content)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError:
        pass


def _read_settings(environ: Mapping[str, str], file: Path, named_by_user: bool, cache: bool) -> Settings:
    try:
        content = read_config(file)
    except OSError as error:
        message = f"{file}: cannot be read: {error.strerror or error}"
        raise (UsageError if named_by_user else ConfigurationError)(message) from error
    if not (cache and os.path.exists(_verdict_file(environ, content))):  # unlike Path.exists() it never raises
        errors = [str(problem) for problem in check(content, str(file)) if problem.is_error]
        if errors:
            raise ConfigurationError(f"{file}: the configuration is invalid", errors)
        if cache:
            remember_valid(environ, content)
    return Settings.from_json(complete(json.loads(content), load_preset()))


def _verdict_file(environ: Mapping[str, str], content: bytes) -> Path:
    digest = hashlib.sha256()
    for part in (content, SCHEMA_FILE.read_bytes(), PRESET_FILE.read_bytes(), __version__.encode()):
        digest.update(hashlib.sha256(part).digest())
    return cache_folder(environ) / "valid-config" / digest.hexdigest()
