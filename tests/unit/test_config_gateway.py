"""The LiteLLM proxy's configuration offers the four tiers, in keys that the proxy reads (LiteLLM 1.106)."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from backlog_ops.domain.gates import Tier
from backlog_ops.storage.config_file import load_preset
from backlog_ops.storage.locations import PLUGIN_ROOT

FILE = PLUGIN_ROOT / "config" / "litellm" / "proxy-config.docker.yaml"

# The proxy only logs keys that it does not know, so a typing error would silently switch a setting off.
KNOWN_KEYS = {
    "": {"model_list", "router_settings", "litellm_settings", "general_settings"},
    "model_list": {"model_name", "litellm_params", "model_info"},
    "litellm_params": {"model", "api_base", "api_key", "timeout", "num_retries"},
    "model_info": {"id"},
    "router_settings": {"fallbacks", "num_retries", "allowed_fails", "cooldown_time", "timeout"},
    "litellm_settings": {"drop_params"},
    "general_settings": {"master_key"},
}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return loaded


def deployments(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["model_name"]: entry["litellm_params"] for entry in config["model_list"]}


def test_the_aliases_are_the_tiers(config: dict[str, Any]) -> None:
    assert list(deployments(config)) == [tier.value for tier in Tier]


def test_the_models_are_those_of_the_preset(config: dict[str, Any]) -> None:
    models = load_preset()["llmOps"]["models"]
    assert {alias: params["model"].split("/", 1)[1] for alias, params in deployments(config).items()} == models
    assert deployments(config)["free"]["model"].startswith("ollama_chat/")


def test_the_fallbacks_are_the_chain_of_llm_call(config: dict[str, Any]) -> None:
    assert config["router_settings"]["fallbacks"] == [
        {"free": ["cheap", "balanced"]},
        {"cheap": ["balanced"]},
    ]


def test_the_fallback_line_is_written_as_the_plan_greps_for_it() -> None:
    lines = [line.strip() for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert lines[lines.index("fallbacks:") + 1] == "- free: [cheap, balanced]"


def test_nothing_is_retried_by_the_proxy(config: dict[str, Any]) -> None:
    assert config["router_settings"]["num_retries"] == 0
    assert deployments(config)["free"]["num_retries"] == 0


def test_the_local_attempt_leaves_time_for_its_fallback(config: dict[str, Any]) -> None:
    assert deployments(config)["free"]["timeout"] < load_preset()["llmOps"]["timeouts"]["callSeconds"]


def test_keys_come_from_the_environment_only(config: dict[str, Any]) -> None:
    keys = [params.get("api_key") for alias, params in deployments(config).items() if alias != "free"]
    assert all(key == "os.environ/ANTHROPIC_API_KEY" for key in keys)
    assert config["general_settings"]["master_key"] == "os.environ/LITELLM_MASTER_KEY"
    assert "sk-" not in FILE.read_text(encoding="utf-8")


def test_every_key_is_one_the_proxy_reads(config: dict[str, Any]) -> None:
    assert config.keys() == KNOWN_KEYS[""]
    for section in ("router_settings", "litellm_settings", "general_settings"):
        assert config[section].keys() <= KNOWN_KEYS[section]
    for entry in config["model_list"]:
        assert entry.keys() == KNOWN_KEYS["model_list"]
        assert entry["litellm_params"].keys() <= KNOWN_KEYS["litellm_params"]
        assert entry["model_info"].keys() <= KNOWN_KEYS["model_info"]
