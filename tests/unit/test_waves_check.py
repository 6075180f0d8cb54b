"""A wave plan is accepted whole or rejected with its reasons."""

import json

import jsonschema
import pytest

from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.settings import Backlog
from backlog_ops.domain.tickets import AffectedFile, FileAction, Ticket
from backlog_ops.domain.waves import WAVE_PLAN_SCHEMA, check_wave_plan, parse_wave_plan

RULES = Backlog("tickets", 2, ("**/package-lock.json", "**/migrations/**"))
LLAMA_CPP_MOST_REPETITIONS = 2000  # MAX_REPETITION_THRESHOLD: a schema at or above it is refused with a 400


def ticket(id_, *files, depends_on=(), creates=(), text="", status=TicketStatus.PENDING):
    affected = [AffectedFile(path, FileAction.UNKNOWN) for path in files]
    affected += [AffectedFile(path, FileAction.CREATE) for path in creates]
    return Ticket(
        id=id_,
        title="T",
        status=status,
        priority=Priority.MEDIUM,
        tags=frozenset(),
        complexity=Complexity.LOW,
        depends_on=tuple(depends_on),
        affected_files=tuple(affected),
        path=f"{id_}.md",
        criteria=(),
        test_strategy="",
        text=text,
    )


def answer(*waves, skipped=(), numbers=None):
    return {
        "waves": [
            {
                "wave": number,
                "tickets": [{"id": name, "subagent_type": "backend", "rationale": "auth"} for name in wave],
            }
            for number, wave in zip(numbers or range(1, len(waves) + 1), waves, strict=True)
        ],
        "skipped": [{"id": name, "reason": "later"} for name in skipped],
    }


def reasons(tickets, *waves, completed=(), skipped=(), numbers=None):
    plan = parse_wave_plan(answer(*waves, skipped=skipped, numbers=numbers))
    return list(check_wave_plan(plan, tickets, completed, RULES))


A, B, C = ticket("A", "a.py"), ticket("B", "b.py"), ticket("C", "c.py", depends_on=["A"])


def test_a_plan_that_keeps_every_rule_is_accepted():
    assert reasons([A, B, C], ["A", "B"], ["C"]) == []


@pytest.mark.parametrize(
    ("waves", "said"),
    [
        ((["A"], ["C"]), "B is missing from the plan"),
        ((["A", "B"], ["C", "A"]), "A stands in the plan 2 times"),
        ((["A", "B"], ["C", "D\n"]), '"D\\n" is no ticket of this backlog'),
        ((["A", "B"], ["C", "a"]), '"a" is no ticket of this backlog'),
        ((["A", "B"], [], ["C"]), "wave 2 is empty"),
        ((["C"], ["A", "B"]), "C in wave 1 depends on A, which is in no earlier wave and not completed"),
        ((["A", "C"], ["B"]), "C in wave 1 depends on A, which is in no earlier wave and not completed"),
        ((["A", "B", "C"],), "wave 1 holds 3 tickets, more than 2"),
    ],
)
def test_a_broken_rule_is_named(waves, said):
    assert said in reasons([A, B, C], *waves)


@pytest.mark.parametrize("numbers", [(1, 3), (2, 1), (0, 1), (1, 1), (2, 3)])
def test_waves_must_be_numbered_from_one_in_order(numbers):
    assert reasons([A, B, C], ["A", "B"], ["C"], numbers=numbers) == [
        "the waves are not numbered 1, 2, 3 … in their order"
    ]


def test_every_broken_rule_is_named_at_once():
    assert len(reasons([A, B, C], ["C", "C"], [], skipped=["A"])) == 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/a.py"),
        ("./src/a.py", "src//a.py"),
        ("src/", "src/deep/a.py"),
        ("src/A.py", "src/a.py"),
        ("caf\u00e9.md", "cafe\u0301.md"),
        ("web/package-lock.json", "package-lock.json"),
        ("app/migrations/1.sql", "other/migrations/deep/2.sql"),
        ("app/migrations", "other/migrations/2.sql"),
    ],
)
def test_two_tickets_of_a_wave_may_not_touch_one_thing(one, other):
    (reason,) = reasons([ticket("A", one), ticket("B", other)], ["A", "B"])
    (reversed_reason,) = reasons([ticket("A", one), ticket("B", other)], ["B", "A"])
    assert reason.startswith("wave 1: A and B meet in the ")
    assert reversed_reason.startswith("wave 1: B and A meet in the ")
    assert reasons([ticket("A", one), ticket("B", other)], ["A"], ["B"]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/a.pyc"),
        ("src/a", "src/ab/c"),
        ("web/package-lock.json", "yarn.lock"),
        ("web/package-lock.json", "app/migrations/1.sql"),
        ("src/migrations.py", "app/migrations/1.sql"),
    ],
)
def test_two_tickets_of_a_wave_may_be_near_each_other(one, other):
    assert reasons([ticket("A", one), ticket("B", other)], ["A", "B"]) == []


def test_a_ticket_without_affected_files_is_alone_in_its_wave():
    tickets = [ticket("A"), ticket("B", "b.py")]
    (reason,) = reasons(tickets, ["A", "B"])
    assert reason == "wave 1: A and B meet in the whole repository (one of them names no affected file)"
    assert reasons(tickets, ["B"], ["A"]) == []


NEW = ticket("NEW", creates=["src/auth/token.py"])
USER = ticket("USER", "src/api.py", text="from auth.token import verify")


def test_the_creator_of_a_file_comes_in_an_earlier_wave_than_its_user():
    assert reasons([NEW, USER], ["NEW"], ["USER"]) == []
    assert reasons([NEW, USER], ["NEW", "USER"]) == ["wave 1: NEW and USER meet in the new file src/auth/token.py"]
    assert reasons([NEW, USER], ["USER"], ["NEW"]) == ["USER in wave 1 uses a file that NEW creates in a later wave"]


def test_depends_on_decides_where_it_says_the_opposite():
    new = ticket("NEW", creates=["src/auth/token.py"], depends_on=["USER"])
    assert reasons([new, USER], ["USER"], ["NEW"]) == []


def test_depends_on_decides_through_other_tickets_too():
    new = ticket("NEW", creates=["src/auth/token.py"], depends_on=["MID"])
    tickets = [new, ticket("MID", "m.py", depends_on=["USER"]), USER]
    assert reasons(tickets, ["USER"], ["MID"], ["NEW"]) == []


def test_tickets_that_use_each_others_new_files_are_only_kept_apart():
    one = ticket("A", creates=["src/a/one.py"], text="src/b/two.py")
    two = ticket("B", creates=["src/b/two.py"], text="src/a/one.py")
    assert reasons([one, two], ["A"], ["B"]) == []
    assert reasons([one, two], ["B"], ["A"]) == []
    assert len(reasons([one, two], ["A", "B"])) == 1


def test_two_users_of_a_new_file_may_share_a_wave():
    other = ticket("OTHER", "src/cli.py", text="src/auth/token.py")
    assert reasons([NEW, USER, other], ["NEW"], ["USER", "OTHER"]) == []


def test_where_several_tickets_create_a_file_its_users_are_only_kept_apart():
    tickets = [NEW, ticket("NEWER", creates=["src/auth/token.py"]), USER]
    assert reasons(tickets, ["NEWER"], ["USER"], ["NEW"]) == []
    assert reasons(tickets, ["USER"], ["NEWER"], ["NEW"]) == []
    assert len(reasons(tickets, ["USER", "NEWER"], ["NEW"])) == 1


def test_a_completed_dependency_is_met():
    assert reasons([C], ["C"], completed={"A"}) == []


def test_a_completed_dependency_is_no_reason_to_skip():
    assert len(reasons([C], completed={"A"}, skipped=["C"])) == 1


def test_a_ticket_is_skipped_only_where_a_dependency_cannot_be_met():
    needy = ticket("N", "n.py", depends_on=["gone"])
    follower = ticket("F", "f.py", depends_on=["N"])
    assert reasons([A, needy, follower], ["A"], skipped=["N", "F"]) == []
    assert reasons([A, C], ["A"], skipped=["C"]) == ["C is skipped, though the plan can meet all that it depends on"]
    assert reasons([A, B], ["A"], skipped=["B"]) == ["B is skipped, though the plan can meet all that it depends on"]


def test_tickets_that_depend_on_each_other_can_only_be_skipped():
    circle = [ticket("A", "a.py", depends_on=["B"]), ticket("B", "b.py", depends_on=["A"])]
    assert reasons(circle, skipped=["A", "B"]) == []
    assert len(reasons(circle, ["A"], ["B"])) == 1


@pytest.mark.parametrize("status", [TicketStatus.BLOCKED, TicketStatus.COMPLETED])
def test_a_ticket_whose_status_keeps_it_back_can_only_be_skipped(status):
    held = ticket("H", "h.py", status=status)
    assert reasons([held], skipped=["H"]) == []
    assert reasons([held], ["H"]) == [f"H in wave 1 has the status {status}"]


def test_the_answer_of_rules_md_is_schema_valid():
    jsonschema.validate(answer(["A", "B"], ["C"], skipped=["D"]), WAVE_PLAN_SCHEMA)


@pytest.mark.parametrize(
    "broken",
    [
        {"waves": []},
        {"waves": [{"wave": "1", "tickets": []}], "skipped": []},
        {"waves": [{"wave": 1, "tickets": []}], "skipped": []},
        {"waves": [{"wave": 1, "tickets": [{"id": "A"}]}], "skipped": []},
        {"waves": [], "skipped": ["A"]},
        {"waves": [], "skipped": [], "note": ""},
    ],
)
def test_another_form_of_answer_is_not_schema_valid(broken):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, WAVE_PLAN_SCHEMA)


def repetitions(schema):
    for key, value in schema.items():
        if key in ("maxItems", "maxLength"):
            yield value
        elif isinstance(value, dict):
            yield from repetitions(value)


def test_the_schema_is_small_enough_for_a_local_model_to_be_held_to_it():
    assert max(repetitions(WAVE_PLAN_SCHEMA)) < LLAMA_CPP_MOST_REPETITIONS
    assert len(json.dumps(WAVE_PLAN_SCHEMA)) < 1500
