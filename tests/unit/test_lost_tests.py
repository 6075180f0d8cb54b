"""Tests that a change deleted or weakened: one line each, and nothing for a test that only moved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.lost_tests import lost_tests

PYTHON = """\
import pytest


@pytest.mark.parametrize("name", ["a", "b"])
def test_accepts(name):
    assert accept(name)
    assert not refuse(name)
    with pytest.raises(ValueError):
        accept("")


class TestLogin:
    def test_rejects_empty(self):
        answer = login("")
        self.assertFalse(answer.ok)
        assert answer.reason == "empty"
"""


def changed(before: str, after: str | None, path: str = "tests/test_login.py") -> list[str]:
    return lost_tests({path: before}, {path: after})


def without(text: str, *lines: str) -> str:
    """`text` without the lines that begin so."""
    kept = [line for line in text.splitlines() if not line.strip().startswith(lines)]
    return "\n".join(kept) + "\n"


def test_nothing_is_lost_where_nothing_changed():
    assert changed(PYTHON, PYTHON) == []


def test_a_deleted_test_is_named():
    after = PYTHON[: PYTHON.index("class TestLogin")]
    assert changed(PYTHON, after) == ["tests/test_login.py: test_rejects_empty: deleted"]


def test_a_test_in_a_comment_is_deleted():
    after = "".join(f"# {line}" for line in PYTHON.splitlines(keepends=True))
    assert len(changed(PYTHON, after)) == 2


def test_a_test_that_is_no_longer_collected_is_deleted():
    after = PYTHON.replace("def test_rejects_empty", "def no_test_rejects_empty")
    assert changed(PYTHON, after) == ["tests/test_login.py: test_rejects_empty: deleted"]


def test_a_test_inside_a_string_is_none():
    after = PYTHON.replace("class TestLogin", 'OLD = """\nclass TestLogin') + '"""\n'
    assert changed(PYTHON, after) == ["tests/test_login.py: test_rejects_empty: deleted"]


@pytest.mark.parametrize(
    "marker",
    ["@pytest.mark.skip", "@pytest.mark.xfail(strict=False)", "@unittest.skip('later')", "@unittest.expectedFailure"],
)
def test_a_new_skip_is_shown_with_its_marker(marker):
    after = PYTHON.replace("    def test_rejects", f"    {marker}\n    def test_rejects")
    shown = marker.partition("(")[0]
    assert changed(PYTHON, after) == [f"tests/test_login.py: test_rejects_empty: now skipped ({shown})"]


def test_a_skip_over_several_lines_belongs_to_its_test():
    after = PYTHON.replace(
        "    def test_rejects", "    @pytest.mark.skip(\n        reason='x',\n    )\n    def test_rejects"
    )
    assert changed(PYTHON, after) == ["tests/test_login.py: test_rejects_empty: now skipped (@pytest.mark.skip)"]


def test_a_skip_in_the_body_is_shown():
    after = PYTHON.replace('        answer = login("")', '        pytest.skip("later")\n        answer = login("")')
    assert changed(PYTHON, after) == ["tests/test_login.py: test_rejects_empty: now skipped (pytest.skip)"]


def test_a_skip_that_was_there_before_is_nothing_new():
    before = PYTHON.replace("    def test_rejects", "    @pytest.mark.skip\n    def test_rejects")
    assert changed(before, before.replace("@pytest.mark.skip", "@pytest.mark.skip('why')")) == []


def test_another_condition_of_a_skip_is_shown():
    before = PYTHON.replace("    def test_rejects", "    @pytest.mark.skipif(WINDOWS)\n    def test_rejects")
    lines = changed(before, before.replace("WINDOWS", "True"))
    assert lines == ["tests/test_login.py: test_rejects_empty: now skipped (@pytest.mark.skipif(True))"]


@pytest.mark.parametrize(
    ("old", "new", "marker"),
    [
        ("class TestLogin", "@pytest.mark.skip\nclass TestLogin", "@pytest.mark.skip"),
        ("import pytest\n", "import pytest\n\npytestmark = pytest.mark.skip('x')\n", "pytest.mark.skip"),
        ("import pytest\n", "import pytest\n\npytest.importorskip('no_such')\n", "pytest.importorskip"),
    ],
)
def test_a_skip_of_a_class_or_a_file_is_shown(old, new, marker):
    assert changed(PYTHON, PYTHON.replace(old, new)) == [f"tests/test_login.py: now skips tests ({marker})"]


def test_fewer_assertions_are_counted():
    after = without(PYTHON, "assert accept", "assert not")
    assert changed(PYTHON, after) == [
        "tests/test_login.py: test_accepts: 2 assertions fewer (3 before, 1 now)",
    ]


def test_an_assertion_in_a_comment_is_none():
    after = PYTHON.replace("    assert accept(name)", "    accept(name)  # assert accept(name)")
    assert changed(PYTHON, after) == ["tests/test_login.py: test_accepts: 1 assertion fewer (3 before, 2 now)"]


def test_assertions_after_a_flush_left_string_count():
    body = 'def test_a():\n    text = """\nflush left\n"""\n    assert f(text)\n    assert g(text)\n'
    assert changed(body, without(body, "assert g")) == [
        "tests/test_login.py: test_a: 1 assertion fewer (2 before, 1 now)"
    ]


def test_a_parametrisation_that_went_is_shown():
    after = without(PYTHON, "@pytest").replace("test_accepts(name)", "test_accepts(name='a')")
    assert changed(PYTHON, after) == ["tests/test_login.py: test_accepts: 1 parametrisation fewer (1 before, 0 now)"]


def test_a_deleted_file_names_its_tests():
    assert changed(PYTHON, None) == ["tests/test_login.py: file deleted (2 tests: test_accepts, test_rejects_empty)"]


def test_a_deleted_file_of_many_tests_names_the_first():
    text = "\n".join(f"def test_{number}():\n    assert f({number})" for number in range(100))
    names = ", ".join(f"test_{number}" for number in range(8))
    assert changed(text, None) == [f"tests/test_login.py: file deleted (100 tests: {names}, …)"]


def test_many_tests_deleted_from_one_file_are_one_line():
    text = "\n".join(f"def test_{number}():\n    assert f({number})" for number in range(100))
    assert len(changed(text, "x = 1\n")) == 1


@pytest.mark.parametrize(
    "after",
    [
        {"tests/test_login.py": None, "tests/auth/test_login.py": PYTHON},
        {"tests/test_login.py": PYTHON.replace("test_rejects_empty", "test_an_empty_name_is_rejected")},
        {"tests/test_login.py": "if True:\n" + "".join(f"    {line}\n" for line in PYTHON.splitlines())},
        {"tests/test_login.py": PYTHON.replace("    ", "\t")},
        {"tests/test_login.py": PYTHON.replace("\n", "\r\n")},
        {"tests/test_login.py": PYTHON + "\n\ndef test_more():\n    assert 1\n"},
    ],
    ids=["moved file", "renamed", "indented", "tabs", "line ends", "added"],
)
def test_a_test_that_is_still_there_is_not_lost(after):
    assert lost_tests({"tests/test_login.py": PYTHON, "tests/auth/test_login.py": None}, after) == []


def test_a_test_that_moved_and_was_weakened_is_shown_where_it_is_now():
    after = {"tests/test_login.py": None, "tests/test_new.py": without(PYTHON, "self.assertFalse")}
    assert lost_tests({"tests/test_login.py": PYTHON}, after) == [
        "tests/test_new.py: test_rejects_empty: 1 assertion fewer (2 before, 1 now)"
    ]


def test_a_namesake_elsewhere_does_not_hide_a_deleted_test():
    other = (
        "def test_rejects_empty():\n    order = cart([])\n    assert order.total == 0\n    assert order.lines == []\n"
    )
    after = {"tests/test_login.py": PYTHON[: PYTHON.index("class")], "tests/test_cart.py": other}
    assert lost_tests({"tests/test_login.py": PYTHON}, after) == ["tests/test_login.py: test_rejects_empty: deleted"]


def test_of_two_tests_of_one_name_the_one_that_went_is_lost():
    text = "class TestA:\n    def test_x(self):\n        assert a\n\n"
    text += "class TestB:\n    def test_x(self):\n        assert b\n"
    assert changed(text, text[text.index("class TestB") :]) == ["tests/test_login.py: test_x: deleted"]


def test_a_moved_class_skip_is_not_new():
    skipped = PYTHON.replace("class", "@pytest.mark.skip\nclass")
    after = {"tests/test_a.py": "x = 1\n", "tests/test_b.py": skipped}
    assert lost_tests({"tests/test_a.py": skipped, "tests/test_b.py": "x = 1\n"}, after) == []


def test_files_that_hold_no_tests_are_not_looked_at():
    assert changed(PYTHON, None, "src/login.py") == []
    assert changed("def helper(): ...\n", None, "tests/support/lab.py") == []


def test_a_test_file_without_any_test_that_can_be_seen_is_still_shown():
    assert changed("CASES = 1\n", None, "tests/test_old.py") == ["tests/test_old.py: file deleted"]


JAVASCRIPT = """\
describe('login', () => {
  it('accepts', () => {
    expect(a).toBe(1);
  });
  it('rejects', () => {
    expect(b).toBe(2);
  });
});
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("it('accepts'", "it.only('accepts'", "a.test.js: accepts: runs alone (it.only)"),
        ("it('accepts'", "fit('accepts'", "a.test.js: accepts: runs alone (fit)"),
        ("describe(", "describe.only(", "a.test.js: runs alone (describe.only)"),
        ("describe(", "fdescribe(", "a.test.js: runs alone (fdescribe)"),
    ],
)
def test_a_test_that_silences_all_others_is_shown(old, new, line):
    lines = changed(JAVASCRIPT, JAVASCRIPT.replace(old, new), "a.test.js")
    assert lines == [f"{line}: the other tests no longer run"]


def test_a_new_test_that_silences_all_others_is_shown():
    lines = lost_tests({"a.test.js": None}, {"a.test.js": "it.only('new', () => {\n  expect(1);\n});\n"})
    assert lines == ["a.test.js: new: runs alone (it.only): the other tests no longer run"]


def test_a_skipped_group_is_shown():
    after = JAVASCRIPT.replace("describe(", "describe.skip(")
    assert changed(JAVASCRIPT, after, "a.test.js") == ["a.test.js: now skips tests (describe.skip)"]


def test_wrapping_tests_in_a_group_loses_nothing():
    after = "describe('g', () => {\n" + "".join(f"  {line}\n" for line in JAVASCRIPT.splitlines()) + "});\n"
    assert changed(JAVASCRIPT, after, "a.test.js") == []


def test_a_build_tag_on_a_go_file_is_shown():
    text = "package a\n\nfunc TestA(t *testing.T) {\n\tt.Error(1)\n}\n"
    assert changed(text, "//go:build never\n\n" + text, "a_test.go") == [
        "a_test.go: now skips tests (//go:build never)"
    ]


def test_a_name_cannot_break_its_line():
    text = "it('a\u2028b\x1b[2J', () => {\n  expect(1);\n});\n"
    (line,) = changed(text, "x\n", "a\nb.test.js")
    assert line == "a\\nb.test.js: a\\u2028b\\x1b[2J: deleted"


PATHS = st.sampled_from(["test_a.py", "a.test.js", "a_test.go", "a.rs", "a_spec.rb", "a.bats", "ATest.kt", "ATest.php"])
PIECES = [*PYTHON.splitlines(), *JAVASCRIPT.splitlines(), "#[test]", "fn a() {", "/*", "*/", "`", '"""', "func TestA("]


@given(st.text(), st.text(), PATHS)
def test_any_text_is_read(before, after, path):
    for line in changed(before, after, path):
        assert line.splitlines() == [line]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("\n".join), PATHS)
def test_a_text_loses_nothing_to_itself(text, path):
    assert changed(text, text, path) == []
