"""`validate_config.py` as people and CI start it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backlog_ops.storage.locations import PLUGIN_ROOT

SCRIPT = PLUGIN_ROOT / "scripts" / "ops" / "validate_config.py"
PRESET = PLUGIN_ROOT / "config" / "presets" / "default.json"
INVALID = """{
  "version": "1.0",
  "qualityGates": {"testCommand": "make test"},
  "llmOps": {"routing": {"entryModelReviw": "balanced"}}
}
"""
WARNED = INVALID.replace('"entryModelReviw": "balanced"', '"entryModelReview": "cheap"')
UNKNOWN_KEY = 'llmOps.routing.entryModelReviw: unknown key; did you mean "entryModelReview"?'


def validate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backlog.config.json"


def test_the_preset_is_ok(tmp_path: Path) -> None:
    done = validate(tmp_path, str(PRESET))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{PRESET}: ok\n", "")


def test_an_invalid_file_ends_with_3_and_its_problems_on_stderr(tmp_path: Path, file: Path) -> None:
    file.write_text(INVALID)
    done = validate(tmp_path, file.name)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"backlog.config.json:4: {UNKNOWN_KEY}\n"


def test_without_a_file_the_one_of_the_repository_is_checked(tmp_path: Path, file: Path) -> None:
    file.write_text(INVALID)
    (tmp_path / ".git").mkdir()
    below = tmp_path / "src"
    below.mkdir()
    done = validate(below)
    assert done.returncode == 3
    assert done.stderr.startswith("../backlog.config.json:4: ")


def test_a_warning_is_shown_and_the_file_is_ok(tmp_path: Path, file: Path) -> None:
    file.write_text(WARNED)
    done = validate(tmp_path)
    assert (done.returncode, done.stdout) == (0, "backlog.config.json: ok\n")
    assert done.stderr.startswith("backlog.config.json:4: llmOps.routing.entryModelReview: warning: ")


def test_json_has_every_problem_as_data(tmp_path: Path, file: Path) -> None:
    file.write_text(INVALID)
    done = validate(tmp_path, "--format", "json")
    path, _, message = UNKNOWN_KEY.partition(": ")
    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "file": "backlog.config.json",
        "valid": False,
        "problems": [{"severity": "error", "path": path, "line": 4, "message": message}],
    }


def test_github_gets_one_annotation_a_problem(tmp_path: Path, file: Path) -> None:
    file.write_text(INVALID)
    done = validate(tmp_path, "--format", "github")
    assert done.returncode == 3
    assert done.stdout == f"::error file=backlog.config.json,line=4::{UNKNOWN_KEY}\n"


def test_a_file_cannot_smuggle_a_workflow_command(tmp_path: Path) -> None:
    file = tmp_path / "a,b%0A.json"
    file.write_text('{"x\\n::set-output name=a::b": 1, "version": "1.0", "qualityGates": {"testCommand": "t"}}')
    done = validate(tmp_path, file.name, "--format", "github")
    (line,) = done.stdout.splitlines()
    assert line.startswith("::error file=a%2Cb%250A.json,line=1::")


def test_no_configuration_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    done = validate(tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "there is no configuration: `backlog-ops init`" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["nowhere.json"], ["."], ["--format", "xml"], ["--unknown"]])
def test_wrong_usage_ends_with_2(tmp_path: Path, arguments: list[str]) -> None:
    done = validate(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_help_has_an_example(tmp_path: Path) -> None:
    done = validate(tmp_path, "--help")
    assert done.returncode == 0
    assert "example: validate_config.py" in done.stdout


def test_a_valid_file_is_remembered_for_the_other_commands(tmp_path: Path, file: Path) -> None:
    file.write_bytes(PRESET.read_bytes())
    validate(tmp_path)
    assert len(list((tmp_path / "cache" / "backlog-ops" / "valid-config").iterdir())) == 1


def test_the_script_parses_on_python_3_6_so_that_it_can_say_what_is_missing() -> None:
    ast.parse(SCRIPT.read_bytes(), feature_version=(3, 6))
