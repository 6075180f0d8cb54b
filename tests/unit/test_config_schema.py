"""The schema, the preset and the code that reads them say the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from backlog_ops.domain.config_rules import show_path
from backlog_ops.domain.settings import Settings
from backlog_ops.storage import config_schema
from backlog_ops.storage.config_file import PRESET_FILE, SCHEMA_FILE, check, load_preset, load_schema
from backlog_ops.storage.locations import PLUGIN_ROOT

SCRIPT = PLUGIN_ROOT / "tests" / "test-config-schema.sh"


def sections(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    for member in schema["properties"].values():
        if member["type"] == "object":
            yield from sections(member)


def leaves(schema: Mapping[str, Any], base: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for key, member in schema["properties"].items():
        if member["type"] == "object":
            yield from leaves(member, (*base, key))
        else:
            yield (*base, key), member


def entries(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the objects inside lists must look like."""
    items = [member["items"] for _, member in leaves(schema) if "items" in member]
    return [item for item in items if item["type"] == "object"]


def members_of_entries(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [member for entry in entries(schema) for member in entry["properties"].values()]


class Recorder(dict[str, Any]):
    """A configuration that notes which of its values are read."""

    def __init__(self, value: Mapping[str, Any], read: set[tuple[str, ...]], base: tuple[str, ...] = ()) -> None:
        super().__init__(value)
        self.read, self.base = read, base

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, dict):
            return Recorder(value, self.read, (*self.base, key))
        self.read.add((*self.base, key))
        return value


def test_the_settings_read_every_key_of_the_schema_and_no_other() -> None:
    read: set[tuple[str, ...]] = set()
    Settings.from_json(Recorder(load_preset(), read))
    assert read | {("version",)} == {path for path, _ in leaves(load_schema())}


def test_the_defaults_of_the_schema_are_the_preset() -> None:
    def defaults(section: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: defaults(member) if member["type"] == "object" else member["default"]
            for key, member in section["properties"].items()
        }

    assert defaults(load_schema()) == load_preset()


def test_the_preset_has_no_problem() -> None:
    assert check(PRESET_FILE.read_bytes()) == []


def test_the_schema_is_valid_draft_7() -> None:
    Draft7Validator.check_schema(load_schema())


def test_no_section_accepts_unknown_keys() -> None:
    closed = [*sections(load_schema()), *entries(load_schema())]
    assert all(section["additionalProperties"] is False for section in closed)


def test_every_key_says_what_it_means() -> None:
    described = [*sections(load_schema()), *(member for _, member in leaves(load_schema()))]
    described += members_of_entries(load_schema())
    assert all(len(member["description"]) > 10 for member in described)


def test_every_number_is_bounded() -> None:
    numbers = [member for _, member in leaves(load_schema()) if member["type"] in ("integer", "number")]
    assert numbers
    assert all("maximum" in member for member in numbers)
    assert all("minimum" in member or "exclusiveMinimum" in member for member in numbers)


def test_every_keyword_of_the_schema_has_its_words() -> None:
    members = [*(member for _, member in leaves(load_schema())), *members_of_entries(load_schema())]
    used = {keyword for member in members for keyword in member}
    told = {"type", "enum", "pattern", *config_schema._DEMANDS}
    assert used - {"description", "default", "items"} <= told


# One value that breaks each kind of leaf, so that no keyword can be worded wrongly unnoticed.
BREAKING = {"string": 7, "integer": "many", "number": [], "boolean": "yes", "array": "one"}


@pytest.mark.parametrize("path", [path for path, _ in leaves(load_schema())], ids=".".join)
def test_a_value_of_the_wrong_type_is_reported_at_its_path(path: tuple[str, ...]) -> None:
    config = load_preset()
    section, member = config, load_schema()
    for key in path[:-1]:
        section, member = section[key], member["properties"][key]
    kind = member["properties"][path[-1]]["type"]
    section[path[-1]] = BREAKING["string" if isinstance(kind, list) else kind]
    (problem,) = check(json.dumps(config).encode())
    assert problem.path == show_path(path)
    assert "must be" in problem.message


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backlog.maxSlots", 0, "must be at least 1"),
        ("backlog.maxSlots", 4, "must be at most 3"),
        ("backlog.maxSlots", 2.0, "must be a whole number"),
        ("backlog.maxSlots", True, "must be a whole number"),
        ("backlog.sharedFiles", ["a", "a"], "must not name anything twice"),
        ("qualityGates.timeoutSeconds", 0, "must be more than 0"),
        ("qualityGates.testCommand", "", "must not be empty"),
        ("qualityGates.testCommand", [], "must not be empty"),
        ("qualityGates.lintCommand", {}, "must be a string or an array […]"),
        ("reviewPipeline.reviewers", [], "must not be empty"),
        ("reviewPipeline.reviewers", [{"name": name} for name in "abcdef"], "must have at most 5 entries"),
        ("backlog.mergeInto", "main", 'must be one of "base", "branch"'),
        ("project.name", "x" * 201, "must have at most 200 characters"),
        ("llmOps.routing.entryModelPlan", "haiku", 'must be one of "free", "cheap", "balanced", "frontier"'),
        ("llmOps.models.free", "--help", 'must look like "qwen3:8b"'),
        ("version", "one", 'must look like "1.0"'),
        ("llmOps", [], "must be an object {…}"),
    ],
)
def test_a_violation_says_what_is_demanded(path: str, value: object, message: str) -> None:
    config = load_preset()
    *above, last = path.split(".")
    section = config
    for key in above:
        section = section[key]
    section[last] = value
    (problem,) = check(json.dumps(config).encode())
    assert (problem.path, problem.message) == (path, message)


@pytest.mark.parametrize(
    ("reviewer", "key", "message"),
    [
        ({}, "name", 'is required and missing, for example "reviewer"'),
        ({"name": "Two words"}, "name", 'must look like "reviewer"'),
        ({"name": "one", "model": "free"}, "model", 'must be one of "cheap", "balanced", "frontier"'),
        ({"name": "one", "focus": "x" * 2001}, "focus", "must have at most 2000 characters"),
        ({"name": "one", "focuss": "tests"}, "focuss", 'unknown key; did you mean "focus"?'),
    ],
)
def test_a_violation_inside_a_list_says_where_and_what(reviewer: object, key: str, message: str) -> None:
    config = load_preset()
    config["reviewPipeline"]["reviewers"].append(reviewer)
    (problem,) = check(json.dumps(config).encode())
    assert (problem.path, problem.message) == (f"reviewPipeline.reviewers[1].{key}", message)


def run_script(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        timeout=120,
    )


def test_the_script_passes_on_this_tree() -> None:
    done = run_script()
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith(" passed, 0 failed")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (PRESET_FILE, '"entryModelPlan": "free",', ""),
        (PRESET_FILE, '"entryModelPlan": "free"', '"entryModelPlan": "cheap"'),
        (PRESET_FILE, '"confidenceThreshold": 80', '"confidenceThreshold": 70'),
        (SCHEMA_FILE, '"additionalProperties": false', '"additionalProperties": true'),
        (SCHEMA_FILE, "entryModelPlan", "entryModelPlanning"),
        (SCHEMA_FILE, "{", ""),
    ],
)
def test_the_script_fails_on_a_damaged_tree(tmp_path: Path, file: Path, old: str, new: str) -> None:
    shutil.copytree(PLUGIN_ROOT / "config", tmp_path / "config")
    damaged = tmp_path / file.relative_to(PLUGIN_ROOT)
    text = damaged.read_text(encoding="utf-8")
    assert old in text
    damaged.write_text(text.replace(old, new, 1), encoding="utf-8")
    done = run_script(tmp_path)
    assert done.returncode == 1
    assert not done.stdout.splitlines()[-1].endswith(" 0 failed")
