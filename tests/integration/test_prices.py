"""`backlog-ops prices`, `prices update`, and what the other commands make of the user's own table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.health import Level
from backlog_ops.run.doctor.place import Place
from backlog_ops.run.doctor.price_age import price_age
from backlog_ops.storage.config_file import MODELS_FILE, load_prices
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import NO_CLAUDE, Lab
from tests.support.price_maps import MAP, entries_of, own_prices, write_map

TODAY = datetime.now(timezone.utc).date().isoformat()
OPUS = "claude-opus-5-5"


def cli(folder: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`backlog-ops ARGS` in a folder that is no repository."""
    return subprocess.run(
        [sys.executable, "-m", "backlog_ops", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PLUGIN_ROOT / "scripts" / "ops"), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def entries() -> dict[str, Any]:
    """A map that agrees with the plugin's table but for one new price."""
    entries = entries_of(load_prices(), TODAY)
    entries[OPUS].update(input_cost_per_token=3e-06, input_cost_per_token_batches=1.5e-06)
    return entries


@pytest.fixture
def map_file(tmp_path, entries) -> str:
    return str(write_map(tmp_path / "map.json", entries))


@pytest.fixture
def own_file(own_environment) -> Path:
    return own_environment / ".local" / "state" / "backlog-ops" / "models.json"


def price_in_force(folder: Path, model: str = OPUS) -> float:
    table = json.loads(cli(folder, "prices", "--format", "json").stdout)
    (found,) = [entry for entry in table["models"] if entry["id"] == model]
    price: float = found["prices"][-1]["input"]
    return price


# -- the table


def test_prices_shows_each_model_in_its_columns(tmp_path) -> None:
    lines = cli(tmp_path, "prices").stdout.splitlines()
    assert lines[0].split("  ")[0] == "model"
    haiku = next(number for number, line in enumerate(lines) if line.startswith("claude-haiku-5-5 "))
    numbers = ["0.10", "0.125", "0.20", "0.01", "0.50", "×", "0.50"]
    assert lines[haiku].split() == ["claude-haiku-5-5", "cheap", "2026-10-07", *numbers]
    assert lines[haiku + 1].split()[:5] == [">", "100,000", "tokens", "0.50", "0.625"]


def test_prices_tells_its_date_its_file_and_what_it_leaves_out(tmp_path) -> None:
    said = cli(tmp_path, "prices").stdout
    assert f"table of {load_prices().date}, " in said
    assert f"file: {MODELS_FILE}" in said
    assert "not covered: fast mode of Opus" in said


def test_prices_as_json_has_every_dated_price_and_its_source(tmp_path) -> None:
    table = json.loads(cli(tmp_path, "prices", "--format", "json").stdout)
    assert (table["date"], table["unit"]) == (load_prices().date, "US dollars per million tokens")
    (sonnet,) = [entry for entry in table["models"] if entry["id"] == "claude-sonnet-5-5"]
    assert [(price["since"], price["cacheRead"]) for price in sonnet["prices"]] == [
        ("2026-09-28", 0.2),
        ("2026-10-07", 0.1),
    ]
    assert all(price["source"].startswith("https://") for price in sonnet["prices"])


# -- updating


def test_an_update_is_in_force_at_once_and_leaves_the_plugin_alone(tmp_path, map_file, own_file) -> None:
    before = MODELS_FILE.read_bytes()
    done = cli(tmp_path, "prices", "update", "--from", map_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"changed: {OPUS} from {TODAY} on: input $4.00 → $3.00" in done.stdout.splitlines()
    assert f"wrote {own_file}: prices checked on {TODAY}" in done.stdout.splitlines()
    assert price_in_force(tmp_path) == 3
    assert MODELS_FILE.read_bytes() == before


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path, map_file, own_file) -> None:
    done = cli(tmp_path, "prices", "update", "--from", map_file, "--dry-run")
    assert f"changed: {OPUS} from {TODAY} on: input $4.00 → $3.00" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "nothing was written: this was --dry-run"
    assert not own_file.exists()


def test_an_update_as_json_tells_what_it_did(tmp_path, map_file, own_file) -> None:
    said = json.loads(cli(tmp_path, "prices", "update", "--from", map_file, "--format", "json").stdout)
    assert (said["written"], said["date"], said["source"]) == (str(own_file), TODAY, "map.json")
    assert [(change["id"], change["was"]["input"], change["is"]["input"]) for change in said["changed"]] == [
        (OPUS, 4, 3)
    ]


def test_what_is_refused_is_named_and_the_rest_is_taken(tmp_path, entries) -> None:
    entries["claude-haiku-5-5"]["output_cost_per_token"] = "free"
    done = cli(tmp_path, "prices", "update", "--from", str(write_map(tmp_path / "map.json", entries)))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f'backlog-ops: refused: {tmp_path}/map.json: claude-haiku-5-5: output_cost_per_token is ""free"", not a number'
    ]
    assert (price_in_force(tmp_path), price_in_force(tmp_path, "claude-haiku-5-5")) == (3, 0.1)


def test_where_all_is_refused_nothing_is_written(tmp_path, entries, own_file) -> None:
    del entries[OPUS]["litellm_provider"]
    for model in load_prices().prices:
        entries[model].pop("output_cost_per_token")
    done = cli(tmp_path, "prices", "update", "--from", str(write_map(tmp_path / "map.json", entries)))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "nothing was written")
    assert not own_file.exists()


def test_a_package_is_found_for_the_python_on_the_path_and_not_imported(tmp_path, entries) -> None:
    site = tmp_path / "site"
    package = site / "litellm"
    package.mkdir(parents=True)
    (site / "litellm-9.9.9.dist-info").mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    write_map(package / MAP, entries)
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    done = cli(tmp_path, "prices", "update", "--from", "litellm", PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_prices(os.environ).source == "litellm 9.9.9"
    assert price_in_force(tmp_path) == 3


def test_a_wheel_will_do(tmp_path, entries) -> None:
    wheel = tmp_path / "litellm-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"litellm/{MAP}", json.dumps(entries))
    assert cli(tmp_path, "prices", "update", "--from", wheel.name).returncode == 0
    assert price_in_force(tmp_path) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["update"], "`prices update` needs --from F: "),
        (["--from", "map.json"], "--from, --dry-run and --accept belong to `backlog-ops prices update`"),
        (["update", "--from", "no/such"], '"no/such": there is no such file'),
        (["update", "--from", "nosuchpackage"], "nosuchpackage: there is no such file, and no such package"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, words: list[str], said: str) -> None:
    done = cli(tmp_path, "prices", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"backlog-ops: {said}") and done.stderr.count("\n") == 1


def test_a_state_folder_that_cannot_be_written_is_one_line(tmp_path, map_file) -> None:
    (tmp_path / "state").write_text("a file")
    done = cli(tmp_path, "prices", "update", "--from", map_file, XDG_STATE_HOME=str(tmp_path / "state"))
    assert done.returncode == 1
    assert done.stderr.startswith("backlog-ops: ") and done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


# -- what other commands make of it


@pytest.fixture
def damaged(own_file) -> Path:
    own_file.parent.mkdir(parents=True)
    own_file.write_text("{")
    return own_file


def test_a_damaged_table_of_the_user_is_named_and_not_passed_over(tmp_path, damaged) -> None:
    done = cli(tmp_path, "prices")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"backlog-ops: {damaged}: this is no price table; remove it, and ")


def test_the_doctor_names_a_damaged_table(tmp_path, damaged) -> None:
    (found,) = price_age(Place(tmp_path, os.environ))
    assert (found.level, found.subject, found.message) == (
        Level.ERROR,
        "prices",
        f"{damaged}: this is no price table",
    )


def test_the_doctor_warns_of_old_prices(tmp_path) -> None:
    (found,) = price_age(Place(tmp_path, os.environ), "2031-01-01")
    assert (found.level, found.remedy) == (Level.WARNING, "`backlog-ops prices update --from F` renews them")


def test_the_doctor_says_nothing_of_young_prices(tmp_path) -> None:
    own_prices(TODAY)
    assert list(price_age(Place(tmp_path, os.environ))) == []


def test_a_model_that_an_update_brought_may_stand_in_a_configuration(tmp_path) -> None:
    config = {"llmOps": {"models": {"frontier": "claude-opus-6"}}}
    lab = Lab.make(tmp_path / "repo", {}, config)
    assert "no price is known" in lab.cli("validate", "config").stdout
    rates = dict.fromkeys(("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output"), 1)
    own_prices(TODAY, {"claude-opus-6": {"prices": [{"since": TODAY, **rates}]}})
    assert lab.cli("validate", "config").stdout == "ok\n"


def test_a_receipt_is_made_with_the_users_own_prices(tmp_path) -> None:
    """The engine's context and `llm_call` read the same table."""
    own_prices(TODAY)
    lab = Lab.make(tmp_path / "repo", {})
    code = "from backlog_ops.cli.opening import open_context; print(open_context().prices.date)"
    environ = {**os.environ, **NO_CLAUDE, "PYTHONPATH": str(PLUGIN_ROOT / "scripts" / "ops")}
    said = subprocess.run([sys.executable, "-c", code], cwd=lab.top, env=environ, capture_output=True, check=True)
    assert said.stdout.decode().strip() == TODAY
