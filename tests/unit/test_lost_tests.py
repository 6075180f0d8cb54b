"""Tests that a change deleted or weakened: one line each, and nothing for a test that only moved."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.found_tests import is_test_file, tests_in
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
    text = "class TestA:\n    def test_x(self):\n        assert a\n\nclass TestB:\n    def test_x(self):\n        assert b\n"
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


# Each: path, a file with two tests `keeps` and `goes`, what a skip puts where, and how many assertions `goes` has.
LANGUAGES = {
    "jest": (
        "src/login.test.ts",
        "describe('login', () => {\n  it('keeps', () => {\n    expect(a).toBe(1);\n  });\n\n"
        "  it('goes', async () => {\n    const x = `it('no test', () => {\n`;\n    expect(x).toBe(2);\n"
        "    expect(b).toEqual(3);\n  });\n});\n",
        ("  it('goes'", "  it.skip('goes'", "it.skip"),
    ),
    "cases": (
        "__tests__/add.js",
        "test.each([\n  [1, 2],\n])('keeps', (a) => {\n  expect(a).toBe(1);\n});\n"
        "test.each([\n  [1, 2],\n])(\n  'goes',\n  (a, b) => {\n    expect(a).toBe(1);\n    assert.equal(b, 2);\n  },\n);\n",
        ("test.each([\n  [1, 2],\n])(\n", "test.skip.each([\n  [1, 2],\n])(\n", "test.skip"),
    ),
    "xit": (
        "spec/login_spec.js",
        "it('keeps', () => {\n  expect(1).toBe(1);\n});\nit(\n  'goes',\n  () => {\n    expect(1).toBe(1);\n"
        "    expect(2).toBe(2);\n  });\n",
        ("it(\n", "xit(\n", "xit"),
    ),
    "node": (
        "test/login.mjs",
        "test('keeps', (t) => {\n  assert.ok(1);\n});\ntest('goes', (t) => {\n  assert.ok(1);\n  assert.equal(2, 2);\n});\n",
        ("test('goes', (t) => {", "test('goes', (t) => {\n  t.skip('x');", "t.skip"),
    ),
    "go": (
        "login_test.go",
        "package login\n\nfunc Testkeeps(t *testing.T) {\n\tif x() {\n\t\tt.Error(1)\n\t}\n}\n\n"
        "func (s *Suite) Testgoes() {\n\ttext := `\nflush left\n`\n\trequire.Equal(s.T(), text, 1)\n\tassert.True(s.T(), ok)\n}\n",
        ("\trequire", "\ts.T().Skip()\n\trequire", "T().Skip"),
    ),
    "rust": (
        "src/login.rs",
        "#[cfg(test)]\nmod tests {\n    #[test]\n    fn keeps() {\n        assert!(a);\n    }\n\n    #[tokio::test]\n"
        "    async fn goes() {\n        assert_eq!(a, b);\n        assert!(c);\n    }\n}\n",
        ("    async fn goes", "    #[ignore]\n    async fn goes", "#[ignore"),
    ),
    "rspec": (
        "spec/login_spec.rb",
        "describe Login do\n  it 'keeps' do\n    expect(1).to eq 1\n  end\n\n  it \"goes\" do\n    expect(1).to eq 1\n"
        "    expect(2).to eq 2\n  end\nend\n",
        ('  it "goes"', '  xit "goes"', "xit"),
    ),
    "minitest": (
        "test/login_test.rb",
        "class LoginTest < Minitest::Test\n  def test_keeps\n    assert 1\n  end\n\n  def test_goes\n    assert_equal 1, 1\n"
        "    refute 2\n  end\nend\n",
        ("    assert_equal", "    skip 'x'\n    assert_equal", "skip"),
    ),
    "bats": (
        "tests/login.bats",
        '@test "keeps" {\n  [ 1 = 1 ]\n}\n\n@test "goes" {\n  run login\n  [ "$status" -eq 1 ]\n}\n',
        ("  run login", "  skip\n  run login", "skip"),
    ),
    "junit": (
        "src/test/java/LoginTest.java",
        "class LoginTest {\n    @Test\n    void keeps() {\n        assertTrue(a);\n    }\n\n    @Override\n"
        "    public String toString() {\n        return x;\n    }\n\n    @Test\n    @DisplayName(\"x (y)\")\n"
        "    public void goes() throws IOException\n    {\n        assertEquals(a, b);\n        assertThat(c).isTrue();\n    }\n}\n",
        ("    @DisplayName", '    @Disabled("x")\n    @DisplayName', "@Disabled"),
    ),
    "kotlin": (
        "src/test/kotlin/LoginTest.kt",
        "class LoginTest {\n    @Test\n    fun `keeps`() {\n        assertTrue(a)\n    }\n\n    @Test fun `goes`() {\n"
        "        a shouldBe b\n        assertTrue(c)\n    }\n}\n",
        ("    @Test fun", "    @Disabled\n    @Test fun", "@Disabled"),
    ),
    "xunit": (
        "Tests/LoginTests.cs",
        "public class LoginTests\n{\n    [Fact]\n    public void keeps()\n    {\n        Assert.True(a);\n    }\n\n    [Fact]\n"
        "    public async Task goes()\n    {\n        Assert.Equal(a, b);\n        c.Should().BeTrue();\n    }\n}\n",
        ("    [Fact]\n    public async", '    [Fact(Skip = "x")]\n    public async', "Skip ="),
    ),
    "phpunit": (
        "tests/LoginTest.php",
        "<?php\nclass LoginTest extends TestCase\n{\n    public function testkeeps(): void\n    {\n"
        "        $this->assertTrue($a);\n    }\n\n    /**\n     * @test\n     */\n    public function goes(): void\n    {\n"
        "        $this->assertSame($a, $b);\n        self::assertTrue($c);\n    }\n}\n",
        ("        $this->assertSame", "        $this->markTestSkipped();\n        $this->assertSame", "markTestSkipped"),
    ),
    "pest": (
        "tests/LoginTest.php",
        "<?php\nit('keeps', function () {\n    expect($a)->toBe(1);\n});\n\ntest('goes', function () {\n    expect($a)->toBe(1);\n"
        "    expect($b)->toBe(2);\n});\n",
        ("    expect($b)->toBe(2);\n})", "    expect($b)->toBe(2);\n})->skip()", "->skip"),
    ),
    "exunit": (
        "test/login_test.exs",
        "defmodule LoginTest do\n  describe \"x\" do\n    test \"keeps\" do\n      assert a\n    end\n\n    test \"goes\", %{conn: c} do\n"
        "      assert a == c\n      refute b\n    end\n  end\nend\n",
        ('    test "goes"', '    @tag :skip\n    test "goes"', "@tag :skip"),
    ),
    "xctest": (
        "Tests/LoginTests.swift",
        "final class LoginTests: XCTestCase {\n    func testkeeps() {\n        XCTAssertTrue(a)\n    }\n\n    func testgoes() throws {\n"
        "        XCTAssertEqual(a, b)\n        XCTAssertNil(c)\n    }\n}\n",
        ("        XCTAssertEqual", '        throw XCTSkip("x")\n        XCTAssertEqual', "XCTSkip"),
    ),
    "swift testing": (
        "Tests/LoginTests.swift",
        "struct LoginTests {\n    @Test func keeps() {\n        #expect(a)\n    }\n\n    @Test(\"x\")\n    func goes() async {\n"
        "        #expect(a == b)\n        #require(c)\n    }\n}\n",
        ('    @Test("x")', '    @Test("x", .disabled())', "disabled"),
    ),
}  # fmt: skip


def its_name(path: str, text: str, word: str) -> str:
    return next(test.name for test in tests_in(path, text).tests if word in test.name)


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_tests_are_found_in(language):
    path, text, _ = LANGUAGES[language]
    assert is_test_file(path)
    found = [(test.name.removeprefix("test").strip("_"), test.assertions) for test in tests_in(path, text).tests]
    assert found == [("keeps", 1), ("goes", 2)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_skip_is_found_in(language):
    path, text, (old, new, marker) = LANGUAGES[language]
    assert text.count(old) == 1
    assert changed(text, text.replace(old, new), path) == [
        f"{path}: {its_name(path, text, 'goes')}: now skipped ({marker})"
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_deleted_test_is_found_in(language):
    path, text, _ = LANGUAGES[language]
    after = text.replace("goes", "other").replace("2", "3").replace("b", "z").replace("c)", "d)")
    assert f"{path}: {its_name(path, text, 'keeps')}: deleted" not in changed(text, after, path)
    only_first = text[: text.index("goes")].rpartition("\n")[0] + "\n"
    assert f"{path}: {its_name(path, text, 'goes')}: deleted" in changed(text, only_first, path)


@pytest.mark.parametrize(
    ("path", "old", "new", "line"),
    [
        ("a.test.js", "it('keeps'", "it.only('keeps'", "a.test.js: keeps: runs alone (it.only)"),
        ("a.test.js", "it('keeps'", "fit('keeps'", "a.test.js: keeps: runs alone (fit)"),
        ("a.test.js", "describe(", "describe.only(", "a.test.js: runs alone (describe.only)"),
        ("a.test.js", "describe(", "fdescribe(", "a.test.js: runs alone (fdescribe)"),
    ],
)
def test_a_test_that_silences_all_others_is_shown(path, old, new, line):
    text = LANGUAGES["jest"][1]
    assert changed(text, text.replace(old, new), path) == [f"{line}: the other tests no longer run"]


def test_a_new_test_that_silences_all_others_is_shown():
    lines = lost_tests({"a.test.js": None}, {"a.test.js": "it.only('new', () => {\n  expect(1);\n});\n"})
    assert lines == ["a.test.js: new: runs alone (it.only): the other tests no longer run"]


def test_a_skipped_group_is_shown():
    text = LANGUAGES["jest"][1]
    after = text.replace("describe(", "describe.skip(")
    assert changed(text, after, "a.test.js") == ["a.test.js: now skips tests (describe.skip)"]


def test_wrapping_tests_in_a_group_loses_nothing():
    text = "it('a', () => {\n  expect(1).toBe(1);\n});\nit('b', () => {\n  expect(2).toBe(2);\n});\n"
    after = "describe('g', () => {\n" + "".join(f"  {line}\n" for line in text.splitlines()) + "});\n"
    assert changed(text, after, "a.test.js") == []


def test_a_build_tag_on_a_go_file_is_shown():
    text = LANGUAGES["go"][1]
    lines = changed(text, "//go:build never\n\n" + text, "login_test.go")
    assert lines == ["login_test.go: now skips tests (//go:build never)"]


@pytest.mark.parametrize(
    "path", ["src/latest.py", "contest.go", "src/attest.ts", "tests/data.json", "README.md", "test"]
)
def test_other_files_are_no_test_files(path):
    assert not is_test_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py",
        "pkg/a_test.go",
        "a.spec.tsx",
        "src/FooTest.java",
        "src/TestFoo.java",
        "FooIT.java",
        "t.bats",
        "a.rs",
    ]
    + ["test.js", "cypress/e2e/a.cy.ts", "app/test/models/user.rb", "__tests__/a.jsx", "Tests/Foo.swift"],
)
def test_test_files_are_known_by_their_path(path):
    assert is_test_file(path)


def test_a_name_cannot_break_its_line():
    text = "it('a\u2028b\x1b[2J', () => {\n  expect(1);\n});\n"
    (line,) = changed(text, "x\n", "a\nb.test.js")
    assert line == "a\\nb.test.js: a\\u2028b\\x1b[2J: deleted"


@given(st.text(), st.text(), st.sampled_from(sorted({path for path, _, _ in LANGUAGES.values()})))
def test_any_text_is_read(before, after, path):
    for line in changed(before, after, path):
        assert line.splitlines() == [line]


_PIECES = [piece for _, text, (_, new, _) in LANGUAGES.values() for piece in [*text.splitlines(keepends=True), new]]


@given(
    st.lists(st.sampled_from(_PIECES), max_size=30).map("".join),
    st.sampled_from(sorted({path for path, _, _ in LANGUAGES.values()})),
)
def test_pieces_of_tests_in_any_order_lose_nothing_to_themselves(text, path):
    assert changed(text, text, path) == []
    assert lost_tests({path: None}, {path: text}) == [] or "runs alone" in str(lost_tests({path: None}, {path: text}))


@pytest.mark.parametrize(
    "piece",
    [
        *dict.fromkeys(_PIECES),
        "it(",
        "test.each`",
        ")(",
        "@A(",
        "@A((((",
        "[Fact",
        "'\\",
        "`'\\",
        '"""',
        "\t",
        "  ",
        "(" * 400,
    ]
    + [
        "def test_a():",
        "    @Test\n  void x(",
        "#[",
        "a a a a (",
        "assert",
        "pytest.mark.",
        "it.skip.skip",
        "/*",
        "@Test\n",
    ],
)
@pytest.mark.parametrize(
    "path", ["test_a.py", "a.test.js", "ATest.java", "ATests.cs", "ATest.php", "a.rs", "ATests.swift"]
)
def test_hostile_text_is_read_in_linear_time(piece, path):
    for text in (piece * (100_000 // len(piece)), (piece + "\n") * (50_000 // len(piece))):
        started = time.process_time()
        changed(text, text + "\n" + piece, path)
        assert time.process_time() - started < 3
