"""The ticket template: refused as long as nobody has filled it in, valid once somebody has."""

from __future__ import annotations

from backlog_ops.domain.settings import Settings
from backlog_ops.domain.tickets import parse_ticket
from backlog_ops.run.setting_up import TICKET_TEMPLATE
from backlog_ops.storage.config_file import load_preset
from tests.support.setting_up import filled_in

RULES = Settings.from_json(load_preset()).ticket_validation
TEMPLATE = TICKET_TEMPLATE.read_text(encoding="utf-8")


def test_a_copy_that_was_not_filled_in_is_refused_for_exactly_what_is_missing():
    _ticket, problems = parse_ticket("a.md", TEMPLATE.encode(), RULES)
    assert [problem.message.partition(":")[0] for problem in problems] == [
        "`id` holds an empty text",
        "`title` holds an empty text",
        "AC-1 says nothing",
        "names no affected file",
    ]


def test_filled_in_it_is_a_valid_ticket():
    ticket, problems = parse_ticket("a.md", filled_in(TEMPLATE, "T-1", "src/a.txt").encode(), RULES)
    assert problems == ()
    assert ticket is not None
    assert (ticket.id, [file.path for file in ticket.affected_files]) == ("T-1", ["src/a.txt"])
    assert [criterion.text for criterion in ticket.criteria] == ["the file is there"]
