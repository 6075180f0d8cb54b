"""`<think>` blocks are taken off an answer, however the stream is cut into pieces."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from backlog_ops.llm.thoughts import ThoughtFilter, without_thoughts

CASES = {
    "no thoughts": ("answer", "answer"),
    "a block in front": ("<think>hm</think>answer", "answer"),
    "white space around it": ("\n <think>\nhm\n</think>\n\nanswer", "answer"),
    "several blocks": ("<think>a</think> <think>b</think>answer", "answer"),
    "nested blocks": ("<think>a <think>b</think> c</think>answer", "answer"),
    "never closed": ("<think>a lot of thought", ""),
    "nested and never closed": ("<think>a<think>b</think>answer?", ""),
    "an empty block": ("<think></think>answer", "answer"),
    "capitals": ("<THINK>hm</Think>answer", "answer"),
    "tags further on are text": (
        "fix: strip <think> and </think> tags",
        "fix: strip <think> and </think> tags",
    ),
    "almost a tag": ("<thinker> is a word", "<thinker> is a word"),
    "less than a tag": ("<th", "<th"),
    "nothing": ("", ""),
    "opened by the template": ("hm, let me see\n</think>\n\nanswer", "answer"),
}


@pytest.mark.parametrize(("text", "answer"), CASES.values(), ids=CASES)
def test_only_the_answer_is_left(text: str, answer: str) -> None:
    assert without_thoughts(text) == answer


@given(st.sampled_from([text for text, _ in CASES.values()]), st.lists(st.integers(1, 9), max_size=40))
def test_a_stream_shows_the_same_however_it_is_cut(text: str, sizes: list[int]) -> None:
    whole = ThoughtFilter()
    expected = whole.feed(text) + whole.rest()
    pieces, start = ThoughtFilter(), 0
    shown = ""
    for size in sizes:
        shown += pieces.feed(text[start : start + size])
        start += size
    shown += pieces.feed(text[start:]) + pieces.rest()
    assert shown == expected


@given(st.text(alphabet="ab<>/think ", max_size=30))
def test_thoughts_never_come_out(thought: str) -> None:
    assume("<think>" not in thought and "</think>" not in thought)
    assert without_thoughts(f"<think>{thought}</think>ANSWER") == "ANSWER"
