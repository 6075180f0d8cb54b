"""Settings of the host that take a tier's model from it, judged by the version of Claude Code that reads them."""

from __future__ import annotations

from typing import Any

import pytest

from backlog_ops.domain.health import Level
from backlog_ops.domain.host import Place, overrides, parse_version

OLD, NEW = (2, 1, 197), (2, 1, 330)


def levels(env: dict[str, str], version: tuple[int, int, int] | None = NEW, **settings: Any) -> dict[str, str]:
    """subject → level of what is said about one place."""
    found = overrides([Place("the environment", env, settings)], version)
    return {diagnosis.subject: diagnosis.level.value for diagnosis in found}


@pytest.mark.parametrize(
    ("said", "version"),
    [("2.1.330 (Claude Code)\n", (2, 1, 330)), ("v10.0.1-beta", (10, 0, 1)), ("Claude Code", None), ("", None)],
)
def test_a_version_is_read_from_what_the_program_says(said, version):
    assert parse_version(said) == version


def test_a_plain_environment_has_nothing_against_a_run():
    assert levels({"PATH": "/usr/bin", "CLAUDE_CODE_ENTRYPOINT": "cli"}) == {}


@pytest.mark.parametrize(
    ("version", "level"), [(OLD, "error"), ((2, 1, 329), "error"), (NEW, "note"), (None, "warning")]
)
def test_one_model_for_all_sub_agents_matters_to_hosts_where_it_wins_over_the_call(version, level):
    assert levels({"CLAUDE_CODE_SUBAGENT_MODEL": "opus"}, version) == {"CLAUDE_CODE_SUBAGENT_MODEL": level}


@pytest.mark.parametrize("value", ["", "inherit", "  "])
def test_a_value_that_names_no_model_is_none(value):
    assert levels({"CLAUDE_CODE_SUBAGENT_MODEL": value}, OLD) == {}


def test_forcing_that_model_is_an_error_on_every_host():
    env = {"CLAUDE_CODE_SUBAGENT_MODEL": "opus", "CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "1"}
    assert levels(env)["CLAUDE_CODE_SUBAGENT_MODEL_FORCE"] == "error"


def test_forcing_counts_where_the_model_is_named_in_another_place():
    places = [
        Place("the environment", {"CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "true"}),
        Place("settings.json", {"CLAUDE_CODE_SUBAGENT_MODEL": "opus"}),
    ]
    assert next(overrides(places, NEW)).level is Level.ERROR


def test_forcing_without_a_model_is_a_warning():
    assert levels({"CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "1"}) == {"CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "warning"}


@pytest.mark.parametrize("value", ["0", "false", "", "off"])
def test_a_switch_that_is_off_is_not_set(value):
    names = ("CLAUDE_CODE_SUBAGENT_MODEL_FORCE", "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "CLAUDE_CODE_FORK_SUBAGENT")
    assert levels(dict.fromkeys(names, value)) == {}


@pytest.mark.parametrize("name", ["CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "CLAUDE_CODE_FORK_SUBAGENT"])
def test_where_sub_agents_run_is_a_note(name):
    assert levels({name: "1"}) == {name: "note"}


def test_an_alias_that_means_another_model_is_a_warning_that_names_it():
    (found,) = overrides([Place("settings.json", {"ANTHROPIC_DEFAULT_HAIKU_MODEL": "other-1"})], NEW)
    assert str(found) == 'ANTHROPIC_DEFAULT_HAIKU_MODEL: set in settings.json: haiku means "other-1" here; take it out'


@pytest.mark.parametrize("name", ["ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME", "ANTHROPIC_MODEL"])
def test_names_that_only_look_like_it_are_not_meant(name):
    assert levels({name: "x"}) == {}


def test_hooks_that_are_switched_off_are_a_warning():
    assert levels({}, disableAllHooks=True) == {"disableAllHooks": "warning"}
    assert levels({}, disableAllHooks=False) == {}


@pytest.mark.parametrize(
    ("allowed", "missing"),
    [(["opus"], "haiku and sonnet"), (["opus", "claude-sonnet-5-5"], "haiku"), ([], "haiku and sonnet")],
)
def test_a_list_of_models_without_those_of_the_tiers_is_a_warning_that_names_them(allowed, missing):
    (found,) = overrides([Place("settings.json", {}, {"availableModels": allowed})], NEW)
    assert (found.level, found.remedy) == (Level.WARNING, f"add {missing}")


@pytest.mark.parametrize("allowed", [["haiku", "sonnet"], ["claude-haiku-5-5", "Sonnet"], "haiku", None])
def test_a_list_with_them_or_none_at_all_is_fine(allowed):
    assert levels({}, availableModels=allowed) == {}
