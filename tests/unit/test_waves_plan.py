"""The deterministic planner: every ticket as early as the more important ones leave room."""

import pytest

from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.settings import Backlog
from backlog_ops.domain.tickets import AffectedFile, FileAction, Ticket
from backlog_ops.domain.waves import check_wave_plan, plan_waves

LOW, MEDIUM, HIGH, CRITICAL = Priority.LOW, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL


def ticket(id_, *files, depends_on=(), priority=MEDIUM, creates=(), text="", status=TicketStatus.PENDING):
    affected = [AffectedFile(path, FileAction.MODIFY) for path in files or [f"{id_}.py"]]
    affected += [AffectedFile(path, FileAction.CREATE) for path in creates]
    return Ticket(
        id=id_,
        title="T",
        status=status,
        priority=priority,
        tags=frozenset(),
        complexity=Complexity.LOW,
        depends_on=tuple(depends_on),
        affected_files=tuple(affected),
        path=f"{id_}.md",
        criteria=(),
        test_strategy="",
        text=text,
    )


def plan_of(tickets, slots=2, completed=(), added=None):
    rules = Backlog("tickets", slots, ("**/package-lock.json",))
    plan = plan_waves(tickets, completed, added or {}, rules)
    assert check_wave_plan(plan, tickets, completed, rules) == ()
    return plan


def waves_of(*args, **kwargs):
    return [[slot.id for slot in wave] for wave in plan_of(*args, **kwargs).waves]


def test_an_empty_backlog_has_an_empty_plan():
    assert waves_of([]) == []


def test_the_urgent_come_first():
    tickets = [ticket("L", priority=LOW), ticket("M"), ticket("C", priority=CRITICAL), ticket("H", priority=HIGH)]
    assert waves_of(tickets, slots=1) == [["C"], ["H"], ["M"], ["L"]]


def test_among_equals_the_oldest_come_first_and_those_without_an_age_last():
    tickets = [ticket("A"), ticket("B"), ticket("C"), ticket("D")]
    assert waves_of(tickets, slots=1, added={"C": 10.0, "B": 20.0}) == [["C"], ["B"], ["A"], ["D"]]


def test_a_dependency_comes_before_what_needs_it_whatever_their_priority():
    tickets = [ticket("C", depends_on=["L"], priority=CRITICAL), ticket("L", priority=LOW), ticket("M")]
    assert waves_of(tickets) == [["M", "L"], ["C"]]


def test_a_later_ticket_fills_the_room_that_a_conflict_leaves():
    tickets = [ticket("A", "x.py"), ticket("B", "x.py"), ticket("C", "y.py")]
    assert waves_of(tickets) == [["A", "C"], ["B"]]


def test_a_chain_leaves_its_file_free_in_the_waves_before():
    tickets = [
        ticket("A", "a.py", priority=CRITICAL),
        ticket("B", "shared.py", depends_on=["A"], priority=CRITICAL),
        ticket("C", "shared.py", priority=LOW),
    ]
    assert waves_of(tickets) == [["A", "C"], ["B"]]


def test_a_ticket_without_affected_files_gets_a_wave_of_its_own():
    unknown = Ticket(**{**vars(ticket("U", priority=CRITICAL)), "affected_files": ()})
    assert waves_of([unknown, ticket("A"), ticket("B")]) == [["U"], ["A", "B"]]


def test_the_user_of_a_new_file_waits_for_its_creator():
    tickets = [
        ticket("A-USER", text="from auth.token import verify", priority=CRITICAL),
        ticket("CREATOR", creates=["src/auth/token.py"], priority=LOW),
    ]
    assert waves_of(tickets) == [["CREATOR"], ["A-USER"]]


def test_a_user_does_not_wait_for_a_creator_that_is_skipped():
    tickets = [ticket("U", text="src/auth/token.py"), ticket("C", creates=["src/auth/token.py"], depends_on=["gone"])]
    assert waves_of(tickets) == [["U"]]


def test_what_cannot_be_done_is_skipped_with_the_reason():
    tickets = [
        ticket("A"),
        ticket("B", depends_on=["gone"]),
        ticket("C", depends_on=["B"]),
        ticket("D", status=TicketStatus.BLOCKED),
        ticket("E", depends_on=["F"]),
        ticket("F", depends_on=["E"]),
        ticket("G", depends_on=["done", "D"]),
        ticket("H", depends_on=["H"]),
    ]
    assert {skip.id: skip.reason for skip in plan_of(tickets, completed={"done"}).skipped} == {
        "B": "depends on gone, which is neither completed nor in this plan",
        "C": "depends on B, which is neither completed nor in this plan",
        "D": "its status is blocked",
        "E": "depends on F, which is neither completed nor in this plan",
        "F": "depends on E, which is neither completed nor in this plan",
        "G": "depends on D, which is neither completed nor in this plan",
        "H": "depends on H, which is neither completed nor in this plan",
    }


@pytest.mark.parametrize(
    ("depends_on", "rationale"),
    [
        ((), "high priority"),
        (("A", "B"), "high priority, after A, B"),
        (("A", "B", "C"), "high priority, after A, B …"),
    ],
)
def test_each_slot_says_who_does_it_and_why_there(depends_on, rationale):
    tickets = [ticket("A"), ticket("B"), ticket("C"), ticket("T", depends_on=depends_on, priority=HIGH)]
    (slot,) = [slot for wave in plan_of(tickets).waves for slot in wave if slot.id == "T"]
    assert (slot.subagent_type, slot.rationale) == ("implementer", rationale)


def test_a_chain_of_thousands_is_planned_without_recursion():
    tickets = [ticket(f"T{i:04}", depends_on=[f"T{i - 1:04}"] if i else []) for i in range(3000)]
    assert waves_of(tickets) == [[f"T{i:04}"] for i in range(3000)]
