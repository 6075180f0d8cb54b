"""What is wrong between tickets: ids that meet, dependencies that nobody knows, circles."""

import time

from backlog_ops.domain.settings import TicketValidation
from backlog_ops.domain.tickets import parse_ticket, validate_backlog

LAX = TicketValidation(require_acceptance_criteria=False, require_affected_files=False, max_bytes=262_144)


def ticket(id_, *depends_on, path=None):
    data = f"---\nid: '{id_}'\ntitle: T\ndepends_on: [{', '.join(depends_on)}]\n---\n".encode()
    parsed, problems = parse_ticket(path or f"{id_}.md", data, LAX)
    assert problems == ()
    return parsed


def problems(*tickets, completed=()):
    return [str(problem) for problem in validate_backlog(tickets, completed)]


def test_a_sound_backlog_has_no_problem():
    assert problems(ticket("A"), ticket("B", "A"), ticket("C", "A", "B")) == []


def test_a_dependency_on_a_completed_ticket_is_met():
    assert problems(ticket("B", "A"), completed={"A"}) == []


def test_ids_are_matched_exactly_whatever_the_file_name():
    assert problems(ticket("BUG-1", path="feature.md"), ticket("B", "bug-1")) == [
        'B.md:4: depends on "bug-1", which no ticket has as its id; did you mean "BUG-1"?'
    ]


def test_a_duplicate_id_names_the_other_file():
    assert problems(ticket("A", path="1.md"), ticket("A", path="2.md")) == ["2.md:2: id A is already used in 1.md"]


def test_ids_that_differ_only_by_case_collide():
    assert problems(ticket("bug-1"), ticket("BUG-1")) == [
        "BUG-1.md:2: id BUG-1 differs only by case from bug-1 in bug-1.md"
    ]


def test_an_id_that_was_completed_before_is_taken():
    assert problems(ticket("A"), ticket("b"), completed={"A", "B"}) == [
        "A.md:2: id A is already used in completed/",
        "b.md:2: id b differs only by case from B in completed/",
    ]


def test_an_unknown_dependency_comes_with_the_id_that_was_meant():
    assert problems(ticket("FEAT-12"), ticket("B", "FEAT-21x")) == [
        'B.md:4: depends on "FEAT-21x", which no ticket has as its id'
    ]
    assert problems(ticket("FEAT-12"), ticket("B", "FEA-12")) == [
        'B.md:4: depends on "FEA-12", which no ticket has as its id; did you mean "FEAT-12"?'
    ]


def test_a_ticket_that_depends_on_itself_is_named_once():
    assert problems(ticket("A", "A")) == ["A.md:4: A depends on itself"]


def test_each_circle_is_named_in_order_from_its_first_id():
    found = problems(
        ticket("C", "A"), ticket("A", "B"), ticket("B", "C"), ticket("D", "A"), ticket("X", "Y"), ticket("Y", "X")
    )
    assert found == ["A.md:4: circular dependency: A → B → C → A", "X.md:4: circular dependency: X → Y → X"]


def test_a_circle_through_a_completed_ticket_is_none():
    tickets = [ticket("A", "B"), ticket("B", "A")]
    assert not [p for p in problems(*tickets, completed={"B"}) if "circular" in p]


def test_a_circle_of_thousands_is_found_quickly_and_said_briefly():
    tickets = [ticket(f"T{i:05}", f"T{(i + 1) % 10_000:05}") for i in range(10_000)]
    began = time.perf_counter()
    (problem,) = problems(*tickets)
    assert time.perf_counter() - began < 5
    assert problem.startswith("T00000.md:4: circular dependency: T00000 → T00001 → ")
    assert problem.endswith(" → … → T00000")


def test_thousands_of_unknown_dependencies_are_reported_quickly():
    tickets = [ticket(f"T{i:05}", f"U{i:05}") for i in range(5_000)]
    began = time.perf_counter()
    assert len(problems(*tickets)) == 5_000
    assert time.perf_counter() - began < 5
