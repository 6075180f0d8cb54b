"""Schemas: what is checked, what counts as an echo, and the part that Claude can enforce."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.errors import UsageError
from backlog_ops.llm.structured import Check, claude_schema, json_text, with_schema_in_words
from tests.support.llm import call

pytest.importorskip("jsonschema")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"enum": ["ok", "bad"]}, "score": {"type": "integer", "minimum": 0}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('\n{"a": 1}\n', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('```\n{"a": 1}\n```\n', '{"a": 1}'),
        ('{"a": "```json\\nx\\n```"}', '{"a": "```json\\nx\\n```"}'),
    ],
)
def test_one_code_fence_around_all_of_it_is_taken_off(answer: str, text: str) -> None:
    assert json_text(answer) == text


def test_an_answer_that_passes_is_returned_as_a_value() -> None:
    assert Check(SCHEMA).complaint('{"label": "ok", "score": 3}') == ({"label": "ok", "score": 3}, None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sure! Here it is", "not JSON"),
        ('{"label": "ok"', "not JSON"),
        ('{"label": NaN}', "NaN is not a JSON value"),
        ('{"label": "odd"}', "$.label"),
        ('{"label": "ok", "score": -1}', "$.score"),
        ("{}", "'label' is a required property"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_the_complaint_says_where_and_what(answer: str, reason: str) -> None:
    value, complaint = Check(SCHEMA).complaint(answer)
    assert value is None
    assert reason in (complaint or "")


def test_an_echo_of_the_schema_is_no_answer_even_where_it_would_pass() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string"}}}
    _, complaint = Check(loose).complaint('{"type": "object", "properties": {"a": {"type": "string"}}}')
    assert "repeats the schema" in (complaint or "")


def test_a_schema_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"not a JSON Schema: \$\.type"):
        Check({"type": "nonsense"})


def test_a_reference_to_another_host_is_an_error_and_not_a_download() -> None:
    check = Check({"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(UsageError, match="refers to something it does not hold"):
        check.complaint('{"a": 1}')


def test_bounds_that_claude_does_not_know_are_left_out_and_objects_closed() -> None:
    schema = {
        "type": "object",
        "title": "t",
        "properties": {
            "n": {"type": "integer", "minimum": 1},
            "list": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 9}},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["n"],
    }
    assert claude_schema(schema) == {
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["n"],
        "additionalProperties": False,
    }


def test_a_property_may_bear_the_name_of_a_keyword() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}, "not": {"type": "string"}}}
    narrowed = claude_schema(schema)
    assert narrowed is not None
    assert set(narrowed["properties"]) == {"title", "not"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object"},
        {"type": "object", "properties": {"map": {"type": "object"}}},
        {"type": "object", "properties": {"any": True}},
        {"type": "object", "properties": {"far": {"$ref": "https://example.invalid/s"}}},
    ],
)
def test_what_claude_cannot_enforce_is_not_sent(schema: dict[str, Any]) -> None:
    assert claude_schema(schema) is None


def test_a_schema_in_words_joins_the_system_prompt() -> None:
    worded = with_schema_in_words(call(system="Be brief.", schema=SCHEMA))
    assert worded.schema is None
    assert worded.system.startswith("Be brief.\n\n")
    assert '"additionalProperties": false' in worded.system


@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_any_schema_is_narrowed_or_refused_without_a_traceback(value: Any) -> None:
    claude_schema({"type": "object", "properties": {"a": {"type": "string", "default": value}}})
