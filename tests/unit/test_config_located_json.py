"""Reading JSON with line numbers: the same values as the standard library, plus where they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.storage.located_json import JsonSyntaxError, parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
ALMOST_JSON = st.text(st.sampled_from('{}[]:,"\\/ \n\t0123.eE+-truefalsn'), max_size=24)


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_every_value_is_read_as_the_standard_library_reads_it(value: Any, indent: int | None, ascii_: bool) -> None:
    assert parse(json.dumps(value, indent=indent, ensure_ascii=ascii_)).value == value


@given(ALMOST_JSON)
def test_text_is_refused_exactly_when_it_is_not_json(text: str) -> None:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        expected = json.loads(text, parse_constant=refuse)
    except ValueError:
        with pytest.raises(JsonSyntaxError):
            parse(text)
    else:
        assert parse(text).value == expected


@given(st.dictionaries(TEXT, st.lists(st.integers(), max_size=3), min_size=1, max_size=5))
def test_every_key_is_found_on_the_line_it_is_written_on(value: dict[str, list[int]]) -> None:
    text = json.dumps(value, indent=1)
    lines = text.split("\n")
    found = parse(text)
    for key, items in value.items():
        assert lines[found.line((key,)) - 1].strip().startswith(json.dumps(key))
        for index, item in enumerate(items):
            assert lines[found.line((key, index)) - 1].strip(" ,") == str(item)


def test_a_path_that_is_not_there_has_the_line_of_what_is_around_it() -> None:
    found = parse('{\n "a": {\n  "b": 1\n }\n}')
    assert found.line(("a", "missing", 3)) == 2
    assert found.line(("missing",)) == 1


def test_a_repeated_key_is_reported_with_the_line_of_the_last() -> None:
    found = parse('{"a": {\n"b": 1,\n"b": 2}}')
    assert found.duplicates == (("a", "b"),)
    assert found.line(("a", "b")) == 3
    assert found.value == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ('{"a": 1,\n}', 1, 8, 'a comma before "}"'),
        ("[1,\n 2,\n]", 2, 3, 'a comma before "]"'),
        ('{"a": 1\n "b": 2}', 2, 2, 'expected "," or "}"'),
        ("{\n // why\n}", 2, 2, "comments are not allowed"),
        ("{'a': 1}", 1, 2, "expected a key in double quotes"),
        ('{"a" 1}', 1, 6, 'expected ":"'),
        ('{"a": True}', 1, 7, 'found "True"'),
        ('{"a": NaN}', 1, 7, 'found "NaN"'),
        ('{"a": "b\n"}', 1, 7, "a string with no end on its line"),
        ('{"a": "\\x"}', 1, 7, "an invalid escape"),
        ('{"a": "\\ud800"}', 1, 7, "half of a surrogate pair"),
        ('{"a": [', 1, 8, "the end of the file"),
        ('{"a": 1} {', 1, 10, "after the end"),
        ("[" * 100_000, 1, 66, "levels deep"),
        ("9" * 5_000, 1, 1, "a number of more than"),
        ("", 1, 1, "the end of the file"),
    ],
)
def test_a_syntax_error_says_where_and_what(text: str, line: int, column: int, part: str) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert part in caught.value.message
