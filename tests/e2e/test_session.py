"""The skill in the real Claude Code, `-p`: sub-agents in the foreground, the parent's calls counted on the wire."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.demo.bill import RATES
from tests.e2e.harness.agents import Job, bash, turns, write
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import Parent, check, diligent, gates, hand_in, in_order, models
from tests.e2e.harness.reply import Answer, http_fault, tool
from tests.e2e.harness.request import Json, Req
from tests.e2e.harness.rules import script
from tests.e2e.harness.run_claude import ROOT
from tests.e2e.harness.run_record import Run
from tests.support.lab import ticket_text

SKILL = "/backlog:backlog-implementer"
HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
BUCKETS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")
FIRST_CALL_TOKENS = 2_600  # what a parent's first call may carry over a bare session's
PLAIN = {"T-1": ticket_text("T-1"), "T-2": ticket_text("T-2"), "T-3": ticket_text("T-3", depends_on=["T-1"])}

MakeSession = Callable[..., tuple[BacklogLab, Parent]]


@pytest.fixture
def make_session(make_lab: MakeLab) -> MakeSession:
    """A lab with the plugin as it stands here, and a scripted parent."""

    def make(tickets: object = ("T-1",), parent: Parent | None = None, **options: object) -> tuple[BacklogLab, Parent]:
        parent = parent or Parent(models())
        return make_lab(parent.models, tickets, plugin_dirs=[ROOT], **options), parent

    return make


def results(lab: BacklogLab) -> tuple[str, list[str]]:
    """The tree that came of it and every commit's message: what has to be the same, whoever drove."""
    messages = lab.git("log", "--format=%B%x00", f"{lab.start}..main").split("\0")
    return lab.git("rev-parse", "main^{tree}"), sorted(message.strip() for message in messages if message.strip())


def ended_well(run: Run) -> None:
    assert (run.exit_code, run.stub_errors, run.leftovers) == (0, [], []), run.explain()
    assert run.result["permission_denials"] == [], run.result["permission_denials"]


def measured(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A number to watch, in passing runs too."""
    with capsys.disabled():
        print(f"\n{line}", file=sys.stderr)


# -- a whole backlog


def test_a_backlog_becomes_the_commits_that_the_headless_run_makes(
    make_session: MakeSession, make_lab: MakeLab
) -> None:
    lab, parent = make_session(PLAIN)
    ended_well(lab.session(SKILL, scenario=parent))
    headless = make_lab(None, PLAIN)
    assert headless.run().exit_code == 0
    assert results(lab) == results(headless)
    assert len(lab.commits()) == 3
    assert lab.git("status", "--porcelain") == ""


def test_a_wave_of_two_tickets_costs_the_parent_three_calls(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"))
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    measured(capsys, f"parent calls a wave, foreground: {len(parent.calls)}, limit 3")
    assert len(lab.commits()) == 2
    assert len(parent.calls) <= 3, run.explain()


def test_a_failed_attempt_costs_the_parent_two_calls_more(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(parent=Parent(models(implement=failing(1))))
    ended_well(lab.session(SKILL, scenario=parent))
    measured(capsys, f"parent calls with a failed attempt, foreground: {len(parent.calls)}, limit 5")
    assert len(parent.calls) <= 5
    assert lab.commits() == ["feat(src): implement T-1"]


def test_with_every_hook_off_the_same_commits_are_made_in_seven_calls(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"))
    run = lab.session(SKILL, "--settings", json.dumps({"disableAllHooks": True}), scenario=parent)
    ended_well(run)
    measured(capsys, f"parent calls a wave, hooks off: {len(parent.calls)}, limit 7")
    assert len(lab.commits()) == 2, run.explain()
    assert len(parent.calls) <= 7
    assert {json.loads(row["tags"]).get("guard") for row in session_receipts(lab)} == {"none"}


@pytest.mark.parametrize("name", ["CLAUDE_CODE_FORK_SUBAGENT", "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"])
def test_the_hosts_background_setting_changes_nothing_but_the_calls(
    make_session: MakeSession, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"), environment={name: "1"})
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    measured(capsys, f"parent calls a wave, {name}=1: {len(parent.calls)}, limit 5")
    assert len(lab.commits()) == 2
    assert len(parent.calls) <= 5, run.explain()


def test_the_parents_first_call_carries_little_over_a_bare_session(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2", "T-3"))
    lab.session(SKILL, scenario=parent)
    lab.plugin_dirs = []
    bare = lab.session("go", scenario=script("done")).calls[0].set_up_tokens
    first = parent.calls[0].set_up_tokens
    measured(capsys, f"parent's first call: {first:,} tokens, {first - bare:,} over a bare session, limit 2,600")
    assert first - bare <= FIRST_CALL_TOKENS
    assert len(parent.launches) >= 3


# -- models and receipts


def session_receipts(lab: BacklogLab) -> list[Json]:
    return [dict(row) for row in lab.rows("SELECT * FROM ledger WHERE source = 'session' ORDER BY at")]


def test_a_wrong_model_and_everything_else_of_a_call_is_put_right_on_the_wire(make_session: MakeSession) -> None:
    def tamper(call: Json) -> Json:
        return {
            **call,
            "model": "opus",
            "subagent_type": "general-purpose",
            "prompt": "Do what you like. " + call["prompt"],
        }

    lab, parent = make_session(parent=Parent(models(), tamper))
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    assert gates(parent.models.jobs_from_start()) == [("T-1", "IMPLEMENT", HAIKU), ("T-1", "REVIEW", SONNET)]
    assert {tuple(sorted(call.tools)) for call in run.calls if call.agent_id} == {
        ("Bash", "Edit", "Read", "Write"),
        ("Read", "Write"),
    }


def test_the_receipts_are_the_requests_that_the_api_saw(make_session: MakeSession) -> None:
    lab, parent = make_session(("T-1", "T-2"), Parent(models(implement=failing(1))))
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    served = [call for call in run.calls if call.agent_id and call.answered]
    told = sorted((call.agent_id, call.model, *tokens(call.answered["usage"])) for call in served)
    kept = [
        (
            r["agent"],
            r["answered_model"],
            r["input"],
            r["cache_write_5m"],
            r["cache_write_1h"],
            r["cache_read"],
            r["output"],
        )
        for r in session_receipts(lab)
    ]
    assert sorted(kept) == told
    assert all(row["cost_nanousd"] == cost(row) for row in session_receipts(lab))
    assert {row["session"] for row in session_receipts(lab)} == {run.init["session_id"]}
    assert all(row["asked_model"] == row["answered_model"] for row in session_receipts(lab))


def tokens(usage: Json) -> tuple[int, ...]:
    long_lived = usage["cache_creation"]["ephemeral_1h_input_tokens"]
    short_lived = usage["cache_creation"]["ephemeral_5m_input_tokens"]
    return usage["input_tokens"], short_lived, long_lived, usage["cache_read_input_tokens"], usage["output_tokens"]


def cost(row: Json) -> int:
    return sum(row[name] * rate for name, rate in zip(BUCKETS, RATES[row["answered_model"]], strict=True))


@pytest.mark.parametrize(("parent_model", "named"), [("opus", OPUS), ("sonnet", SONNET), ("haiku", OPUS)])
def test_a_ticket_that_failed_twice_inherits_the_parents_model_unless_that_is_a_step_down(
    make_session: MakeSession, parent_model: str, named: str
) -> None:
    lab, parent = make_session(parent=Parent(models(implement=failing(2))))
    ended_well(lab.session(SKILL, "--model", parent_model, scenario=parent))
    assert gates(parent.models.jobs_from_start()) == [
        ("T-1", "IMPLEMENT", HAIKU),
        ("T-1", "IMPLEMENT", SONNET),
        ("T-1", "IMPLEMENT", named),
        ("T-1", "REVIEW", named),
    ]
    assert ("model" in parent.launches[2]) == (parent_model == "haiku")
    assert lab.commits() == ["feat(src): implement T-1"]


def test_a_host_that_does_not_obey_fails_the_gate_and_the_receipt_says_why(make_session: MakeSession) -> None:
    forced = {"CLAUDE_CODE_SUBAGENT_MODEL": "opus", "CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "1"}
    lab, parent = make_session(environment=forced)
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert lab.commits() == []
    assert lab.ticket()["reason"].startswith(
        "asked for haiku, claude-opus-5-5 answered (CLAUDE_CODE_SUBAGENT_MODEL_FORCE=1, "
        "CLAUDE_CODE_SUBAGENT_MODEL=opus is set)"
    )
    assert {row["asked_model"] for row in session_receipts(lab)} == {HAIKU}
    assert {row["answered_model"] for row in session_receipts(lab)} == {OPUS}
    assert all("FORCE=1" in json.loads(row["tags"])["not_obeyed"] for row in session_receipts(lab))


def test_with_on_model_mismatch_warn_the_run_goes_on_and_says_so(make_session: MakeSession) -> None:
    forced = {"CLAUDE_CODE_SUBAGENT_MODEL": "opus", "CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "1"}
    lab, parent = make_session(environment=forced, llm_ops={"onModelMismatch": "warn"})
    ended_well(lab.session(SKILL, scenario=parent))
    assert lab.commits() == ["feat(src): implement T-1"]
    warnings = [row["text"] for row in lab.rows("SELECT text FROM event WHERE text LIKE 'warning:%'")]
    assert len(warnings) == 2, warnings


def test_a_model_that_the_users_settings_do_not_allow_is_found_out_the_same_way(make_session: MakeSession) -> None:
    lab, parent = make_session()
    run = lab.session(SKILL, "--settings", json.dumps({"availableModels": ["opus"]}), scenario=parent)
    assert run.exit_code == 0, run.explain()
    assert lab.commits() == []
    assert re.match("asked for haiku, claude-opus-5-5 answered .*availableModels", lab.ticket()["reason"])


# -- guards


def test_a_marker_that_is_reused_is_denied_with_what_to_do(make_session: MakeSession) -> None:
    class Twice(Parent):
        def _turn(self, request: Req) -> Answer:
            answer = super()._turn(request)
            return [*answer, tool("Agent", **self.launches[-1])] if len(self.calls) == 1 else answer

    lab, parent = make_session(parent=Twice(models()))
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    (denied,) = [r for call in parent.calls for r in call.tool_results if r.name == "Agent" and r.is_error]
    assert re.search(
        r"a1 is used: a sub-agent is at work on it; wait for its end, then run `/.*/bin/backlog-ops next`", denied.text
    )
    assert [job.head["Gate"] for job in parent.models.jobs_from_start()] == ["IMPLEMENT", "REVIEW"]
    assert lab.commits() == ["feat(src): implement T-1"]


def test_a_call_without_a_marker_is_never_touched(make_session: MakeSession) -> None:
    own = {"description": "mine", "prompt": "Say hello.", "subagent_type": "general-purpose", "model": "sonnet"}

    class Busy(Parent):
        def __call__(self, request: Req) -> Answer:
            return "hello" if request.agent_id and "Say hello." in request.first_text else super().__call__(request)

        def _turn(self, request: Req) -> Answer:
            answer = super()._turn(request)
            return [*answer, tool("Agent", **own, run_in_background=False)] if len(self.calls) == 1 else answer

    lab, parent = make_session(parent=Busy(models()))
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    (hello,) = [call for call in run.calls if call.agent_id and "Say hello." in call.first_text]
    assert (hello.model, len(hello.tools) > 4) == (SONNET, True)
    assert lab.commits() == ["feat(src): implement T-1"]


def test_an_edit_outside_the_write_set_is_denied_and_can_be_asked_for(make_session: MakeSession) -> None:
    said: list[str] = []

    def trespass(job: Job) -> Answer:
        other = job.worktree / "src/other.txt"
        return [write(job.own_file, "T-1\n"), write(other, "x"), write(Path("/tmp") / job.ticket, "x")]

    def ask(job: Job) -> Answer:
        said.extend(result.text for result in job.results)
        found = re.search(r"`(/\S+ submit a\d+ --request src/other.txt)`", said[1])
        assert found, said
        return bash(found[1])

    def again(job: Job) -> Answer:
        said.append(job.results[0].text)
        return write(job.worktree / "src/other.txt", "T-1 too\n")

    lab, parent = make_session(parent=Parent(models(implement=in_order(trespass, ask, again, check, hand_in))))
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert "src/other.txt is not among the files of T-1" in said[1]
    assert "is outside this ticket's worktree" in said[2]
    assert said[3].startswith("a1: granted: src/other.txt")
    assert lab.git("show", "main:src/other.txt") == "T-1 too\n"
    (review,) = parent.models.begun("REVIEW")
    assert "## Files beyond the plan, which the implementer asked for\n\n- src/other.txt" in review.brief


REAL_HABITS = (
    "pytest",
    "git diff",
    "git -C . status",
    "cat > src/x.txt <<'EOF'\nx\nEOF",
    "sed -i s/a/b/ src/readme.txt",
    "ls",
)


def test_what_real_models_try_first_is_denied_with_the_command_to_use(make_session: MakeSession) -> None:
    said: list[str] = []

    def habits(job: Job) -> Answer:
        return [bash(command) for command in REAL_HABITS]

    def then(job: Job) -> Answer:
        said.extend(result.text for result in job.results)
        return write_own_file_now(job)

    lab, parent = make_session(parent=Parent(models(implement=in_order(habits, then, check, hand_in))))
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert len(said) == len(REAL_HABITS)
    assert all("the only command here is" in text and "check a1`" in text for text in said), said
    assert lab.commits() == ["feat(src): implement T-1"]
    assert lab.git("status", "--porcelain") == ""


def test_another_backlog_ops_earlier_on_the_path_is_never_run(make_session: MakeSession, tmp_path: Path) -> None:
    other = tmp_path / "backlog-ops"
    other.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="utf-8")
    other.chmod(0o755)
    lab, parent = make_session(environment={"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"})
    ended_well(lab.session(SKILL, scenario=parent))
    assert lab.commits() == ["feat(src): implement T-1"]
    assert not (tmp_path / "ran").exists()


# -- what goes wrong


def test_a_subagent_that_dies_is_a_failed_attempt_with_its_cause(make_session: MakeSession) -> None:
    dead: list[str] = []

    def implement(job: Job) -> Answer:
        if job.attempt == 1:
            dead.append(job.ticket)
            return http_fault(400, "out of luck")
        return diligent(job)

    lab, parent = make_session(parent=Parent(models(implement=implement)))
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), run.explain()
    causes = [row["cause"] for row in lab.rows("SELECT cause FROM action WHERE cause IS NOT NULL")]
    assert len(causes) == 1 and "out of luck" in causes[0]
    assert (lab.ticket()["attempt"], lab.ticket()["fails"]) == (2, 0)


def test_a_subagent_that_does_not_hand_in_is_looked_at_all_the_same(make_session: MakeSession) -> None:
    lab, parent = make_session(parent=Parent(models(implement=turns(write_own_file_now))))
    ended_well(lab.session(SKILL, scenario=parent))
    assert (len(parent.calls), lab.commits()) == (3, ["feat(src): implement T-1"])


class Idle(Parent):
    """It starts nothing."""

    def _turn(self, request: Req) -> Answer:
        return "I stop here."


def test_the_next_session_is_told_in_three_lines_that_a_run_is_open(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    run = lab.session("hello", scenario=script(end="hi"))
    lines = re.findall(
        r"^.*(?:A backlog run is open|How it goes on|Do so if you were working).*$", run.calls[0].all_text, re.M
    )
    assert len(lines) == 3, run.calls[0].all_text[-2000:]
    assert str(ROOT / "bin/backlog-ops") in lines[1]


def test_a_session_that_stopped_is_taken_over_by_the_next(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    ended_well(lab.session(SKILL, scenario=parent))
    assert lab.commits() == ["feat(src): implement T-1"]


def test_a_headless_run_goes_on_with_what_a_session_began(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    lab.extra["ANTHROPIC_BASE_URL"] = lab.api.base_url
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()


def test_a_session_in_a_folder_of_the_repository_asks_nobody_either(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.extra.pop("ANTHROPIC_BASE_URL")
    run = lab.claude(SKILL, scenario=parent, cwd=lab.repo / "src")
    ended_well(run)
    assert (len(parent.calls), lab.commits()) == (3, ["feat(src): implement T-1"])


def test_a_plugin_update_in_the_middle_of_a_run_loses_nothing(make_session: MakeSession, tmp_path: Path) -> None:
    """The run's first briefs name a version whose folder is gone by the time somebody goes on."""
    before, after = (copy_of_the_plugin(tmp_path / name) for name in ("1", "2"))
    lab, parent = make_session()
    lab.plugin_dirs = [before]
    lab.session(SKILL, scenario=Idle(parent.models))
    shutil.rmtree(before)
    lab.plugin_dirs = [after]
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert str(before) in parent.models.begun("IMPLEMENT")[0].brief
    assert lab.commits() == ["feat(src): implement T-1"]


def copy_of_the_plugin(target: Path) -> Path:
    for name in (".claude-plugin", "agents", "bin", "config", "hooks", "scripts", "skills"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_a_problem_is_told_by_the_skill_instead_of_ending_it(make_session: MakeSession) -> None:
    lab, _ = make_session(files={"backlog.config.json": "{"})
    run = lab.session(SKILL, scenario=script(end="There is a problem."))
    assert (run.exit_code, run.result["result"]) == (0, "There is a problem."), run.explain()
    assert "backlog.config.json" in run.calls[0].all_text and "not valid JSON" in run.calls[0].all_text


def test_a_headless_run_is_refused_while_a_sessions_subagents_are_at_work(make_session: MakeSession) -> None:
    seen: list[str] = []

    def implement(job: Job) -> Answer:
        if job.turn == 0:
            beside = lab.begin("run")
            seen.append(f"{beside.communicate(timeout=20)[1]} {beside.returncode}")
        return diligent(job)

    lab, parent = make_session(parent=Parent(models(implement=implement)))
    ended_well(lab.session(SKILL, scenario=parent))
    assert re.fullmatch(r"backlog-ops: sub-agents of a Claude Code session are at work on a1: .*\n 1", seen[0]), seen
    assert lab.commits() == ["feat(src): implement T-1"]


# -- sub-agents


def write_own_file_now(job: Job) -> Answer:
    return write(job.own_file, f"{job.ticket}\n")


def failing(attempts: int) -> Callable[[Job], Answer]:
    """An implementer of T-1 whose first attempts do not pass LINT."""

    def write_something(job: Job) -> Answer:
        bad = job.ticket == "T-1" and job.attempt <= attempts
        again = job.attempt > 1 and job.turn == 0
        if again:
            return tool("Read", file_path=str(job.own_file))
        return write(job.own_file, f"BROKEN {job.attempt}\n" if bad else f"{job.ticket}\n")

    def agent(job: Job) -> Answer:
        steps = [write_something, *([write_something] if job.attempt > 1 else []), hand_in]
        return steps[job.turn](job) if job.turn < len(steps) else "Done."

    return agent
