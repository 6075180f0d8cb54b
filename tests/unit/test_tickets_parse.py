"""A ticket file is read strictly, and everything wrong with it is said at once."""

import time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from backlog_ops.domain import frontmatter
from backlog_ops.domain.gates import Complexity, Priority, TicketStatus
from backlog_ops.domain.settings import TicketValidation
from backlog_ops.domain.tickets import AffectedFile, Criterion, FileAction, parse_ticket

STRICT = TicketValidation(require_acceptance_criteria=True, require_affected_files=True, max_bytes=262_144)
LAX = TicketValidation(require_acceptance_criteria=False, require_affected_files=False, max_bytes=262_144)

COMPLETE = """\
---
id: BUG-001
title: Reject expired tokens
status: ready-to-implement
priority: critical
tags: [SECURITY, auth]
complexity: high
depends_on: [FEAT-2]
affected_files:
  - ./src//auth/token.py
  - docs/
---

# Reject expired tokens

## Context
Tokens never expire.

## Description
Compare `exp` with the clock.

## Acceptance Criteria
- [ ] AC-1: an expired token is refused
- [x] AC-2: the message says when
  it expired

## Affected Files
| File | Action | Why |
|------|:------:|-----|
| `src/auth/token.py` | modify | the check |
| tests/test_token.py | Create | |

## Test Strategy
Unit tests with a fixed clock.
"""


def problems(text, rules=LAX):
    data = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in parse_ticket("t.md", data, rules)[1]]


def with_lines(*lines):
    return "\n".join(["---", "id: A", "title: T", *lines, "---", ""])


def parsed(text, rules=LAX):
    ticket, found = parse_ticket("t.md", text.encode(), rules)
    assert found == ()
    return ticket


def test_a_complete_ticket_is_read_whole():
    ticket = parsed(COMPLETE, STRICT)
    assert (ticket.id, ticket.title, ticket.path) == ("BUG-001", "Reject expired tokens", "t.md")
    assert (ticket.status, ticket.priority) == (TicketStatus.READY, Priority.CRITICAL)
    assert (ticket.tags, ticket.complexity) == (frozenset({"SECURITY", "auth"}), Complexity.HIGH)
    assert ticket.depends_on == ("FEAT-2",)
    assert ticket.test_strategy == "Unit tests with a fixed clock."
    assert ticket.text == COMPLETE
    assert (ticket.id_line, ticket.depends_on_line) == (2, 8)


def test_frontmatter_and_table_name_each_affected_file_once():
    assert parsed(COMPLETE).affected_files == (
        AffectedFile("src/auth/token.py", FileAction.MODIFY),
        AffectedFile("docs", FileAction.UNKNOWN),
        AffectedFile("tests/test_token.py", FileAction.CREATE),
    )


def test_a_criterion_goes_on_over_its_indented_lines():
    assert parsed(COMPLETE).criteria == (
        Criterion("AC-1", "an expired token is refused", 23),
        Criterion("AC-2", "the message says when it expired", 24),
    )


def test_what_is_not_said_has_its_default():
    ticket = parsed("---\nid: A\ntitle: T\n---\n")
    assert (ticket.status, ticket.priority) == (TicketStatus.PENDING, Priority.MEDIUM)
    assert ticket.complexity is Complexity.MEDIUM
    assert (ticket.tags, ticket.depends_on, ticket.affected_files) == (frozenset(), (), ())


def test_a_list_without_a_value_is_empty():
    assert parsed(with_lines("tags:", "depends_on:", "affected_files: []")).tags == frozenset()


def test_windows_line_ends_and_a_byte_order_mark_change_nothing_but_the_text():
    plain, windows = parsed(COMPLETE), parsed("\ufeff" + COMPLETE.replace("\n", "\r\n"))
    assert windows.text == COMPLETE.replace("\n", "\r\n")
    for name in ("id", "tags", "criteria", "affected_files", "test_strategy", "depends_on", "id_line"):
        assert getattr(windows, name) == getattr(plain, name)


@pytest.mark.parametrize("status", ["needs-investigation", "blocked", "completed"])
def test_every_status_is_read(status):
    assert parsed(with_lines(f"status: {status}")).status.value == status


@pytest.mark.parametrize(
    "title",
    ["$(touch x)", "`touch x`", 'it\'s "quoted"', "--flags --delete", "; rm -rf /", "<b>&", "é 👩‍👩‍👧 日本", "a\\nb"],
)
def test_a_hostile_title_on_one_line_is_only_text(title):
    quoted = title.replace("'", "''")
    assert parsed(f"---\nid: A\ntitle: '{quoted}'\n---\n").title == title


@pytest.mark.parametrize(
    "written",
    ['"a\\nb"', '"a\\tb"', '"a\\0b"', '"a\\e[31m"', '"a\\u202Eb"', '"a\\Lb"', "|\n  a\n  b", ">-\n  a\n\n  b"],
)
def test_a_title_that_is_no_single_line_is_a_problem_with_its_line(written):
    (problem,) = problems(f"---\nid: A\ntitle: {written}\n---\n")
    assert problem.startswith("t.md:3: `title`: ")
    assert "\n" not in problem


def test_everything_wrong_is_reported_at_once_in_the_order_of_the_file():
    text = """\
---
id: A..B
title: 2024
prioritty: high
status: done
tags: SECURITY
depends_on: [7]
affected_files: [/etc/passwd, ../x]
id: B
---
## Acceptance Criteria
- works
## Affected Files
| File | Action |
|---|---|
| src/a.py | deleet |
"""
    assert [problem.split(" ")[0] for problem in problems(text, STRICT)] == [
        *("t.md:2:", "t.md:3:", "t.md:4:", "t.md:5:", "t.md:6:", "t.md:7:", "t.md:8:", "t.md:8:", "t.md:9:"),
        *("t.md:11:", "t.md:12:", "t.md:16:"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prioritty: high", 't.md:4: unknown key "prioritty"; did you mean "priority"?'),
        ("dependsOn: []", 't.md:4: unknown key "dependsOn"; did you mean "depends_on"?'),
        ("zzz: 1", 't.md:4: unknown key "zzz"'),
        ("title: U", "t.md:4: `title` is given twice; the first is on line 3"),
        (
            "priority: hgh",
            't.md:4: `priority` "hgh" must be one of low, medium, high, critical; did you mean "high"?',
        ),
        ("complexity:", "t.md:4: `complexity` must be one of low, medium, high"),
        ("status: [pending]", "t.md:4: `status` must be one of "),
        ("status: |-\n  pending", "t.md:4: `status` must be one of "),
        ("tags: SECURITY", 't.md:4: `tags` must be a list: put "SECURITY" in [ ]'),
        ("tags: [yes]", 't.md:4: `tags`: YAML reads "yes" as something else than text: quote it'),
        ("depends_on: [12]", 't.md:4: `depends_on`: YAML reads "12" as something else than text: quote it'),
        ("depends_on: ['']", "t.md:4: `depends_on` holds an empty text"),
        ("tags: [[a]]", 't.md:4: "tags" must be a plain value or a flat list of them'),
        ("tags: {a: b}", 't.md:4: "tags" must be a plain value or a flat list of them'),
        ("tags: &x [a]", "t.md:4: YAML anchors (&x) and aliases (*x) have no place in a ticket"),
        ("tags: [*x]", "t.md:4: YAML anchors (&x) and aliases (*x) have no place in a ticket"),
        ("tags: !!python/name:os.system", "t.md:4: YAML tags (!x) have no place in a ticket"),
        ("<<: {id: B}", 't.md:4: "<<" must be a plain value'),
        ("tags: [a", "t.md:5: is not valid YAML: "),
        ("tags: a: b", "t.md:4: is not valid YAML: "),
        ("? tags\n: [a]", 't.md:4: the key "tags" must begin its line'),
        ("tags: ['a\x07']", 't.md:4: the frontmatter holds the control character "\\x07"'),
    ],
)
def test_a_wrong_frontmatter_line_is_named(line, said):
    assert any(problem.startswith(said) for problem in problems(with_lines(line)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "t.md:1: must begin with a `---` line"),
        (b"# Title\n", "t.md:1: must begin with a `---` line"),
        (b"---\nid: A\ntitle: T\n", "t.md:1: the frontmatter that begins here is not closed"),
        (b"---\nid: A\ntitle: caf\xe9\n---\n", "t.md:3: is not UTF-8 (byte 0xe9)"),
        ("---\nid: A\n---\n".encode("utf-16"), "t.md:1: is not UTF-8 (byte 0xff)"),
        (b"---\nid: A\ntitle: T\n---\n\nx\0y\n", "t.md:6: holds a NUL character"),
        (b"---\n- id\n---\n", "t.md:2: the frontmatter must be lines of `key: value`"),
        (b"---\n{id: A, title: T}\n---\n", "t.md:2: the frontmatter must be lines of `key: value`"),
        (b"---\nid: A\ntitle: T\n--- \n", None),
        (b"---\nid: A\n...\n--- x\n---\n", "t.md:4: a second YAML document begins here"),
    ],
)
def test_a_file_that_is_no_ticket_is_named_by_line(data, said):
    assert [p.startswith(said or "never") for p in problems(data)] == ([True] if said else [])


def test_a_megabyte_of_text_is_refused_by_its_size():
    assert problems(with_lines() + "x" * 1_000_000) == [
        "t.md:1: is larger than 262144 bytes (ticketValidation.maxBytes): split the ticket"
    ]


@pytest.mark.parametrize("id_", ["BUG-001", "a", "_x", "v1.2", "0", "Ab_c-9.z", "x" * 64])
def test_an_id_that_can_name_a_branch_and_a_file_is_accepted(id_):
    assert parsed(f"---\nid: '{id_}'\ntitle: T\n---\n").id == id_


@pytest.mark.parametrize(
    "id_",
    [
        "-x",
        ".x",
        "a..b",
        "a.lock",
        "A.LOCK",
        "a.",
        "a/b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "ä",
        "a@{b",
        "x" * 65,
        "$(x)",
        "٣",
    ],
)
def test_an_id_that_cannot_name_a_branch_and_a_file_is_refused(id_):
    ticket, found = parse_ticket("t.md", f"---\nid: '{id_}'\ntitle: T\n---\n".encode(), LAX)
    assert ticket is None
    assert [str(p).startswith("t.md:2: id ") for p in found] == [True]


def test_a_missing_id_and_title_are_both_named():
    assert problems("---\n---\n") == [
        "t.md:1: `id` is missing from the frontmatter",
        "t.md:1: `title` is missing from the frontmatter",
    ]


def test_a_ticket_with_problems_is_still_known_by_its_id():
    ticket, found = parse_ticket("t.md", with_lines("status: nope").encode(), LAX)
    assert ticket.id == "A"
    assert len(found) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/../b",
        "~/x",
        "~root/x",
        "a\\b",
        "C:/x",
        "c:x",
        ".",
        "./",
        "src/*.py",
        "a?",
        ".git/hooks/pre-commit",
        ".GIT/config",
        "./.git",
        ".backlog-ops/x",
        "' '",
        "a/" * 600,
    ],
)
def test_an_affected_path_outside_the_repository_or_unclear_is_refused(path):
    (problem,) = problems(with_lines("affected_files:", f"  - {path}"))
    assert problem.startswith("t.md:5: ")


@pytest.mark.parametrize("path", ['"a\\nb"', '"a\\0b"', '"a\\u202Eb"'])
def test_an_affected_path_with_a_line_break_or_control_is_refused(path):
    (problem,) = problems(with_lines(f"affected_files: [{path}]"))
    assert problem.startswith("t.md:4: `affected_files`: ")


@pytest.mark.parametrize(
    ("written", "normal"),
    [("./src/a.py", "src/a.py"), ("src//a.py", "src/a.py"), ("src/", "src"), ("a/./b", "a/b"), ("app/[id]/p.ts",) * 2],
)
def test_an_affected_path_has_one_spelling(written, normal):
    assert parsed(with_lines("affected_files:", f"  - '{written}'")).affected_files[0].path == normal


def body(section):
    return with_lines() + section


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("## Acceptance Criteria\n- works", "t.md:6: an acceptance criterion is written"),
        ("## Acceptance Criteria\n1. AC-1: works", "t.md:6: an acceptance criterion is written"),
        ("## Acceptance Criteria\n- [ ] AC-1:", "t.md:6: AC-1 says nothing"),
        ("## Acceptance Criteria\n- [ ] AC-1: a\n- [ ] AC-1: b", "t.md:7: AC-1 is already used on line 6"),
        ("## Acceptance Criterion\n- [ ] AC-1: a", 't.md:5: section "Acceptance Criterion" is not read; did you'),
        ("## Context\n## context\n", 't.md:6: a second section "Context"; the first is on line 5'),
        ("## Affected Files\n- src/a.py", "t.md:6: affected files are a table"),
        ("## Affected Files\n| src/a.py | new |", "t.md:6: this table must begin with"),
        ("## Affected Files\n| File |\n| src/a.py |", "t.md:6: this table must begin with"),
        ("## Affected Files\n| File | Action |\n|-|-|\n| a\\b | |", "t.md:8: affected file "),
        ("## Affected Files\n| File | Action |\n|-|-|\n| a | |\n| ./a | modfy |", 't.md:9: action "modfy" is none of'),
        (
            "## Affected Files\n| File | Action |\n|-|-|\n| a | create |\n| ./a | delete |",
            't.md:9: affected file "a" is said to create and to delete',
        ),
    ],
)
def test_a_wrong_line_of_the_body_is_named(section, said):
    (problem,) = problems(body(section))
    assert problem.startswith(said)


def test_a_section_holds_its_subsections_and_ends_at_the_next_heading_of_its_level():
    text = body("## Test Strategy\nrun it\n### By hand\nclick it\n## Notes\nnot this\n")
    assert parsed(text).test_strategy == "run it\n### By hand\nclick it"


def test_a_paragraph_after_a_blank_line_is_not_part_of_a_criterion():
    text = body("## Acceptance Criteria\n- [ ] AC-1: a\nb\n\n  c\n\nd\n")
    assert [criterion.text for criterion in parsed(text).criteria] == ["a b c"]


def test_examples_in_code_and_comments_are_no_criteria():
    text = body(
        "## Acceptance Criteria\n```\n- [ ] AC-8: code\n```\n<!--\n- [ ] AC-9: comment\n-->\n- [ ] AC-1: real\n"
    )
    assert [criterion.id for criterion in parsed(text).criteria] == ["AC-1"]


def test_a_heading_inside_fenced_code_ends_no_section():
    text = body("## Test Strategy\n```sh\n# comment\n## Context\n```\nrun it\n")
    assert parsed(text).test_strategy == "```sh\n# comment\n## Context\n```\nrun it"


def test_missing_criteria_and_files_are_problems_only_where_they_are_required():
    assert problems(with_lines()) == []
    assert len(problems(with_lines(), STRICT)) == 2


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, "{" * 100_000, "\n- " + "- " * 100_000, "[" + "&a x, " * 30_000, "? " * 100_000, '"' * 100_001],
)
def test_a_frontmatter_bomb_is_refused_quickly(value):
    began = time.perf_counter()
    assert problems(with_lines(f"tags: {value}"))
    assert time.perf_counter() - began < 2


TICKETISH = st.lists(
    st.sampled_from(
        [
            "---",
            "id: A",
            "title: T",
            "tags: [a, b]",
            "tags:",
            "  - a",
            "status: pending",
            "x: &a *a",
            "? a",
            "- ",
            "}",
            '"\\UFFFFFFFF": "\\ud800"',
            "title: |",
            "  a",
            "%YAML 1.1",
            "...",
            "## Affected Files",
            "| File | Action |",
            "|---|---|",
            "| a | create |",
            "|",
            "## Acceptance Criteria",
            "- [ ] AC-1: a",
            "- [ ]",
            "```",
            "<!--",
            "\r",
            "\x85",
            "\u2028id: B",
            "\ufeff",
            "\x00",
            "\x1b",
            "#" * 9,
            "# ",
            "\t",
            "!!binary x",
            "<<: *a",
            "id: !x A",
        ]
    ),
    max_size=25,
).map(lambda lines: "\n".join(lines).encode())


@given(
    st.one_of(
        st.binary(max_size=300),
        TICKETISH,
        TICKETISH.map(lambda data: b"---\n" + data),
        st.text(max_size=200).map(lambda text: f"---\n{text}\n---\n{text}".encode()),
    ),
    st.booleans(),
)
@example(b'---\nid: "\\ud800"\n---\n', False)
@example(b'---\nid: "\\UFFFFFFFF"\n---\n', False)
def test_no_bytes_make_the_parser_raise_or_break_a_message_into_lines(data, native):
    with pytest.MonkeyPatch.context() as patch:
        if not native:
            patch.setattr(frontmatter, "_LOADER", yaml.SafeLoader)
        ticket, found = parse_ticket("t.md", data, STRICT)
    assert ticket is not None or found
    for problem in found:
        assert 1 <= problem.line <= data.count(b"\n") + 1
        assert str(problem).isprintable() or not set(str(problem)) & set("\r\n\0\x1b\x85\u2028")
    if ticket is not None:
        assert ticket.text.encode() == data.removeprefix(b"\xef\xbb\xbf")
