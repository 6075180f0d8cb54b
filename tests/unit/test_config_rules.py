"""What a configuration must satisfy beyond its schema."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.config_rules import (
    Finding,
    Severity,
    check_rules,
    check_version,
    shell_syntax,
    show_path,
)
from backlog_ops.domain.gates import Tier
from backlog_ops.storage.config_file import complete, load_preset

KNOWN = {"claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"}


def findings(**sections: Any) -> list[Finding]:
    return list(check_rules(complete(sections, load_preset()), KNOWN))


def routing(**keys: str) -> list[Finding]:
    return findings(llmOps={"routing": keys})


def errors(found: list[Finding]) -> list[str]:
    return [show_path(finding.path) for finding in found if finding.severity is Severity.ERROR]


def test_the_preset_has_no_finding() -> None:
    assert findings() == []


@pytest.mark.parametrize(("key", "gate"), [("entryModelImplement", "IMPLEMENT"), ("entryModelReview", "REVIEW")])
def test_free_for_an_agent_gate_is_an_error_that_says_why(key: str, gate: str) -> None:
    (found,) = routing(**{key: "free"})
    assert found.severity is Severity.ERROR
    assert found.path == ("llmOps", "routing", key)
    assert "without tool use" in found.message and gate in found.message


def test_a_haiku_reviewer_is_a_warning_that_says_why() -> None:
    (found,) = routing(entryModelReview="cheap")
    assert found.severity is Severity.WARNING
    assert "0 of 10" in found.message


def reviewers(*given: object) -> list[Finding]:
    return findings(reviewPipeline={"reviewers": list(given)})


def test_several_reviewers_with_names_of_their_own_have_no_finding() -> None:
    assert reviewers({"name": "all"}, {"name": "security", "focus": "secrets", "model": "frontier"}) == []


def test_each_reviewer_whose_name_another_one_has_is_an_error() -> None:
    found = errors(reviewers({"name": "one"}, {"name": "two"}, {"name": "one"}, {"name": "one"}))
    assert found == ["reviewPipeline.reviewers[2].name", "reviewPipeline.reviewers[3].name"]


def test_a_reviewer_of_its_own_on_haiku_is_the_same_warning() -> None:
    (found,) = reviewers({"name": "all"}, {"name": "quick", "model": "cheap"})
    (of_the_gate,) = routing(entryModelReview="cheap")
    assert show_path(found.path) == "reviewPipeline.reviewers[1].model"
    assert (found.severity, found.message) == (of_the_gate.severity, of_the_gate.message)


@pytest.mark.parametrize("tier", ["free", "cheap"])
def test_escalation_must_reach_balanced(tier: str) -> None:
    assert errors(routing(escalationModel=tier)) == ["llmOps.routing.escalationModel"]


@given(*[st.sampled_from(Tier)] * 4)
def test_escalating_is_never_allowed_to_be_a_step_down(plan: Tier, implement: Tier, review: Tier, to: Tier) -> None:
    tiers = {"entryModelPlan": plan, "entryModelImplement": implement, "entryModelReview": review}
    found = errors(routing(**{key: tier.value for key, tier in tiers.items()}, escalationModel=to.value))
    down = to < Tier.BALANCED or to < max(tiers.values())
    assert ("llmOps.routing.escalationModel" in found) is down


@pytest.mark.parametrize("version", ["1.1", "1.7", "2.0", "10.0"])
def test_a_newer_version_is_an_error_with_the_remedy(version: str) -> None:
    found = check_version({"version": version})
    assert found is not None
    assert "newer version" in found.message and "update the plugin" in found.message


def test_our_own_version_is_accepted() -> None:
    assert check_version({"version": "1.0"}) is None


def test_a_version_that_never_was_is_an_error() -> None:
    assert check_version({"version": "0.9"}) is not None


@pytest.mark.parametrize("version", [None, 1, "1", "one", "1.0.0"])
def test_what_is_no_version_is_left_to_the_schema(version: object) -> None:
    assert check_version({"version": version}) is None


@pytest.mark.parametrize("tier", ["cheap", "balanced", "frontier"])
def test_a_model_without_a_price_is_a_warning(tier: str) -> None:
    (found,) = findings(llmOps={"models": {tier: "claude-next"}})
    assert found.severity is Severity.WARNING
    assert found.path == ("llmOps", "models", tier)


def test_a_local_model_needs_no_price() -> None:
    assert findings(llmOps={"models": {"free": "gemma4:12b"}}) == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:11434", "http://localhost:4000/", "http://[::1]:1", "https://gw.example/llm", ""],
)
def test_a_usable_gateway_address_has_no_finding(url: str) -> None:
    assert findings(llmOps={"gateway": {"baseURL": url}}) == []


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:11434",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://ho st",
        "https://h/?key=1",
        "http://h\n",
        "",
    ],
)
def test_what_is_no_http_address_is_an_error(url: str) -> None:
    assert errors(findings(llmOps={"ollama": {"baseURL": url}})) == ["llmOps.ollama.baseURL"]


def test_a_key_inside_an_address_is_an_error_that_does_not_repeat_it() -> None:
    (found,) = findings(llmOps={"gateway": {"baseURL": "https://user:sk-secret@gw.example"}})
    assert found.severity is Severity.ERROR
    assert "sk-secret" not in found.message


def test_plain_http_to_another_machine_is_a_warning() -> None:
    (found,) = findings(llmOps={"gateway": {"baseURL": "http://gw.example:4000"}})
    assert found.severity is Severity.WARNING


def test_a_key_in_place_of_a_variable_name_is_an_error_that_does_not_repeat_it() -> None:
    (found,) = findings(llmOps={"gateway": {"apiKeyEnv": "sk-secret"}})
    assert found.severity is Severity.ERROR
    assert "sk-secret" not in found.message


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("npm ci && npm test", "&&"),
        ("lint || true", "||"),
        ("a | b", "|"),
        ("a; b", ";"),
        ("a & b", "&"),
        ("a > log", ">"),
        ("a 2>&1", ">"),
        ("a < in", "<"),
        ("a\nb", "\n"),
        ("(a)", "("),
        ("a $(b)", "$("),
        ("a `b`", "`"),
        ("a $HOME/x", "$HOME"),
        ("a ${X}", "${"),
        ('a "in $X quotes"', "$X"),
        ("CI=1 npm test", "CI="),
    ],
)
def test_shell_syntax_is_found(command: str, part: str) -> None:
    assert shell_syntax(command) == part


@pytest.mark.parametrize(
    "command",
    [
        "make test",
        "pytest -k 'a and (b or c)'",
        'pytest -k "not (slow | flaky)"',
        "grep 'price$' a",
        "go test ./... -run Foo$",
        "echo '$HOME `x`'",
        r"echo \$HOME a\;b",
        "npm test -- --grep=a=b",
        "eslint src/**/*.ts",
        "env CI=1 npm test",
    ],
)
def test_plain_words_are_no_shell_syntax(command: str) -> None:
    assert shell_syntax(command) is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_what_a_shell_would_quote_is_never_taken_for_shell_syntax(words: list[str]) -> None:
    assert shell_syntax(shlex.join(["program", *words])) is None


def test_the_remedy_for_shell_syntax_is_a_script() -> None:
    (found,) = findings(qualityGates={"lintCommand": "a && b"})
    assert found.path == ("qualityGates", "lintCommand")
    assert "put it in a script or a make target" in found.message


def test_an_array_is_taken_word_for_word() -> None:
    assert findings(qualityGates={"testCommand": ["sh", "-c", "a && b"]}) == []


@pytest.mark.parametrize("command", ["pytest 'a", "pytest \\", "a\0b"])
def test_a_command_that_cannot_be_split_is_an_error(command: str) -> None:
    assert errors(findings(worktree={"setupCommand": command})) == ["worktree.setupCommand"]


@pytest.mark.parametrize("command", ["   ", [""], ["a\0b"]])
def test_a_test_command_that_runs_nothing_is_an_error(command: object) -> None:
    assert errors(findings(qualityGates={"testCommand": command})) == ["qualityGates.testCommand"]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "~/x",
        "C:/x",
        "a\\b",
        "..",
        "a/../../b",
        ".",
        "./",
        " ",
        "a\nb",
        ".git/hooks",
        "./.git",
        ".backlog-ops",
    ],
)
def test_a_path_outside_the_repository_is_an_error(path: str) -> None:
    assert errors(findings(worktree={"link": ["ok", path]})) == ["worktree.link[1]"]
    assert errors(findings(backlog={"dataDir": path})) == ["backlog.dataDir"]


@pytest.mark.parametrize("path", [".venv", "node_modules", "docs/backlog", "a..b/c", "ünï/x y"])
def test_a_path_inside_the_repository_has_no_finding(path: str) -> None:
    assert findings(worktree={"link": [path]}, codeRules={"files": [path]}, backlog={"dataDir": path}) == []


def test_a_path_in_another_spelling_than_git_uses_is_an_error_with_the_remedy() -> None:
    (found,) = findings(worktree={"link": ["./node_modules/"]})
    assert found.message == 'write it as "node_modules"'


@pytest.mark.parametrize("pattern", ["**/*.lock", "db/migrations/**", "VERSION", "**"])
def test_a_pattern_inside_the_repository_has_no_finding(pattern: str) -> None:
    assert findings(backlog={"sharedFiles": [pattern]}) == []


@pytest.mark.parametrize("pattern", ["/**", "../**", "**/../x", ".git/**", "a\\*"])
def test_a_pattern_outside_the_repository_is_an_error(pattern: str) -> None:
    assert errors(findings(backlog={"sharedFiles": [pattern]})) == ["backlog.sharedFiles[0]"]


def test_a_star_in_a_path_that_is_no_pattern_is_an_error() -> None:
    assert errors(findings(codeRules={"files": ["docs/*.md"]})) == ["codeRules.files[0]"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.data())
def test_values_of_any_type_anywhere_never_break_the_rules(data: st.DataObject) -> None:
    def spoil(value: Any) -> Any:
        if data.draw(st.integers(0, 5)) == 0:
            return data.draw(JUNK)
        return {key: spoil(member) for key, member in value.items()} if isinstance(value, dict) else value

    config = spoil(load_preset())
    if isinstance(config, dict):
        list(check_rules(config, KNOWN))
        check_version(config)


def test_a_path_is_shown_as_people_write_it() -> None:
    assert show_path(("backlog", "sharedFiles", 2)) == "backlog.sharedFiles[2]"


def test_a_strange_key_stays_on_one_line() -> None:
    assert show_path(("a", "b\nc")) == 'a["b\\nc"]'
