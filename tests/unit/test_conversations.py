"""The calls of a conversation that grows: whose they are, and that how it is read does not matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.conversations import Mark, Reading, read_on

HAIKU = "claude-haiku-5-5"


def said(key: str, *calls: str, stop: str | None = "tool_use", output: int = 20, sign: str = "") -> dict[str, Any]:
    """One line of an answer; `calls`: sub-agents that it starts, `sign`: whose it shows its turn to be."""
    content = [{"type": "tool_use", "name": "Agent", "id": call, "input": {}} for call in calls]
    message = {
        "id": key,
        "model": HAIKU,
        "stop_reason": stop,
        "content": [*content, {"type": "text", "text": "said"}],
        "usage": {"input_tokens": 3, "output_tokens": output},
    }
    return {"type": "assistant", "timestamp": "2026-11-24T12:00:01Z", "sign": sign, "message": message}


def heard(prompt: str = "", sign: str = "", at: str = "2026-11-24T12:00:00Z") -> dict[str, Any]:
    """A prompt, or without one a tool's result."""
    content: Any = f"prompt {prompt}" if prompt else [{"type": "tool_result", "content": "there"}]
    line = {"type": "user", "timestamp": at, "sign": sign, "message": {"role": "user", "content": content}}
    return {**line, **({"promptId": prompt} if prompt else {})}


def sign(line: Any, _turn_at: float) -> str:
    return str(line.get("sign") or "")


@pytest.fixture
def write(tmp_path):
    """A conversation of these lines, objects or bytes."""

    def write(*lines: Any) -> Path:
        path = tmp_path / "c.jsonl"
        path.write_bytes(as_bytes(lines))
        return path

    return write


def as_bytes(lines: Any) -> bytes:
    return b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)


def owners(reading: Reading) -> dict[str, str]:
    return {call.message_id: owner for call, owner in reading.calls}


def of_parent(path: Path, mark: Mark | None = None, **options: Any) -> Reading:
    return read_on(path, mark or Mark(), sign=sign, **options)


# -- whose a call is


def test_a_call_of_a_turn_without_a_sign_is_nobodys(write):
    assert owners(of_parent(write(heard("p1"), said("m1", stop="end_turn"), heard("p2")))) == {}


def test_a_prompt_with_a_sign_makes_all_of_its_turn_somebodys(write):
    path = write(heard("p1", sign="r1"), said("m1"), heard(), said("m2", stop="end_turn"))
    assert owners(of_parent(path)) == {"m1": "r1", "m2": "r1"}


def test_a_turn_is_somebodys_from_the_answer_with_the_sign_on(write):
    path = write(heard("p1"), said("m1"), heard(), said("m2", sign="r1"), heard(), said("m3", stop="end_turn"))
    assert owners(of_parent(path)) == {"m2": "r1", "m3": "r1"}


def test_a_sign_in_the_last_line_of_an_answer_is_one_of_the_answer(write):
    path = write(heard("p1"), said("m1"), said("m1", sign="r1"), heard(), said("m2", stop="end_turn"))
    assert owners(of_parent(path)) == {"m1": "r1", "m2": "r1"}


def test_the_next_prompt_ends_a_turn(write):
    path = write(heard("p1", sign="r1"), said("m1", stop="end_turn"), heard("p2"), said("m2", stop="end_turn"))
    assert owners(of_parent(path)) == {"m1": "r1"}


def test_the_lines_of_one_prompt_begin_one_turn(write):
    """Such as a command, and the skill's text that the host adds to it."""
    path = write(heard("p1", sign="r1"), heard("p1"), said("m1", stop="end_turn"))
    assert owners(of_parent(path)) == {"m1": "r1"}


def test_prompts_of_a_host_that_numbers_none_are_told_apart_by_their_time(write):
    first = {**heard("p", sign="r1", at="2026-11-24T12:00:00Z"), "promptId": None}
    second = {**heard("p", at="2026-11-24T12:05:00Z"), "promptId": None}
    path = write(first, said("m1", stop="end_turn"), second, said("m2", stop="end_turn"))
    assert owners(of_parent(path)) == {"m1": "r1"}


def test_a_sign_is_told_when_its_turn_began(write):
    seen: list[float] = []
    lines = [heard("p1"), said("m1"), heard(at="2026-11-24T13:00:00Z"), said("m2")]
    read_on(write(*lines), Mark(), sign=lambda _line, turn_at: seen.append(turn_at) or "")
    assert set(seen) == {1795521600.0}


def test_all_calls_of_a_sub_agent_are_its_owners(write):
    path = write(heard("p1"), said("m1"), heard("p2"), said("m2", stop="end_turn"))
    assert owners(read_on(path, Mark(), owner="a7")) == {"m1": "a7", "m2": "a7"}


def test_sub_agents_that_are_started_for_somebody_are_his(write):
    path = write(heard("p1"), said("m1", "call1"), heard("p2", sign="r1"), said("m2", "call2", "call3"))
    assert dict(of_parent(path).started) == {"call2": "r1", "call3": "r1"}


def test_the_hosts_own_words_are_no_call(write):
    synthetic = said("m2", stop="stop_sequence", sign="r1")
    synthetic["message"]["model"] = "<synthetic>"
    assert owners(of_parent(write(heard("p1", sign="r1"), said("m1"), synthetic))) == {"m1": "r1"}


# -- what is settled


def test_an_answer_that_may_go_on_is_looked_at_again(write):
    reading = of_parent(write(heard("p1", sign="r1"), said("m1", stop=None, output=1)))
    assert reading.calls == ()
    assert reading.mark.done == len(as_bytes([heard("p1", sign="r1")]))


def test_an_answer_that_may_still_get_an_owner_is_looked_at_again(write):
    path = write(heard("p1"), said("m1"))
    before = of_parent(path)
    path.write_bytes(path.read_bytes() + as_bytes([said("m1", sign="r1")]))
    assert owners(of_parent(path, before.mark)) == {"m1": "r1"}


def test_an_answer_is_settled_by_what_follows_it(write):
    (owned,) = of_parent(write(heard("p1", sign="r1"), said("m1", stop=None, output=1), heard())).calls
    assert (owned.call.usage.output, owned.call.complete) == (1, False)


def test_in_the_end_an_answer_is_taken_as_it_is(write):
    path = write(heard("p1", sign="r1"), said("m1", stop=None, output=1))
    assert owners(of_parent(path, final=True)) == {"m1": "r1"}


def test_what_was_settled_is_not_given_twice(write):
    path = write(heard("p1", sign="r1"), said("m1"), heard(), said("m2", stop="end_turn"))
    mark = of_parent(path).mark
    assert (mark.done, of_parent(path, mark).calls) == (path.stat().st_size, ())


@pytest.mark.parametrize("last", [said("m1", stop="end_turn"), said("m1", stop="refusal")])
def test_an_answer_that_ends_its_turn_is_the_last_word(write, last):
    assert of_parent(write(heard("p1"), last)).mark.last_word


def test_what_the_host_says_a_session_has_cost_is_found_among_the_lines(write):
    cost = {"type": "cost-state", "totalCostUSD": 1.5}
    assert of_parent(write(heard("p1"), cost)).cost_state == cost
    assert of_parent(write(heard("p1"))).cost_state is None


# -- files that are not as they should be


def test_a_file_that_is_not_there_is_an_empty_conversation(tmp_path):
    reading = of_parent(tmp_path / "nowhere.jsonl")
    assert (reading.calls, reading.mark, reading.cost_state) == ((), Mark(), None)


def test_a_folder_in_its_place_is_an_empty_conversation(tmp_path):
    assert of_parent(tmp_path).calls == ()


def test_a_file_that_was_cut_is_read_from_its_beginning(write):
    lines = [heard("p1", sign="r1"), said("m1"), heard(), said("m2", stop="end_turn")]
    mark = of_parent(write(*lines)).mark
    assert owners(of_parent(write(heard("p9", sign="r9"), said("m9", stop="end_turn")), mark)) == {"m9": "r9"}


def test_a_file_that_was_written_anew_is_read_from_its_beginning(write):
    mark = of_parent(write(heard("p1", sign="r1"), said("m1", stop="end_turn"))).mark
    longer = [heard("p8", sign="r8"), said("m8"), heard(), said("m9", stop="end_turn")]
    assert owners(of_parent(write(*longer), mark)) == {"m8": "r8", "m9": "r8"}


def test_a_line_that_is_cut_is_left_for_the_next_time(write):
    lines = [heard("p1", sign="r1"), said("m1", stop="end_turn")]
    whole = as_bytes(lines)
    reading = of_parent(write(whole[:-30]))
    assert reading.calls == ()
    assert owners(of_parent(write(whole), reading.mark)) == {"m1": "r1"}


def test_a_last_line_without_its_line_break_is_whole_where_it_can_be_read(write):
    assert owners(of_parent(write(as_bytes([heard("p1", sign="r1"), said("m1", stop="end_turn")])[:-1]))) == {
        "m1": "r1"
    }


def test_entries_without_a_line_break_between_them_both_count(write):
    joined = json.dumps(said("m1")).encode() + json.dumps(said("m2", stop="end_turn")).encode() + b"\n"
    assert owners(of_parent(write(heard("p1", sign="r1"), joined))) == {"m1": "r1", "m2": "r1"}


def test_an_entry_after_the_half_of_another_counts(write):
    half = json.dumps(said("m1")).encode()[:150]
    path = write(heard("p1", sign="r1"), half + json.dumps(said("m2", stop="end_turn")).encode() + b"\n")
    assert owners(of_parent(path)) == {"m2": "r1"}


def test_a_mark_survives_being_kept(write):
    path = write(heard("p1", sign="r1"), said("m1"), heard(), said("m2", stop="end_turn"))
    mark = of_parent(path).mark
    assert Mark.from_json(mark.done, mark.state()) == mark


@pytest.mark.parametrize("state", ["", "{}", "[]", "no json"])
def test_a_mark_whose_state_cannot_be_read_knows_its_place(state):
    assert Mark.from_json(17, state) == Mark(17)


# -- read in pieces


@st.composite
def turns(draw):
    """Turns with and without a sign, answers of several lines, counts that are early as on older hosts."""
    number, lines = 0, []
    for prompt in range(draw(st.integers(1, 3))):
        lines.append(heard(f"p{prompt}", sign=draw(st.sampled_from(["", "", "r1", "r2"]))))
        for _ in range(draw(st.integers(0, 3))):
            number += 1
            blocks = draw(st.integers(1, 3))
            early = draw(st.booleans())  # the host writes all but the last block before the answer's end
            for block in range(blocks):
                last = block == blocks - 1
                stop = draw(st.sampled_from(["tool_use", "end_turn", None])) if last else "tool_use"
                lines.append(
                    said(
                        f"m{number}",
                        *([f"call{number}"] if draw(st.booleans()) else []),
                        stop=None if early and not last else stop,
                        output=1 if early and not last else 20 + number,
                        sign=draw(st.sampled_from(["", "", "", "r1"])),
                    )
                )
                if draw(st.integers(0, 4)) == 0:
                    lines.append(heard())  # a result, between the blocks as well
            lines.append(heard())
    return as_bytes(lines)


def merged(readings: list[Reading]) -> dict[str, tuple[str, Usage]]:
    """What the ledger makes of several readings: one row a call, put right where a count was early."""
    found: dict[str, tuple[str, Usage]] = {}
    for reading in readings:
        for call, owner in reading.calls:
            known = found.get(call.message_id)
            if known is None:
                found[call.message_id] = (owner, call.usage)
            elif known[1].output < call.usage.output:
                found[call.message_id] = (known[0], call.usage)
    return found


@settings(max_examples=150)
@given(turns(), st.lists(st.integers(0, 10_000), max_size=6))
def test_a_conversation_that_is_read_in_pieces_has_the_same_calls(tmp_path_factory, content, cuts):
    """The pieces end anywhere, within lines too."""
    path = tmp_path_factory.getbasetemp() / "pieces.jsonl"
    mark, readings = Mark(), []
    for end in [*sorted(cut % (len(content) + 1) for cut in cuts), len(content)]:
        path.write_bytes(content[:end])
        reading = of_parent(path, mark)
        readings.append(reading)
        mark = Mark.from_json(reading.mark.done, reading.mark.state())
    readings.append(of_parent(path, mark, final=True))
    whole = of_parent(path, final=True)
    assert merged(readings) == merged([whole])
    assert {call: owner for reading in readings for call, owner in reading.started.items()} == dict(whole.started)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=60) | st.just(b"\n") | st.just(as_bytes([said("m1")])[:-1]), max_size=5))
def test_no_bytes_are_too_much(tmp_path_factory, pieces):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(b"".join(pieces))
    reading = of_parent(path)
    assert 0 <= reading.mark.done <= path.stat().st_size
    of_parent(path, Mark(done=path.stat().st_size // 2), final=True)
