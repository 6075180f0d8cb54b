"""SKILL.md, its reference pages and the agents say what the code does: every table, list and number is derived."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import itertools
import math
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from backlog_ops.cli.main import main
from backlog_ops.domain.commits import template_message
from backlog_ops.domain.gates import Complexity, Gate, Tier
from backlog_ops.domain.host_models import alias_for, must_name_frontier
from backlog_ops.domain.routing import FAILS_BEFORE_ESCALATION, History, Rule, entry_tier, route
from backlog_ops.domain.settings import Routing, Settings
from backlog_ops.run import commands, prompts, requests, secret_scan, wave_gates
from backlog_ops.run.actions import LAUNCHER, agent_name, session_agent_name
from backlog_ops.run.engine import work
from backlog_ops.run.hand_over import describe
from backlog_ops.run.opening import open_run
from backlog_ops.run.rows import Run
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import tiers_for
from backlog_ops.storage.config_file import load_preset, load_schema
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import REJECTED, Lab, one

SKILL = PLUGIN_ROOT / "skills" / "backlog-implementer" / "SKILL.md"
PAGES = {page.stem: page for page in sorted((SKILL.parent / "references").glob("*.md"))}
AGENTS = {file.stem: file for file in sorted((PLUGIN_ROOT / "agents").glob("*.md"))}
ALL_SKILLS = sorted((PLUGIN_ROOT / "skills").glob("*/SKILL.md"))

BYTES_PER_TOKEN = 4
KEPT_TOKENS = 5_000  # what the host keeps of a skill when it compacts a conversation

PRESET = load_preset()
ROUTING_KEYS = PRESET["llmOps"]["routing"]
ROUTING = Routing.from_json(ROUTING_KEYS)
MODELS = Settings.from_json(PRESET).llm_ops.models.by_tier


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


TEXT = read(SKILL)
SECTIONS = {
    heading: body for heading, _, body in (part.partition("\n") for part in re.split(r"^## ", TEXT, flags=re.M)[1:])
}


def section(name: str) -> str:
    (body,) = (body for heading, body in SECTIONS.items() if heading.partition(":")[0] == name)
    return body


def frontmatter(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read(file).split("---\n")[1])
    return found


def table(text: str) -> list[dict[str, str]]:
    heading, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    )
    return [dict(zip(heading, row, strict=True)) for row in rows]


def routing_with(**changes: object) -> Routing:
    changed = copy.deepcopy(PRESET)
    changed["llmOps"]["routing"].update(changes)
    return Settings.from_json(changed).llm_ops.routing


# -- how long it is, and in which order


def test_the_skill_is_at_most_8000_bytes_and_2000_tokens() -> None:
    size = SKILL.stat().st_size
    assert size <= 8_000
    assert math.ceil(size / BYTES_PER_TOKEN) <= 2_000


def test_the_rules_come_first_and_the_loop_last() -> None:
    assert [heading.partition(":")[0] for heading in SECTIONS] == [
        "MODEL RULES FOR TASK TOOL",
        "Gates",
        "Escalation",
        "OUTPUT DISCIPLINE",
        "Team",
        "Loop",
    ]


@pytest.mark.parametrize("name", ["MODEL RULES FOR TASK TOOL", "Gates"])
def test_the_model_rules_and_the_gate_table_outlive_a_compaction(name: str) -> None:
    end = TEXT.index(section(name)) + len(section(name).rstrip())
    assert len(TEXT[:end].encode()) <= KEPT_TOKENS * BYTES_PER_TOKEN


def test_its_last_line_preloads_the_first_actions() -> None:
    last = [line for line in TEXT.splitlines() if line.strip()][-1]
    command = re.fullmatch(r"!`(.+)`", last)
    assert command, last
    program, *words = shlex.split(command[1].replace("${CLAUDE_PLUGIN_ROOT}", str(PLUGIN_ROOT)))
    assert program == str(LAUNCHER)
    assert words == ["start", "--json", "--exit-zero", "$ARGUMENTS"]


# -- the gate table

GATE_ROWS = {Gate(row["gate"].split()[-1]): row for row in table(section("Gates"))}


def test_every_gate_has_one_row() -> None:
    assert set(GATE_ROWS) == set(Gate)
    assert len(table(section("Gates"))) == len(Gate)


def test_a_tickets_gates_are_numbered_in_the_order_of_its_steps() -> None:
    numbered = [row["gate"] for row in GATE_ROWS.values() if row["gate"][0].isdigit()]
    steps = dict.fromkeys(step.gate for step in Step if step.gate not in (None, Gate.INVESTIGATE))  # few need that one
    assert numbered == [f"{number} {gate}" for number, gate in enumerate(steps, 1)]


@pytest.mark.parametrize("gate", Gate)
def test_the_default_tier_of_a_gate_is_the_presets(gate: Gate) -> None:
    assert GATE_ROWS[gate]["default"] == entry_tier(gate, ROUTING).value


def keys_that_decide(gate: Gate) -> Iterator[str]:
    """The keys of `llmOps.routing` that change the gate's entry tier when they are changed in the preset."""
    for key, value in ROUTING_KEYS.items():
        others = [tier.value for tier in Tier] if isinstance(value, str) else [value + 1]
        if any(entry_tier(gate, routing_with(**{key: other})) is not entry_tier(gate, ROUTING) for other in others):
            yield key


@pytest.mark.parametrize("gate", Gate)
def test_the_key_of_a_gate_is_the_one_that_decides_its_tier(gate: Gate) -> None:
    assert (list(keys_that_decide(gate)) or ["–"]) == [GATE_ROWS[gate]["`llmOps.routing` key"]]


@pytest.mark.parametrize("gate", [gate for gate in Gate if entry_tier(gate, ROUTING) is Tier.FREE])
def test_where_a_text_gate_fails_the_tier_asked_next_is_named_first(gate: Gate) -> None:
    named = re.match(r"\w+", GATE_ROWS[gate]["where that fails"])
    first = [named[0]] if named and named[0] in {tier.value for tier in Tier} else []
    assert first == [tier.value for tier in tiers_for(gate, Tier.FREE)[1:]]


def test_the_fallback_of_commit_is_the_template() -> None:
    template = template_message("{type}", "{area}", "{ticket_id}")
    assert GATE_ROWS[Gate.COMMIT]["where that fails"] == f"`{template}`"


# -- the escalation list


class Case(NamedTuple):
    """What routing knows of a gate of a ticket."""

    gate: Gate
    tags: frozenset[str]
    complexity: Complexity
    fails: int


class Line(NamedTuple):
    """A numbered line as it is understood; `tier` is None for the gate's default."""

    condition: str
    rule: Rule
    tier: Tier | None
    holds: Callable[[Case], bool]


def understood(text: str) -> Line:
    condition, _, consequence = text.partition(" → ")
    tier = Tier(consequence.split()[0]) if consequence else None
    if named := re.fullmatch(r"tag (\w+) or (\w+)", condition):
        sharp = set(named.groups())
        return Line(condition, Rule.TAG, tier, lambda case: bool(sharp & case.tags))
    if named := re.fullmatch(r'complexity == "(\w+)"', condition):
        level = Complexity(named[1])
        return Line(condition, Rule.COMPLEXITY, tier, lambda case: case.complexity is level)
    if named := re.fullmatch(r"(?:(\w+) and )?qualityGateFails >= (\d)", condition):
        only, fails = named[1], int(named[2])
        rule = next((rule for rule in Rule if rule.value == f"fails>={fails}"), None)
        assert rule, f"the engine has no rule for {fails} failed gates"
        holds = lambda case: case.fails >= fails and only in (None, case.gate.value)  # noqa: E731
        return Line(condition, rule, tier, holds)
    assert condition == "the gate's default", f"no test can tell what this line means: {text}"
    return Line(condition, Rule.ENTRY, tier, lambda _case: True)


NUMBERED = re.findall(r"^(\d+)\. (.+)$", section("Escalation"), re.M)
CASES = [
    Case(gate, frozenset(tags), complexity, fails)
    for gate, tags, complexity, fails in itertools.product(
        [gate for gate in Gate if gate.escalates],
        [(), ("ARCH",), ("SECURITY",), ("ARCH", "SECURITY"), ("UI",)],
        Complexity,
        range(FAILS_BEFORE_ESCALATION + 1),
    )
]


@functools.cache
def lines() -> list[Line]:
    return [understood(text) for _, text in NUMBERED]


def first_match(case: Case) -> Line:
    return next(line for line in lines() if line.holds(case))


def test_the_list_is_for_the_gates_that_escalate() -> None:
    (heading,) = (heading for heading in SECTIONS if heading.startswith("Escalation"))
    gates = ", ".join(gate.value for gate in Gate if gate.escalates)
    assert heading == f"Escalation: {gates}; first match wins"


def test_the_list_is_numbered_and_each_of_its_lines_decides_something() -> None:
    assert [int(number) for number, _ in NUMBERED] == [1, 2, 3, 4, 5]
    assert {first_match(case).rule for case in CASES} == {line.rule for line in lines()}


def test_the_first_line_that_holds_is_the_rule_and_the_tier_of_the_engine() -> None:
    wrong = []
    for case in CASES:
        line = first_match(case)
        decided = route(case.gate, case.tags, case.complexity, History(case.fails, case.fails), ROUTING)
        said = line.rule, line.tier or entry_tier(case.gate, ROUTING)
        if said != (decided.rule, decided.tier):
            wrong.append((case, said, decided))
    assert not wrong


def test_the_tier_after_two_failed_gates_is_that_of_the_key_it_names() -> None:
    ((text, key),) = re.findall(r"^\d\. (.+) → \w+ \(`(\w+)`\)", section("Escalation"), re.M)
    assert text == f"qualityGateFails >= {FAILS_BEFORE_ESCALATION}"
    changed = routing_with(**{key: "balanced"})
    decided = route(Gate.IMPLEMENT, (), Complexity.LOW, History(FAILS_BEFORE_ESCALATION, 2), changed)
    assert (decided.rule, decided.tier) == (Rule.FAILS_ESCALATE, Tier.BALANCED)


def bound(key: str) -> int:
    (number,) = re.findall(rf"`{key}` (\d+)", section("Escalation"))
    return int(number)


@pytest.mark.parametrize("key", ["maxEscalationsPerTicket", "maxAttemptsPerTicket"])
def test_the_bounds_are_the_presets(key: str) -> None:
    assert bound(key) == ROUTING_KEYS[key]


def test_a_ticket_is_parked_when_its_attempts_are_used_up() -> None:
    last = bound("maxAttemptsPerTicket")
    decided = [route(Gate.IMPLEMENT, ("ARCH",), Complexity.LOW, History(n, n), ROUTING) for n in (last - 1, last)]
    assert [decision.rule for decision in decided] == [Rule.TAG, Rule.ATTEMPTS_USED]


def test_a_ticket_is_parked_when_its_escalations_are_used_up() -> None:
    last = FAILS_BEFORE_ESCALATION + bound("maxEscalationsPerTicket")
    decided = [route(Gate.IMPLEMENT, (), Complexity.LOW, History(n, 2), ROUTING) for n in (last - 1, last)]
    assert [decision.rule for decision in decided] == [Rule.FAILS_ESCALATE, Rule.ESCALATIONS_USED]


def fails_its_check_once(lab: Lab) -> Gate:
    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        (worktree / "src" / f"{ticket}.txt").write_text("BROKEN\n" if attempt == 1 else "fine\n")

    lab.agents.implement = implement
    return Gate.LINT


def fails_its_review_once(lab: Lab) -> Gate:
    approve = lab.agents.verdict
    lab.agents.verdict = lambda ticket, attempt: REJECTED if attempt == 1 else approve(ticket, attempt)
    return Gate.REVIEW


@pytest.mark.parametrize("fails_once", [fails_its_check_once, fails_its_review_once])
def test_the_escalation_message_is_what_the_engine_says(tmp_path: Path, fails_once: Callable[[Lab], Gate]) -> None:
    (message,) = re.findall(r"`(Haiku failed [^`]+)`", section("Escalation"))
    lab = one(tmp_path)
    gate = fails_once(lab)
    run = lab.run()
    said = [event.text for event in lab.context().store.events(run.id)]
    assert message.format(id="T-1", gate=gate) in said


# -- who does it, on which model

TOOLS = {
    "implementer": ["Read", "Edit", "Write", "Bash"],
    "reviewer": ["Read", "Write"],
    "investigator": ["Read", "Write"],
    "scribe": ["Read", "Write"],
}
TEAM = {row["subagent_type"].split()[0].removeprefix("backlog:"): row for row in table(section("Team"))}
HAIKU, SONNET = alias_for(Tier.CHEAP, MODELS), alias_for(Tier.BALANCED, MODELS)


def model_rule(opening: str) -> str:
    """A paragraph of the block of MODEL RULES, with the lines that are indented below its first."""
    (block,) = re.findall(r"^```\n(.+?)^```$", section("MODEL RULES FOR TASK TOOL"), re.M | re.S)
    (found,) = re.findall(rf"^{re.escape(opening)}.*\n(?: .*\n)*", block, re.M)
    return found


def test_the_team_is_the_agents_that_have_a_model() -> None:
    assert set(TEAM) == {name for name, file in AGENTS.items() if frontmatter(file)["model"] != "inherit"}


@pytest.mark.parametrize("tier", [tier for tier in Tier if tier is not Tier.FREE])
def test_every_agent_that_a_parent_is_told_to_start_is_there(tier: Tier) -> None:
    gates = [gate for gate in Gate if gate.escalates or entry_tier(gate, ROUTING) is tier]
    assert {session_agent_name(gate, tier) for gate in gates} <= set(AGENTS)


@pytest.mark.parametrize("name", TEAM)
def test_an_agent_has_the_model_of_its_row_and_no_tool_that_it_does_not_need(name: str) -> None:
    matter = frontmatter(AGENTS[name])
    assert matter["name"] == name
    assert matter["model"] == TEAM[name]["model"]
    assert matter["tools"].split(", ") == TOOLS[name]


@pytest.mark.parametrize("name", sorted(set(AGENTS) - set(TEAM)))
def test_an_agent_without_a_model_is_otherwise_the_one_of_the_team(name: str) -> None:
    own, of_team = AGENTS[name], AGENTS[name.removesuffix("-frontier")]
    assert frontmatter(own)["name"] == name
    assert frontmatter(own)["tools"] == frontmatter(of_team)["tools"]
    assert read(own).split("---\n", 2)[2] == read(of_team).split("---\n", 2)[2]


def test_reviewers_are_on_sonnet_and_all_others_on_haiku() -> None:
    assert {name: row["model"] for name, row in TEAM.items()} == {
        name: "sonnet" if name == "reviewer" else "haiku" for name in TOOLS
    }


@pytest.mark.parametrize("gate", [Gate.IMPLEMENT, Gate.REVIEW])
def test_an_agent_gate_is_in_the_row_of_its_agent_on_its_own_tier(gate: Gate) -> None:
    row = TEAM[agent_name(gate)]
    number = GATE_ROWS[gate]["gate"].split()[0]
    assert row["does"].startswith(f"Gate {number},")
    assert row["model"] == alias_for(entry_tier(gate, ROUTING), MODELS)


def test_the_investigator_is_on_its_only_tier() -> None:
    row = TEAM[agent_name(Gate.INVESTIGATE)]
    assert row["does"].startswith(f"{Gate.INVESTIGATE},")
    assert row["model"] == alias_for(entry_tier(Gate.INVESTIGATE, ROUTING), MODELS)
    assert not Gate.INVESTIGATE.escalates


@pytest.mark.parametrize("name", TEAM)
def test_the_model_rules_name_an_agent_beside_its_model(name: str) -> None:
    of_model = {model: model_rule(f'model: "{model}"').lower() for model in (HAIKU, SONNET)}
    first_lines = {model: rule if model == HAIKU else rule.partition(",")[0] for model, rule in of_model.items()}
    assert [model for model, rule in first_lines.items() if name in rule] == [TEAM[name]["model"]]


def test_the_second_attempt_is_on_sonnet() -> None:
    (after_a_failure,) = (line for line in lines() if line.rule is Rule.FAILS_ONCE)
    assert after_a_failure.tier is Tier.BALANCED
    assert "an implementer whose ticket failed a gate" in model_rule(f'model: "{SONNET}"')


def test_the_model_is_left_out_where_the_list_says_frontier() -> None:
    bullets = re.findall(r"^ +- (.+)$", model_rule("no model:"), re.M)
    conditions = [bullet.replace("the ticket is tagged", "tag") for bullet in bullets]
    listed = [line.condition for line in lines() if line.tier is Tier.FRONTIER]
    assert conditions == listed


def test_only_a_parent_on_haiku_gets_the_frontier_named() -> None:
    assert "If you run on Haiku, the action names a model here too." in model_rule("no model:")
    assert [tier for tier in Tier if must_name_frontier(MODELS[tier])] == [Tier.CHEAP]


def test_the_aliases_are_those_of_the_presets_models() -> None:
    (line,) = (line for line in section("Gates").splitlines() if line.startswith("`free` = "))
    named = dict(re.findall(r"`(\w+)` = ([^,.]+)", line))
    assert named == {
        "free": "local model",
        "cheap": alias_for(Tier.CHEAP, MODELS),
        "balanced": alias_for(Tier.BALANCED, MODELS),
        "frontier": "your own model",
    }
    assert list(named) == [tier.value for tier in Tier]


# -- the loop


def instruction(do: str) -> str:
    """What the loop says about actions of this kind, up to what it says about the next."""
    (found,) = re.findall(rf"^\d\. (`{do}`: .+?)(?=^\d\. )", section("Loop"), re.M | re.S)
    return found


def names_of_keys(text: str) -> set[str]:
    """The words in backticks that are neither commands nor what the text is about."""
    return set(re.findall(r"`([a-z_]+)`", text)) - {"next", "agent", "wait", "ask", "done"}


def printed(lab: Lab, run: Run) -> dict[str, Any]:
    (action,) = describe(lab.context(), run)["actions"]
    return action


def test_of_a_question_the_loop_names_what_its_action_has(tmp_path: Path) -> None:
    lab = one(tmp_path, {"backlog": {"askBeforeMerge": True}})
    action = printed(lab, lab.run())
    assert action["do"] == "ask"
    assert names_of_keys(instruction("ask")) == {"question", "answers"} <= set(action)


def test_the_command_of_an_answer_lets_the_run_end_as_the_person_said(tmp_path: Path) -> None:
    lab = one(tmp_path, {"backlog": {"askBeforeMerge": True}})
    run = lab.run()
    program, *words = shlex.split(printed(lab, run)["answers"]["no"])
    done = lab.cli(*words)
    assert (program, done.returncode) == (str(LAUNCHER), 0), done.stderr
    work(lab.context(), run.id, 1, lab.agents)
    assert "not merged into main, as you said" in printed(lab, lab.context().store.run(run.id))["summary"]


def test_of_a_usage_limit_the_loop_names_what_its_action_has(tmp_path: Path) -> None:
    lab = one(tmp_path)
    ctx = lab.context()
    run = open_run(ctx, [], None)
    ctx.store.pause(run.id, ctx.clock() + 3600, "5-hour limit", "paused")
    action = printed(lab, ctx.store.run(run.id))
    assert action["do"] == "wait"
    assert names_of_keys(instruction("wait")) == {"why", "until"} <= set(action)


def test_a_wait_that_is_no_usage_limit_has_no_until(tmp_path: Path) -> None:
    lab = one(tmp_path)
    action = printed(lab, open_run(lab.context(), [], None))
    assert (action["do"], "until" in action) == ("wait", False)


# -- the pages


def schema_keys(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """Every key of the configuration by its full path, sections included."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{above}{name}"
        yield from schema_keys(inner, f"{above}{name}.")


CONFIG_KEYS = set(schema_keys(load_schema()))
CONFIG_NAMES = {part for key in CONFIG_KEYS for part in key.split(".")}
FILE_NAME = re.compile(r".*\.(json|md|py|sh|txt)")
WRITTEN = {"SKILL": SKILL, **PAGES}


def quoted(file: Path) -> list[str]:
    """What stands in backticks, code blocks aside."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", read(file), flags=re.M | re.S))


def test_the_pages_are_those_that_the_skill_names() -> None:
    (names,) = re.findall(r"\$\{CLAUDE_SKILL_DIR\}/references/ has ([\w, ]+) \(\.md\)", TEXT)
    assert sorted(names.split(", ")) == list(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_at_most_2500_bytes(page: str) -> None:
    assert 0 < PAGES[page].stat().st_size <= 2_500


@pytest.mark.parametrize("name", WRITTEN)
def test_every_configuration_key_in_backticks_is_in_the_schema(name: str) -> None:
    words = [word for word in quoted(WRITTEN[name]) if not FILE_NAME.fullmatch(word)]
    dotted = {word for word in words if re.fullmatch(r"[a-z]\w*(\.\w+)+", word)}
    camel = {word for word in words if re.fullmatch(r"[a-z]+[A-Z]\w*", word)}
    assert dotted | camel, "no key is recognised"
    assert (dotted - CONFIG_KEYS, camel - CONFIG_NAMES) == (set(), set())


def preset_value(key: str) -> object:
    return functools.reduce(lambda value, part: value[part], key.split("."), PRESET)


@pytest.mark.parametrize("page", PAGES)
def test_a_default_beside_a_key_is_the_presets(page: str) -> None:
    beside = re.findall(r"`([a-z]\w*(?:\.\w+)+)` \(([\w.]+)", read(PAGES[page]))
    named = {key: value for key, value in beside if value != "required"}
    assert named == {key: str(preset_value(key)) for key in named}


@pytest.mark.parametrize(
    ("page", "phrase"),
    [
        ("waves", f"more than {wave_gates.MOST_TICKETS_FOR_A_MODEL} no model"),
        ("plan", f"{prompts.LISTED_PATHS} at most"),
        ("plan", f"{prompts.PLAN_FILE_BYTES:,} bytes"),
        ("implement", f"up to {requests.MOST_GRANTED} a ticket"),
        ("lint", f"the first and the last {commands.KEPT_HEAD_LINES} lines"),
        ("lint", f"the first and the last {commands.KEPT_TAIL_LINES} lines"),
        ("lint", f"some {commands.KEPT_ERROR_LINES} around errors"),
        ("lint", f"more than {commands.MAX_OUTPUT // 1024**2} MB of output"),
        ("lint", f"`{secret_scan.BASELINE}`"),
        ("commit", f"`{template_message('{type}', '{area}', '{ticket_id}')}`"),
    ],
)
def test_a_number_or_a_text_of_the_code_stands_in_its_page(page: str, phrase: str) -> None:
    assert phrase in " ".join(read(PAGES[page]).split())


@pytest.mark.parametrize(("page", "gate"), [("implement", Gate.IMPLEMENT), ("review", Gate.REVIEW)])
def test_the_rules_on_a_page_are_the_skills_without_those_that_never_match(page: str, gate: Gate) -> None:
    shown = re.findall(r"^  \d\. (.+)$", read(PAGES[page]), re.M)
    words = {
        Rule.TAG: "tag ARCH or SECURITY: frontier",
        Rule.FAILS_ESCALATE: "two failed gates: `llmOps.routing.escalationModel` (frontier)",
        Rule.COMPLEXITY: "complexity high: frontier",
        Rule.FAILS_ONCE: "one failed gate: balanced",
        Rule.ENTRY: "`llmOps.routing.{}` ({})".format(*list(GATE_ROWS[gate].values())[2:0:-1]),
    }
    matching = {first_match(case).rule for case in CASES if case.gate is gate}
    assert shown == [words[line.rule] for line in lines() if line.rule in matching]


@functools.cache
def help_of(*words: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return printed.getvalue()


@pytest.mark.parametrize("name", WRITTEN)
def test_every_command_that_is_named_exists_with_its_options(name: str) -> None:
    listed = set(re.findall(r"^    ([a-z]+) ", help_of(), re.M))
    named = [found for text in quoted(WRITTEN[name]) for found in re.findall(r'backlog-ops"? ([a-z]+)(.*)', text)]
    assert named
    assert {command for command, _ in named} <= listed
    for command, rest in named:
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert re.search(rf"{option}\b", help_of(command)), f"backlog-ops {command} knows no {option}"


# -- what a skill may do


def grants(skill: Path) -> list[str]:
    return re.split(r",\s*(?![^(]*\))", frontmatter(skill)["allowed-tools"])


@pytest.mark.parametrize("skill", ALL_SKILLS, ids=lambda skill: skill.parent.name)
def test_no_skill_may_write_outside_the_work_folder(skill: Path) -> None:
    writing = [grant for grant in grants(skill) if re.match(r"(Multi|Notebook)?Edit|Write", grant)]
    assert [grant for grant in writing if not re.fullmatch(r"\w+\(\.backlog-ops/.+\)", grant)] == []


def test_the_skill_may_call_the_launcher_and_start_agents() -> None:
    launcher = "${CLAUDE_PLUGIN_ROOT}/bin/backlog-ops"
    assert {f'Bash("{launcher}" *)', f"Bash({launcher} *)", "Agent"} <= set(grants(SKILL))
