"""Who would be asked, in which order, and what is missing: without calling anybody."""

from pathlib import Path

import pytest

from backlog_ops.domain.gates import Tier
from backlog_ops.llm.steps import chain_of, find_claude, resolve
from tests.support.llm import ops


@pytest.fixture
def claude(tmp_path: Path) -> Path:
    binary = tmp_path / "bin" / "claude"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    return binary


def named(environ: dict[str, str], tier: Tier = Tier.FREE, offline: bool = False) -> list[tuple[str, str, bool]]:
    steps = resolve(chain_of(tier), ops(gateway="http://gateway.invalid"), environ, offline)
    return [(step.tier.value, step.provider, step.skip is None) for step in steps]


def test_free_falls_to_cheap_and_then_to_balanced() -> None:
    assert chain_of(Tier.FREE) == (Tier.FREE, Tier.CHEAP, Tier.BALANCED)


def test_without_fallback_only_the_tier_itself_is_asked() -> None:
    assert chain_of(Tier.FREE, fallback=False) == (Tier.FREE,)


def test_no_chain_ever_leads_to_a_cheaper_tier() -> None:
    assert all(list(chain_of(tier)) == sorted(chain_of(tier), key=lambda t: t.rank) for tier in Tier)


def test_each_paid_tier_has_the_gateway_then_the_api_then_the_cli(claude: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "PATH": str(claude.parent)}
    assert named(environ) == [
        ("free", "ollama", True),
        ("cheap", "gateway", True),
        ("cheap", "anthropic", True),
        ("cheap", "claude-cli", True),
        ("balanced", "gateway", True),
        ("balanced", "anthropic", True),
        ("balanced", "claude-cli", True),
    ]


def test_an_unconfigured_gateway_is_no_step() -> None:
    assert "gateway" not in [step.provider for step in resolve([Tier.CHEAP], ops(), {})]


def test_what_is_not_configured_says_what_to_set() -> None:
    reasons = {step.provider: step.skip for step in resolve([Tier.CHEAP], ops(), {"PATH": ""})}
    assert "set ANTHROPIC_API_KEY" in (reasons["anthropic"] or "")
    assert "CLAUDE_BIN" in (reasons["claude-cli"] or "")


def test_offline_leaves_only_this_machine(claude: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "CLAUDE_BIN": str(claude)}
    assert [step for step in named(environ, offline=True) if step[2]] == [("free", "ollama", True)]


def test_offline_forbids_an_ollama_on_another_machine() -> None:
    step = resolve([Tier.FREE], ops(ollama="http://gpu.invalid:11434"), {}, offline=True)[0]
    assert "another machine" in (step.skip or "")


def test_another_base_url_is_taken_from_the_environment() -> None:
    environ = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}
    assert resolve([Tier.CHEAP], ops(), environ)[0].where == "http://127.0.0.1:1"


def test_no_key_is_ever_part_of_a_step() -> None:
    steps = resolve(chain_of(Tier.FREE), ops(), {"ANTHROPIC_API_KEY": "sk-secret"})
    assert "sk-secret" not in repr(steps)


def test_claude_bin_goes_before_the_path(claude: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert find_claude({"CLAUDE_BIN": str(other), "PATH": str(claude.parent)}) == str(other)


def test_a_claude_that_cannot_be_run_is_none(claude: Path) -> None:
    claude.chmod(0o644)
    assert find_claude({"PATH": str(claude.parent)}) is None


def test_a_claude_in_the_current_folder_is_not_trusted(claude: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(claude.parent)
    assert find_claude({"PATH": ":."}) is None
