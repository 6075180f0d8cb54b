"""The hand-over hooks: what a parent session is told when its sub-agents end. The engine and its worker are real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run import agent_rows
from backlog_ops.run.steps import Step
from tests.support.hook_events import HAIKU, SONNET, Host, open_wave
from tests.support.parent_session import Parent, until

pytestmark = pytest.mark.usefixtures("workers")  # no worker, and no hook, outlives its test


class Session:
    """A parent in a repository with these tickets; every command knows the session that it is called from."""

    def __init__(self, folder: Path, *ids: str, **fields: object) -> None:
        self.parent = Parent.of(folder / "repo", *ids, **fields)
        self.host = Host.of(self.parent.lab.top)

    def command(self, *args):
        done = self.parent.lab.cli(*args, **self.host.environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def launch(self, answer, play=True):
        """A sub-agent for each action of a list, at work side by side; with `play` they do what they are asked."""
        agents = [self.host.launch(action) for action in answer["actions"]]
        if play:
            for action in answer["actions"]:
                self.parent.play(action)
        return agents

    def events(self):
        return [event.text for event in self.parent.ctx.store.events(self.parent.run.id)]

    def agents(self):
        return {row.tool_use_id: row for row in agent_rows.agents_of_run(self.parent.ctx.store, self.parent.run.id)}


@pytest.fixture
def one(tmp_path):
    return Session(tmp_path, "T-1")


@pytest.fixture
def two(tmp_path):
    return Session(tmp_path, "T-1", "T-2")


def gates(answer):
    return sorted((action["ticket"], action["gate"]) for action in answer["actions"])


# -- in the foreground: PostToolUse says that one has ended


def test_the_last_of_a_list_hands_over_and_the_others_print_nothing(two):
    first, last = two.launch(two.command("start"))
    assert two.host.hook("returned", first.returned()).is_silent
    said = two.host.hook("returned", last.returned())
    assert gates(said.handed_over) == [("T-1", "IMPLEMENT"), ("T-2", "IMPLEMENT")]


def test_what_is_handed_over_is_what_next_prints(two):
    first, last = two.launch(two.command("start"))
    two.host.hook("returned", first.returned())
    assert two.host.hook("returned", last.returned()).handed_over == two.command("next")


def test_what_is_handed_over_is_added_to_the_events_own_context(one):
    (agent,) = one.launch(one.command("start"))
    inner = one.host.hook("returned", agent.returned()).parsed["hookSpecificOutput"]
    assert sorted(inner) == ["additionalContext", "hookEventName"]
    assert inner["hookEventName"] == "PostToolUse"


def test_nothing_is_handed_over_twice(one):
    (agent,) = one.launch(one.command("start"))
    assert one.host.hook("returned", agent.returned()).handed_over
    assert one.host.hook("returned", agent.returned()).is_silent


def test_what_next_has_said_before_is_not_handed_over(one):
    (agent,) = one.launch(one.command("start"))
    assert one.host.hook("stopped", agent.stopped()).is_silent
    assert gates(one.command("next")) == [("T-1", "IMPLEMENT")]
    assert one.host.hook("returned", agent.returned()).is_silent


def test_a_run_is_driven_to_its_end_by_hooks_alone(one):
    answer = one.command("start")
    for gate in ("PLAN", "IMPLEMENT", "REVIEW"):
        assert gates(answer) == [("T-1", gate)]
        (agent,) = one.launch(answer)
        answer = one.host.hook("returned", agent.returned(SONNET if gate == "REVIEW" else HAIKU)).handed_over
    (last,) = answer["actions"]
    assert (last["do"], last["summary"].splitlines()[0]) == ("done", "wave 1: 1 of 1 done.")
    assert one.parent.lab.log() == ["feat(src): implement T-1", "start"]


def test_the_end_of_a_run_is_said_once(one):
    one.parent.begin_at(Gate.REVIEW)
    (agent,) = one.launch(one.command("next"))
    assert one.host.hook("returned", agent.returned(SONNET)).handed_over["actions"][0]["do"] == "done"
    assert one.host.hook("returned", agent.returned(SONNET)).is_silent


def test_an_agent_call_of_somebody_else_says_nothing(one):
    one.command("start")
    foreign = one.host.sub_agent("Find all unused imports.")
    assert one.host.hook("returned", foreign.returned()).is_silent


def test_the_sub_agents_of_another_session_are_not_waited_for(two):
    mine, others = sorted(two.command("start")["actions"], key=lambda action: action["ticket"])
    two.launch({"actions": [others]}, play=False)
    here = Host.of(two.parent.lab.top)
    agent = here.launch(mine)
    two.parent.play(mine)
    assert gates(here.hook("returned", agent.returned()).handed_over) == [("T-1", "IMPLEMENT")]


# -- one that fails


def died(session, action):
    """The attempt of an IMPLEMENT action counts and nobody is said to have judged it."""
    ticket = session.parent.lab.states()["T-1"]
    said = [text for text in session.events() if "died" in text]
    return ticket.fails == 0 and said == [f"IMPLEMENT attempt 1 died: {action}"]


def test_a_failed_sub_agent_makes_its_attempt_a_failed_one_with_the_cause(one):
    one.parent.begin_at(Gate.IMPLEMENT)
    (agent,) = one.launch(one.command("next"), play=False)
    said = one.host.hook("returned", agent.failed("Agent terminated early due to an API error: 529"))
    assert died(one, "Agent terminated early due to an API error: 529")
    assert [(action["gate"], action["attempt"]) for action in said.handed_over["actions"]] == [("IMPLEMENT", 2)]


@pytest.mark.parametrize("how", ["returned", "stopped", "woken"])
def test_one_that_died_on_an_older_host_which_calls_that_completed_is_a_failed_one_too(one, how):
    one.parent.begin_at(Gate.IMPLEMENT)
    agent = one.host.launch(one.command("next")["actions"][0], older=True)
    agent.answers(HAIKU)
    agent.breaks_off("API Error: 400 bad request")
    events = {
        "returned": agent.returned(),
        "stopped": agent.stopped(),
        "woken": one.host.prompt(agent.notification("completed")),
    }
    one.host.hook(how, events[how])
    assert one.command("next")["actions"][0]["attempt"] == 2
    assert died(one, "API Error: 400 bad request")


def test_a_failure_is_answered_in_its_own_events_name(one):
    one.parent.begin_at(Gate.IMPLEMENT)
    (agent,) = one.launch(one.command("next"), play=False)
    said = one.host.hook("returned", agent.failed("it broke"))
    assert said.parsed["hookSpecificOutput"]["hookEventName"] == "PostToolUseFailure"


def test_a_cause_with_half_a_character_is_kept_as_far_as_it_can_be(one):
    """A host that cuts a text may cut an emoji; its JSON then names half of it."""
    one.parent.begin_at(Gate.IMPLEMENT)
    (agent,) = one.launch(one.command("next"), play=False)
    assert one.host.hook("returned", agent.failed("it broke \ud83d")).handed_over
    assert died(one, "it broke \\ud83d")


def test_an_interrupted_sub_agent_leaves_its_action_open_for_another(one):
    one.parent.begin_at(Gate.IMPLEMENT)
    answer = one.command("next")
    (agent,) = one.launch(answer, play=False)
    assert one.host.hook("returned", agent.failed("Interrupted by user", is_interrupt=True)).is_silent
    assert one.command("next") == answer
    assert one.host.launch(answer["actions"][0]).call != agent.call


def test_a_turn_that_fails_for_good_ends_its_sub_agent_at_once(two):
    first, _other = two.launch(two.command("start"), play=False)
    said = two.host.hook("stopped", first.died("API Error: 400 bad request"))
    assert said.is_silent
    row = two.agents()[first.call]
    assert row.ended_at is not None
    assert row.cause == "API Error: 400 bad request"
    (handed_in,) = two.parent.ctx.store.actions(two.parent.run.id, "handed-in")
    assert (handed_in.number, handed_in.cause) == (row.action, row.cause)


def test_a_failed_turn_of_the_main_session_is_nobodys_end(one):
    (agent,) = one.launch(one.command("start"), play=False)
    event = one.host.event("StopFailure", error="rate_limit", last_assistant_message="API Error: 429")
    assert one.host.hook("stopped", event).is_silent
    assert one.agents()[agent.call].ended_at is None


# -- in the background: it is launched, it stops, its notification comes


def test_a_launch_is_noted_and_nothing_is_said(one):
    (agent,) = one.launch(one.command("start"), play=False)
    assert one.host.hook("returned", agent.launched(HAIKU)).is_silent
    row = one.agents()[agent.call]
    assert (row.agent_id, row.resolved_model, row.ended_at) == (agent.id, HAIKU, None)


def test_one_that_stops_is_held_until_its_whole_list_has_stopped_and_the_engine_is_done(two):
    first, last = two.launch(two.command("start"))
    held = two.host.begin("stopped", first.stopped())
    until(lambda: two.agents()[first.call].ended_at)
    assert held.process.poll() is None
    released = [two.host.hook("stopped", last.stopped()), held.wait()]
    assert [said.is_silent for said in released] == [True, True]
    assert [ticket.step for ticket in two.parent.lab.states().values()] == [Step.IMPLEMENT, Step.IMPLEMENT]
    rows = two.parent.ctx.store.rows("SELECT DISTINCT released_at FROM agent")
    assert len(rows) == 1  # one instant: the parent is woken once


def test_one_that_stops_a_second_time_is_not_held_again(two):
    first, _last = two.launch(two.command("start"))
    held = two.host.begin("stopped", first.stopped())
    until(lambda: two.agents()[first.call].ended_at)
    assert two.host.hook("stopped", first.stopped()).is_silent
    assert two.command("next", "--lost")  # the other one is gone
    assert held.wait().is_silent


def test_the_first_notification_hands_over_and_the_others_are_kept_from_the_parent(two):
    agents = two.launch(two.command("start"))
    for held in [two.host.begin("stopped", agent.stopped()) for agent in agents]:
        assert held.wait().is_silent
    first, *others = [two.host.hook("woken", two.host.prompt(agent.notification())) for agent in agents]
    assert gates(first.handed_over) == [("T-1", "IMPLEMENT"), ("T-2", "IMPLEMENT")]
    assert [other.parsed["decision"] for other in others] == ["block"]


def test_a_notification_while_another_one_is_at_work_is_kept_from_the_parent(two):
    first, _other = two.launch(two.command("start"))
    said = two.host.hook("woken", two.host.prompt(first.notification()))
    assert said.parsed["decision"] == "block"
    assert said.parsed["reason"].startswith("backlog: noted; ")
    assert two.agents()[first.call].ended_at is not None


def test_several_notifications_in_one_prompt_hand_over_once(two):
    agents = two.launch(two.command("start"))
    said = two.host.hook("woken", two.host.prompt("\n".join(agent.notification() for agent in agents)))
    assert gates(said.handed_over) == [("T-1", "IMPLEMENT"), ("T-2", "IMPLEMENT")]


@pytest.mark.parametrize("status", ["failed", "killed", "stopped"])
def test_a_notification_of_a_bad_end_makes_the_attempt_a_failed_one_with_its_cause(one, status):
    one.parent.begin_at(Gate.IMPLEMENT)
    (agent,) = one.launch(one.command("next"), play=False)
    summary = 'Agent "work" failed:\n  API Error: 400'
    said = one.host.hook("woken", one.host.prompt(agent.notification(status, summary)))
    assert died(one, 'Agent "work" failed: API Error: 400')
    assert [(action["gate"], action["attempt"]) for action in said.handed_over["actions"]] == [("IMPLEMENT", 2)]


def test_work_that_was_handed_in_is_not_undone_by_a_bad_end(one):
    """It ran `submit`, then the host failed to hear its last words."""
    one.parent.begin_at(Gate.IMPLEMENT)
    (agent,) = one.launch(one.command("next"))
    assert one.parent.lab.cli("submit", one.parent.answers[-1]["actions"][0]["id"]).returncode == 0
    said = one.host.hook("woken", one.host.prompt(agent.notification("failed", "API Error: 529")))
    assert gates(said.handed_over) == [("T-1", "REVIEW")]


def test_in_auto_mode_the_hand_back_is_held_and_the_message_hands_over(one):
    (agent,) = one.launch(one.command("start"))
    assert one.host.hook("stopped", agent.handed_back()).is_silent
    said = one.host.hook("woken", one.host.prompt(agent.message()))
    assert gates(said.handed_over) == [("T-1", "IMPLEMENT")]


def test_a_sub_agent_that_a_person_asked_to_go_on_wakes_the_parent_again(one):
    (agent,) = one.launch(one.command("start"))
    one.host.hook("stopped", agent.handed_back())
    one.host.hook("woken", one.host.prompt(agent.message()))
    assert one.host.hook("woken", one.host.prompt(agent.message())).is_silent


def test_a_wake_that_is_somebody_elses_too_is_never_kept_from_the_parent(two):
    first, _second = two.launch(two.command("start"))
    foreign = two.host.sub_agent("Find all unused imports.")
    assert two.host.hook("woken", two.host.prompt(first.notification() + foreign.notification())).is_silent


def test_an_action_that_the_parent_did_not_start_is_handed_over_again(two):
    answer = two.command("start")
    one_of_two = two.launch({**answer, "actions": answer["actions"][:1]})
    left = answer["actions"][1]["id"]
    (agent,) = one_of_two
    said = two.host.hook("woken", two.host.prompt(agent.notification()))
    assert left in [action.get("id") for action in said.handed_over["actions"]]


@pytest.mark.parametrize(
    "prompt",
    [
        "Go on.",
        "What does <task-notification> mean?",
        "<task-notification>",
        "<task-notification><tool-use-id></tool-use-id></task-notification>",
        '<agent-message from="">\n\n</agent-message>',
        '<agent-message from="a-nobody-knows">\ndone\n</agent-message>',
        "",
    ],
)
def test_what_else_a_session_is_told_is_left_alone(one, prompt):
    one.launch(one.command("start"), play=False)
    assert one.host.hook("woken", one.host.prompt(prompt)).is_silent


def test_the_notification_and_the_message_of_a_foreign_sub_agent_are_left_alone(one):
    one.launch(one.command("start"), play=False)
    foreign = one.host.sub_agent("Find all unused imports.")
    for prompt in (foreign.notification(), foreign.notification("failed"), foreign.message()):
        assert one.host.hook("woken", one.host.prompt(prompt)).is_silent


def test_a_foreign_sub_agent_that_stops_is_not_held(one):
    one.launch(one.command("start"), play=False)
    foreign = one.host.sub_agent("Find all unused imports.")
    for event in (foreign.stopped(), foreign.handed_back(), foreign.died("x")):
        assert one.host.hook("stopped", event).is_silent


def test_another_sessions_message_of_the_same_id_is_left_alone(one):
    (agent,) = one.launch(one.command("start"), play=False)
    one.host.hook("returned", agent.launched())
    other = Host.of(one.parent.lab.top)
    assert other.hook("woken", other.prompt(agent.message())).is_silent


# -- who is late


def test_the_late_end_of_one_that_was_given_up_does_not_hand_in_what_another_is_at_work_on(one):
    one.parent.begin_at(Gate.IMPLEMENT)
    (slow,) = one.launch(one.command("next"), play=False)
    (again,) = one.command("next", "--lost")["actions"]
    one.host.launch(again)
    one.host.hook("woken", one.host.prompt(slow.notification()))
    assert [action.id for action in one.parent.ctx.store.actions(one.parent.run.id, "open")] == [again["id"]]


def test_a_notification_after_the_run_was_aborted_says_once_that_it_was(one):
    (agent,) = one.launch(one.command("start"), play=False)
    one.parent.lab.cli("abort")
    said = [one.host.hook("woken", one.host.prompt(agent.notification())) for _ in range(2)]
    assert said[0].handed_over["actions"][0]["do"] == "done"  # somebody else may have aborted it
    assert said[1].is_silent


def test_hooks_of_a_linked_worktree_of_the_repository_say_nothing(one, tmp_path):
    """Its runs are driven from where they were opened."""
    open_wave(one.parent)
    one.parent.lab.git.run("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    other = Host.of(tmp_path / "linked")
    assert other.hook("session", other.event("SessionStart", source="startup")).is_silent
