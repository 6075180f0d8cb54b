"""Finding, checking, remembering and completing a configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.settings import Settings
from backlog_ops.errors import ConfigurationError, UsageError
from backlog_ops.storage import config_file
from backlog_ops.storage.config_check import ConfigProblem
from backlog_ops.storage.config_file import (
    check,
    complete,
    load_preset,
    load_settings,
    require_settings,
)
from backlog_ops.storage.locations import CONFIG_FILE_NAME, PLUGIN_ROOT

SMALLEST = {"version": "1.0", "qualityGates": {"testCommand": "pytest -q"}}
KEYS = st.text("ab", min_size=1, max_size=2)
OBJECTS = st.recursive(
    st.dictionaries(KEYS, st.integers() | st.lists(st.integers())), lambda o: st.dictionaries(KEYS, o)
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def write(folder: Path, config: Any) -> Path:
    file = folder / CONFIG_FILE_NAME
    file.write_text(config if isinstance(config, str) else json.dumps(config, indent=2), encoding="utf-8")
    return file


def problems(config: Any) -> list[str]:
    return [str(problem) for problem in check(json.dumps(config, indent=2).encode())]


def test_without_a_file_the_preset_holds(environ: dict[str, str], repository: Path) -> None:
    assert load_settings(environ, repository) == Settings.from_json(load_preset())


def test_a_run_needs_a_file_and_the_error_says_how_to_make_one(environ: dict[str, str], repository: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no configuration: `backlog-ops init`"):
        require_settings(environ, repository)


def test_what_a_file_leaves_out_comes_from_the_preset(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST | {"llmOps": {"routing": {"entryModelImplement": "balanced"}}})
    settings = require_settings(environ, repository)
    assert settings.quality_gates.test == ("pytest", "-q")
    assert settings.llm_ops.routing.entry[Gate.IMPLEMENT] is Tier.BALANCED
    assert settings.llm_ops.routing.entry[Gate.REVIEW] is Tier.BALANCED
    assert settings.backlog.data_dir == "tickets"


def test_a_list_in_the_file_replaces_the_list_of_the_preset(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST | {"backlog": {"sharedFiles": ["VERSION"]}})
    assert load_settings(environ, repository).backlog.shared_files == ("VERSION",)


@given(OBJECTS, OBJECTS)
def test_completing_keeps_every_value_of_the_user(user: dict[str, Any], preset: dict[str, Any]) -> None:
    def kept(mine: Any, merged: Any) -> bool:
        if isinstance(mine, dict):
            return isinstance(merged, dict) and all(kept(value, merged[key]) for key, value in mine.items())
        return bool(mine == merged)

    merged = complete(user, preset)
    assert kept(user, merged)
    assert merged.keys() == user.keys() | preset.keys()


def test_the_file_at_the_top_of_the_repository_holds_in_its_folders(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST)
    (repository / "src" / "deep").mkdir(parents=True)
    assert load_settings(environ, repository / "src" / "deep").quality_gates.test == ("pytest", "-q")


def test_a_file_named_by_the_caller_wins(environ: dict[str, str], repository: Path, tmp_path: Path) -> None:
    write(repository, SMALLEST)
    other = write(tmp_path, SMALLEST | {"qualityGates": {"testCommand": "make check"}})
    assert load_settings(environ, repository, other).quality_gates.test == ("make", "check")


def test_a_named_file_that_cannot_be_read_is_wrong_usage(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.json: cannot be read"):
        load_settings(environ, tmp_path, tmp_path / "nowhere.json")


def test_a_folder_in_place_of_the_file_is_one_clear_error(environ: dict[str, str], repository: Path) -> None:
    (repository / CONFIG_FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(environ, repository)


def test_an_invalid_file_is_refused_with_every_problem(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST | {"project": {"nme": "x"}, "llmOps": {"routing": {"entryModelReview": "free"}}})
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, repository)
    assert [line.split(": ")[1] for line in caught.value.details] == [
        "project.nme",
        "llmOps.routing.entryModelReview",
    ]


def test_a_warning_does_not_refuse_a_file(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST | {"llmOps": {"routing": {"entryModelReview": "cheap"}}})
    assert load_settings(environ, repository).llm_ops.routing.entry[Gate.REVIEW] is Tier.CHEAP


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    done: list[bytes] = []
    original = config_file.check

    def counted(content: bytes, file: str = CONFIG_FILE_NAME) -> list[ConfigProblem]:
        done.append(content)
        return original(content, file)

    monkeypatch.setattr(config_file, "check", counted)
    yield done


def test_a_valid_file_is_checked_once(environ: dict[str, str], repository: Path, checks: list[bytes]) -> None:
    write(repository, SMALLEST)
    assert load_settings(environ, repository) == load_settings(environ, repository)
    assert len(checks) == 1


def test_a_changed_file_is_checked_again(environ: dict[str, str], repository: Path, checks: list[bytes]) -> None:
    write(repository, SMALLEST)
    load_settings(environ, repository)
    write(repository, SMALLEST | {"unknown": 1})
    with pytest.raises(ConfigurationError):
        load_settings(environ, repository)


def test_an_invalid_file_is_never_remembered(environ: dict[str, str], repository: Path, checks: list[bytes]) -> None:
    write(repository, {})
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            load_settings(environ, repository)
    assert len(checks) == 2


def test_a_new_schema_checks_a_known_file_again(
    environ: dict[str, str],
    repository: Path,
    tmp_path: Path,
    checks: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(repository, SMALLEST)
    load_settings(environ, repository)
    newer = tmp_path / "schema.json"
    newer.write_bytes(config_file.SCHEMA_FILE.read_bytes() + b"\n")
    monkeypatch.setattr(config_file, "SCHEMA_FILE", newer)
    load_settings(environ, repository)
    assert len(checks) == 2


def test_without_the_cache_nothing_is_remembered(environ: dict[str, str], repository: Path, tmp_path: Path) -> None:
    write(repository, SMALLEST)
    load_settings(environ, repository, cache=False)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_breaks_nothing(repository: Path, tmp_path: Path) -> None:
    write(repository, SMALLEST)
    blocked = tmp_path / "file"
    blocked.touch()
    environ = {"HOME": str(blocked), "XDG_CACHE_HOME": str(blocked)}
    assert load_settings(environ, repository).quality_gates.test == ("pytest", "-q")


def test_a_cache_that_cannot_be_read_breaks_nothing(environ: dict[str, str], repository: Path, tmp_path: Path) -> None:
    write(repository, SMALLEST)
    load_settings(environ, repository)
    folder = tmp_path / "cache" / "backlog-ops"
    (folder / "valid-config").rename(folder / "moved")
    (folder / "valid-config").symlink_to("valid-config")  # a loop: every look at it is an OSError, for root too
    assert load_settings(environ, repository).quality_gates.test == ("pytest", "-q")


def loads_without_jsonschema(environ: dict[str, str], repository: Path) -> subprocess.CompletedProcess[str]:
    program = """
import sys, pathlib
sys.modules["jsonschema"] = None  # as if it were not installed
sys.path[:0] = sys.argv[1:2]
from backlog_ops.errors import ConfigurationError
from backlog_ops.storage.config_file import load_settings
import os
try:
    print(load_settings(os.environ, pathlib.Path(sys.argv[2])).quality_gates.test)
except ConfigurationError as error:
    sys.exit(error.message)
"""
    library = str(PLUGIN_ROOT / "scripts" / "ops")
    arguments = [sys.executable, "-c", program, library, str(repository)]
    return subprocess.run(arguments, env=environ, capture_output=True, text=True, check=False, timeout=60)


def test_a_known_file_needs_no_jsonschema(environ: dict[str, str], repository: Path) -> None:
    write(repository, SMALLEST)
    load_settings(environ, repository)
    done = loads_without_jsonschema(environ, repository)
    assert (done.returncode, done.stdout) == (0, "('pytest', '-q')\n"), done.stderr


def test_an_unknown_file_without_jsonschema_is_an_error_with_the_remedy(
    environ: dict[str, str], repository: Path
) -> None:
    write(repository, SMALLEST)
    done = loads_without_jsonschema(environ, repository)
    assert done.returncode == 1
    assert "without the Python package jsonschema" in done.stderr and "validate_config.py" in done.stderr


def test_every_problem_is_reported_at_once_in_the_order_of_the_lines() -> None:
    found = problems(
        {
            "version": "1.0",
            "qualityGates": {"testCommand": "a && b", "lintComand": ""},
            "backlog": {"maxSlots": 9},
            "llmOps": {"routing": {"entryModelReviw": "balanced", "entryModelImplement": "free"}},
        }
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["backlog.config.json:4", "qualityGates.testCommand"],
        ["backlog.config.json:5", "qualityGates.lintComand"],
        ["backlog.config.json:8", "backlog.maxSlots"],
        ["backlog.config.json:12", "llmOps.routing.entryModelReviw"],
        ["backlog.config.json:13", "llmOps.routing.entryModelImplement"],
    ]


def test_an_unknown_key_suggests_the_one_that_was_meant() -> None:
    assert problems(SMALLEST | {"llmOps": {"routing": {"entryModelReviw": "balanced"}}}) == [
        'backlog.config.json:8: llmOps.routing.entryModelReviw: unknown key; did you mean "entryModelReview"?'
    ]


def test_a_key_in_the_wrong_section_suggests_the_right_one() -> None:
    (found,) = problems(SMALLEST | {"maxSlots": 2})
    assert found.endswith("maxSlots: unknown key; did you mean backlog.maxSlots?")


def test_a_key_that_resembles_nothing_is_only_unknown() -> None:
    (found,) = problems(SMALLEST | {"zzz": 1})
    assert found.endswith("zzz: unknown key")


def test_what_is_required_is_said_once_with_an_example() -> None:
    assert problems({}) == [
        'backlog.config.json:1: version: is required and missing, for example "1.0"',
        'backlog.config.json:1: qualityGates.testCommand: is required and missing, for example "make test"',
    ]


def test_a_key_written_twice_is_an_error() -> None:
    (found,) = check(b'{"version": "1.0",\n"qualityGates": {"testCommand": "a",\n"testCommand": "b"}}')
    assert str(found) == "backlog.config.json:3: qualityGates.testCommand: is written twice; keep one"


def test_of_a_newer_version_nothing_else_is_judged() -> None:
    (found,) = problems({"version": "2.0", "brandNew": {}})
    assert "update the plugin" in found


def test_a_wrong_value_that_a_rule_warns_about_stays_an_error() -> None:
    (found,) = check(json.dumps(SMALLEST | {"llmOps": {"models": {"cheap": "--help"}}}).encode())
    assert found.is_error


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": "é"}'.encode("latin-1"), "is not UTF-8 (byte 7)"),
        ("{}".encode("utf-16"), "is not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b" " * 1_000_001, "is larger than 1,000,000 bytes"),
        (b'{"a": 1,}', "not valid JSON at column 8"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_clear_line(content: bytes, part: str) -> None:
    (found,) = check(content)
    assert part in str(found)
    assert "\n" not in str(found)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from(["free", "a && b", "/x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*load_preset(), "a\nb"]), inner),
    max_leaves=12,
)


@given(ANY_JSON)
def test_any_json_is_answered_with_lines_of_the_file(value: Any) -> None:
    text = json.dumps(value, indent=1)
    for problem in check(text.encode()):
        assert 1 <= problem.line <= text.count("\n") + 1
        assert "\n" not in str(problem)


def test_a_section_of_the_wrong_type_is_reported_as_that_alone() -> None:
    (found,) = problems({"version": "1.0", "qualityGates": None})
    assert found.endswith("qualityGates: must be an object {…}")
