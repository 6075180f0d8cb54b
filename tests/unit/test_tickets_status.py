"""A status change edits the value on the status line and no other byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import TicketStatus
from backlog_ops.domain.settings import TicketValidation
from backlog_ops.domain.tickets import parse_ticket, with_status

LAX = TicketValidation(require_acceptance_criteria=False, require_affected_files=False, max_bytes=262_144)
DONE = TicketStatus.COMPLETED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"status: pending", b"status: completed"),
        (b"status:   pending  # not yet", b"status:   completed  # not yet"),
        (b"status: 'pending'", b"status: 'completed'"),
        (b'status: "pending" # x', b'status: "completed" # x'),
        (b'"status" : pending', b'"status" : completed'),
        (b"status:\n  pending", b"status:\n  completed"),
    ],
)
def test_only_the_value_changes(before, after):
    whole = b"---\nid: A\n%s\ntitle: 'status: pending'\n---\n\nstatus: pending\n"
    assert with_status(whole % before, DONE) == whole % after


def test_windows_line_ends_indentation_and_the_byte_order_mark_stay():
    data = b"\xef\xbb\xbf---\r\n  id: A\r\n  status: pending\r\n---\r\n\xc3\xa9"
    assert with_status(data, DONE) == data.replace(b"pending", b"completed")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"---\nid: A\n---\n", b"---\nstatus: completed\nid: A\n---\n"),
        (b"---\r\n  id: A\r\n---", b"---\r\n  status: completed\r\n  id: A\r\n---"),
        (b"---\n# c\nid: A\n---\n", b"---\n# c\nstatus: completed\nid: A\n---\n"),
        (b"---\n---\n", b"---\nstatus: completed\n---\n"),
    ],
)
def test_a_status_line_is_added_where_none_was(before, after):
    assert with_status(before, DONE) == after


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no frontmatter",
        b"---\nid: A\n",
        b"---\nstatus: [a]\n---\n",
        b"---\nstatus:\n---\n",
        b"\xff",
        b"---\nstatus: |\n  pending\n---\n",
        b"---\n? id\n: A\n---\n",
        b"---\nid: *x\n---\n",
    ],
)
def test_a_file_whose_status_cannot_be_edited_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        with_status(data, DONE)


@given(
    st.sampled_from(list(TicketStatus)),
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["", "  "]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
)
def test_a_changed_ticket_says_its_new_status_and_changes_back(status, quote, end, mark, indent, body):
    lines = ["---", f"{indent}id: A", f"{indent}status: {quote}blocked{quote} # why", f"{indent}title: T", "---", body]
    data = (mark + end.join(lines)).encode()
    changed = with_status(data, status)
    ticket, _ = parse_ticket("t.md", changed, LAX)
    assert ticket.status is status
    assert with_status(changed, TicketStatus.BLOCKED) == data
