"""The host's files of a session's sub-agents, as 2.1.330 and older ones write them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.host_files import config_folder, find_subagents_folder, subagent, subagents_in
from backlog_ops.money.transcripts import first_prompt, last_model, read_transcript

HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"


def assistant(message_id, model=HAIKU, stop_reason="tool_use", output=20, at="2026-11-24T12:00:01.500Z", **line):
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 450,
        "cache_read_input_tokens": 6000,
        "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 50},
        "output_tokens": output,
    }
    content = [{"type": "text", "text": "said"}]
    message = {"id": message_id, "model": model, "content": content, "stop_reason": stop_reason, "usage": usage}
    return {"type": "assistant", "timestamp": at, "message": message, **line}


def user(content="do it", at="2026-11-24T12:00:00.000Z"):
    return {"type": "user", "timestamp": at, "message": {"role": "user", "content": content}}


@pytest.fixture
def write(tmp_path):
    """A transcript of these lines, objects or bytes."""

    def write(*lines):
        path = tmp_path / "agent-a1.jsonl"
        path.write_bytes(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        return path

    return write


# -- where they are


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/x"}, "/home/x/.claude"),
        ({"HOME": "/home/x", "CLAUDE_CONFIG_DIR": "/elsewhere"}, "/elsewhere"),
        ({"HOME": "/home/x", "CLAUDE_CONFIG_DIR": ""}, "/home/x/.claude"),
    ],
)
def test_claudes_own_files_are_at_home_unless_the_environment_says_otherwise(environ, folder):
    assert config_folder(environ) == Path(folder)


def test_a_sessions_folder_is_found_in_whatever_project_it_began(tmp_path):
    folder = tmp_path / "projects" / "-home-x-repo" / "5e55" / "subagents"
    environ = {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    assert find_subagents_folder(environ, "5e55") is None
    folder.mkdir(parents=True)
    assert find_subagents_folder(environ, "5e55") == folder


@pytest.mark.parametrize("session", ["", ".", "..", "a/b", "../5e55", "*", "5e5?", "[5]e55"])
def test_what_is_no_sessions_name_finds_nothing(tmp_path, session):
    (tmp_path / "projects" / "-home-x-repo" / "5e55" / "subagents").mkdir(parents=True)
    assert find_subagents_folder({"CLAUDE_CONFIG_DIR": str(tmp_path)}, session) is None


# -- who they are


@pytest.mark.parametrize(
    ("meta", "call", "finished"),
    [
        ({"toolUseId": "toolu_1", "requestShape": "background", "finished": True}, "toolu_1", True),
        ({"toolUseId": "toolu_1", "requestShape": "background"}, "toolu_1", False),
        ({"toolUseId": "toolu_1", "requestShape": "background", "finished": "yes"}, "toolu_1", False),
        ({"toolUseId": "toolu_1"}, "toolu_1", None),
        ({"agentType": "fork"}, "", None),
        ({"toolUseId": 17}, "", None),
        ([], "", None),
    ],
)
def test_an_entry_says_which_call_started_it_and_whether_it_has_finished(tmp_path, meta, call, finished):
    (tmp_path / "agent-a1.meta.json").write_text(json.dumps(meta))
    found = subagent(tmp_path, "a1")
    assert (found.agent_id, found.tool_use_id, found.finished) == ("a1", call, finished)
    assert found.transcript == tmp_path / "agent-a1.jsonl"


def test_an_entry_that_is_not_there_says_nothing(tmp_path):
    found = subagent(tmp_path, "a1")
    assert (found.tool_use_id, found.finished) == ("", None)


def test_the_sub_agents_of_a_folder_are_those_with_an_entry_since_then(tmp_path):
    for name in ("a1", "a2"):
        (tmp_path / f"agent-{name}.meta.json").write_text("{}")
    (tmp_path / "agent-a3.jsonl").write_text("")
    (tmp_path / "other.meta.json").write_text("{}")
    os.utime(tmp_path / "agent-a1.meta.json", (1000, 1000))
    assert sorted(found.agent_id for found in subagents_in(tmp_path)) == ["a1", "a2"]
    assert [found.agent_id for found in subagents_in(tmp_path, since=1001.0)] == ["a2"]


def test_workflow_agents_are_found_in_their_own_folder(tmp_path):
    folder = tmp_path / "workflows" / "w1"
    folder.mkdir(parents=True)
    (folder / "agent-a2.meta.json").write_text("{}", encoding="utf-8")
    (found,) = subagents_in(tmp_path)
    assert (found.agent_id, found.tool_use_id, found.transcript) == ("a2", "", folder / "agent-a2.jsonl")


@pytest.mark.parametrize("count", [-1, True, 2**63, "7", None, 1.5])
def test_a_number_of_tokens_that_cannot_be_one_counts_as_none(write, count):
    line = assistant("m1")
    line["message"]["usage"]["output_tokens"] = count
    (call,) = read_transcript(write(line)).calls
    assert call.usage.output == 0


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert list(subagents_in(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("content", ["do it", [{"type": "text", "text": "do"}, {"type": "text", "text": "it"}]])
def test_the_first_line_holds_what_it_was_asked(write, content):
    asked = "do it" if isinstance(content, str) else "do\nit"
    assert first_prompt(write(user(content), user("more"))) == asked


@pytest.mark.parametrize(
    "first", [b"", b"{\n", b"[]\n", b"\xff\n", b'{"message": 1}\n', b'{"message": {"content": [1]}}\n']
)
def test_a_first_line_that_makes_no_sense_asks_nothing(write, first):
    assert first_prompt(write(first)) == ""


def test_a_transcript_that_has_not_begun_asks_nothing(tmp_path):
    assert first_prompt(tmp_path / "agent-a1.jsonl") == ""


# -- what they used


def test_an_answer_has_its_tokens_in_buckets_that_do_not_overlap(write):
    (call,) = read_transcript(write(user(), assistant("m1"))).calls
    assert (call.message_id, call.model) == ("m1", HAIKU)
    assert call.usage == Usage(input=3, cache_write_5m=400, cache_write_1h=50, cache_read=6000, output=20)


def test_an_answer_took_as_long_as_since_what_it_answers(write):
    (call,) = read_transcript(write(user(), assistant("m1"))).calls
    assert call.latency_ms == 1500
    assert call.at == pytest.approx(1795521601.5)


def test_a_clock_that_was_set_back_makes_no_answer_early(write):
    (call,) = read_transcript(write(user(at="2026-11-24T13:00:00Z"), assistant("m1"))).calls
    assert call.latency_ms == 0


def test_the_blocks_of_an_answer_are_one_call(write):
    lines = [assistant("m1", stop_reason=None, output=1), assistant("m1", output=29, at="2026-11-24T12:00:09Z")]
    (call,) = read_transcript(write(user(), *lines)).calls
    assert (call.usage.output, call.latency_ms, call.complete) == (29, 1500, True)


def test_an_early_count_after_the_right_one_takes_nothing_back(write):
    lines = [assistant("m1", output=29), assistant("m1", stop_reason=None, output=1)]
    (call,) = read_transcript(write(user(), *lines)).calls
    assert (call.usage.output, call.complete) == (29, True)


def test_an_answer_without_a_reason_to_stop_is_not_complete(write):
    (call,) = read_transcript(write(user(), assistant("m1", stop_reason=None, output=1))).calls
    assert not call.complete


def test_calls_come_in_the_order_in_which_they_were_made(write):
    lines = [assistant("m2"), user("result"), assistant("m1"), assistant("m2")]
    assert [call.message_id for call in read_transcript(write(user(), *lines)).calls] == ["m2", "m1"]


@pytest.mark.parametrize("kind", ["api-request", "api-request-blob", "attachment", "summary", None])
def test_only_lines_of_a_speaker_count(write, kind):
    assert read_transcript(write(user(), {**assistant("m1"), "type": kind})).calls == ()


@pytest.mark.parametrize(
    ("stop_reason", "ended"),
    [
        ("end_turn", True),
        ("stop_sequence", True),
        ("max_tokens", True),
        ("refusal", True),
        ("tool_use", False),
        ("pause_turn", False),
        (None, False),
        ([], False),
        ({"a": 1}, False),
        (17, False),
    ],
)
def test_the_last_word_is_one_after_which_nothing_comes(write, stop_reason, ended):
    assert read_transcript(write(user(), assistant("m1", stop_reason=stop_reason))).said_last_word is ended


def test_a_last_word_that_was_followed_by_more_was_none(write):
    lines = [assistant("m1", stop_reason="end_turn"), user("go on"), assistant("m2")]
    assert not read_transcript(write(user(), *lines)).said_last_word


@pytest.mark.parametrize(
    "line",
    [
        assistant("m2", "<synthetic>", "stop_sequence"),
        assistant("m2", stop_reason=None, isApiErrorMessage=True),
    ],
    ids=["synthetic", "marked"],
)
def test_the_hosts_own_last_word_is_an_error(write, line):
    seen = read_transcript(write(user(), assistant("m1"), line))
    assert (seen.error, seen.said_last_word) == ("said", True)


def test_an_error_that_was_got_over_is_none(write):
    seen = read_transcript(write(user(), assistant("m1", "<synthetic>", "stop_sequence"), assistant("m2")))
    assert (seen.error, [call.message_id for call in seen.calls]) == ("", ["m2"])


def test_a_transcript_that_is_not_there_is_empty(tmp_path):
    seen = read_transcript(tmp_path / "agent-a1.jsonl")
    assert (seen.prompt, seen.calls, seen.said_last_word, seen.error) == ("", (), False, "")


def test_a_line_that_is_cut_waits_for_its_rest(write):
    whole = json.dumps(assistant("m2")).encode()
    seen = read_transcript(write(user(), assistant("m1"), whole[:-30]))
    assert [call.message_id for call in seen.calls] == ["m1"]


# -- turns


def asks(message_id, *calls, tool="Read"):
    """The lines of an answer with these tool calls, one a block."""
    for call in calls:
        line = assistant(message_id)
        line["message"]["content"] = [{"type": "tool_use", "id": call, "name": tool, "input": {}}]
        yield line


def result(call):
    return user([{"type": "tool_result", "tool_use_id": call, "content": "there"}])


def test_an_answer_that_used_tools_and_has_all_their_results_is_a_turn(write):
    two = [*asks("m1", "t1", "t2"), result("t2"), result("t1"), *asks("m2", "t3"), result("t3")]
    assert read_transcript(write(user(), *two)).turns == 2


@pytest.mark.parametrize(
    "lines",
    [
        [assistant("m1", stop_reason="end_turn")],
        [assistant("m1"), user("go on")],
        [*asks("m1", "t1")],
        [*asks("m1", "t1", "t2"), result("t1")],
        [*asks("m1", "t1"), result("t2")],
        [*asks("m1", "t1", tool="SubagentHandback"), result("t1")],
    ],
    ids=["words", "an answer to words", "no result yet", "a result is missing", "another's result", "its last word"],
)
def test_nothing_else_is_a_turn(write, lines):
    assert read_transcript(write(user(), *lines)).turns == 0


def test_a_sub_agent_was_cut_when_it_has_used_up_its_turns_and_has_not_said_its_last_word(write):
    lines = [user(), *asks("m1", "t1"), result("t1"), *asks("m2", "t2"), result("t2")]
    seen = read_transcript(write(*lines))
    assert [limit for limit in (None, 1, 2, 3) if seen.was_cut(limit)] == [1, 2]
    assert not read_transcript(write(*lines, assistant("m3", stop_reason="end_turn"))).was_cut(2)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "model", "usage", "content", "text", "stop_reason", "type", "tool_use_id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=9,
)


@given(st.lists(st.tuples(st.sampled_from(["assistant", "user"]), JSON, JSON), max_size=4))
def test_nothing_that_a_line_may_hold_is_too_much(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    text = "\n".join(json.dumps({"type": kind, "message": message, "timestamp": at}) for kind, message, at in lines)
    path.write_text(text)
    read_transcript(path)
    last_model(path)
    first_prompt(path)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_much(tmp_path_factory, rest):
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(json.dumps(assistant("m1")).encode() + b"\n" + rest)
    assert read_transcript(path).calls[0].message_id == "m1"


# -- the main conversation


def test_the_model_of_a_session_is_the_one_that_answered_last(write):
    assert last_model(write(assistant("m1"), assistant("m2", OPUS), user("more"))) == OPUS


def test_the_hosts_own_words_do_not_name_a_sessions_model(write):
    assert last_model(write(assistant("m1", OPUS), assistant("m2", "<synthetic>"))) == OPUS


@pytest.mark.parametrize(
    "lines",
    [[], [user()], [{**assistant("m1"), "type": "api-request-blob"}], [b'{"type": "assistant"}\n'], [b"\xff\n"]],
)
def test_a_session_in_which_nobody_has_answered_has_no_model(write, lines):
    assert last_model(write(*lines)) is None


def test_only_the_end_of_a_long_conversation_is_read(write):
    path = write(assistant("m1", OPUS), user("x" * 10_000), assistant("m2", SONNET))
    assert last_model(path, most_bytes=5_000) == SONNET
    assert last_model(write(assistant("m1", OPUS), user("x" * 10_000)), most_bytes=5_000) is None
