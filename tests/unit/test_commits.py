"""Commit messages: Conventional Commits or the template."""

from __future__ import annotations

import pytest

from backlog_ops.domain.commits import commit_area, commit_type, message_problem, template_message


@pytest.mark.parametrize(
    "message",
    [
        "fix: x",
        "feat(auth): add tokens",
        "feat(api)!: drop v1\n\nBREAKING CHANGE: v1 is gone",
        "docs(a/b.c): say why",
    ],
)
def test_conventional_messages_pass(message):
    assert message_problem(message) is None


@pytest.mark.parametrize(
    "message",
    [
        "",
        "None",
        "Add tokens",
        "feature: x",
        "fix:x",
        "fix(): x",
        "fix: " + "x" * 100,
        "fix: x\nbody without a blank line",
        "fix: x\n\n" + "y" * 4000,
        "fix: \x1b[31mred",
        "Here is your message:\n\nfix: x",
        "```\nfix: x\n```",
    ],
)
def test_other_messages_are_refused(message):
    assert message_problem(message)


@pytest.mark.parametrize(
    ("ticket_id", "tags", "kind"),
    [
        ("BUG-001", (), "fix"),
        ("SEC-9", (), "fix"),
        ("DOCS-2", (), "docs"),
        ("FEAT-3", (), "feat"),
        ("T1", (), "feat"),
        ("BUG-1", ("refactor",), "refactor"),
    ],
)
def test_the_type_comes_from_the_tags_then_from_the_id(ticket_id, tags, kind):
    assert commit_type(ticket_id, tags) == kind


def test_the_area_is_the_one_folder_that_the_code_lies_in():
    assert commit_area(["src/a.py", "src/b/c.py"]) == "src"
    assert commit_area(["src/a.py", "tests/test_a.py"]) == "src"
    assert commit_area(["tests/test_a.py"]) == "tests"
    assert commit_area(["src/a.py", "web/b.js"]) == "repo"
    assert commit_area(["README.md"]) == "repo"


def test_the_template_is_itself_conventional():
    message = template_message("fix", "src", "BUG-001")
    assert message == "fix(src): implement BUG-001"
    assert message_problem(message) is None
