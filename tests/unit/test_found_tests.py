"""Tests found by name in the languages that people write them in, and files of tests known by their path."""

from __future__ import annotations

import time

import pytest

from backlog_ops.domain.found_tests import find_tests, is_test_file

# Language → path, a file with the tests `keeps` (one assertion) and `goes` (two), and how `goes` is skipped:
# what stands in the file, what stands there instead, and the marker that is to be found.
LANGUAGES = {
    "jest": (
        "src/login.test.ts",
        """\
describe('login', () => {
  it('keeps', () => {
    expect(a).toBe(1);
  });

  /* it('old', () => {
    expect(old);
  }); */
  it('goes', async () => {
    const x = `
it('no test', () => {
`;
    expect(x).toBe(2);
    expect(y).toEqual(3);
  });
});
""",
        ("it('goes'", "it.skip('goes'", "it.skip"),
    ),
    "jest with cases": (
        "__tests__/add.js",
        """\
test.each([
  [1, 2],
])('keeps', (a) => {
  expect(a).toBe(1);
});
test.each`
  a    | b
  ${1} | ${2}
`(
  'goes',
  (a, b) => {
    expect(a).toBe(1);
    assert.equal(b, 2);
  },
);
""",
        ("test.each`", "test.skip.each`", "test.skip"),
    ),
    "jasmine": (
        "spec/login_spec.js",
        """\
it('keeps', () => {
  expect(1).toBe(1);
});
it(
  'goes',
  () => {
    expect(1).toBe(1);
    expect(2).toBe(2);
  },
);
""",
        ("it(\n", "xit(\n", "xit"),
    ),
    "node": (
        "test/login.mjs",
        """\
test('keeps', (t) => {
  assert.ok(1);
});
test('goes', (t) => {
  assert.ok(1);
  assert.equal(2, 2);
});
""",
        ("test('goes', (t) => {", "test('goes', (t) => {\n  t.skip('x');", "t.skip"),
    ),
    "go": (
        "login_test.go",
        """\
package login

func Testkeeps(t *testing.T) {
	if got != want {
		t.Errorf("got %v", got)
	}
}

func (s *Suite) Testgoes() {
	text := `
flush left
`
	require.Equal(s.T(), text, 1)
	assert.True(s.T(), ok)
}
""",
        ("\trequire", "\ts.T().Skip()\n\trequire", "T().Skip"),
    ),
    "rust": (
        "src/login.rs",
        """\
pub fn login() {
    assert!(ready);
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps() {
        assert!(a);
    }

    #[tokio::test]
    async fn goes() {
        assert_eq!(a, b);
        assert!(c);
    }
}
""",
        ("    async fn goes", "    #[ignore]\n    async fn goes", "#[ignore"),
    ),
    "rspec": (
        "spec/login_spec.rb",
        """\
describe Login do
  it 'keeps' do
    expect(1).to eq 1
  end

  it "goes" do
    expect(1).to eq 1
    expect(2).to eq 2
  end
end
""",
        ('it "goes"', 'xit "goes"', "xit"),
    ),
    "minitest": (
        "test/login_test.rb",
        """\
class LoginTest < Minitest::Test
  def test_keeps
    assert 1
  end

  def test_goes
    assert_equal 1, 1
    refute 2
  end
end
""",
        ("    assert_equal", "    skip 'x'\n    assert_equal", "skip"),
    ),
    "bats": (
        "tests/login.bats",
        """\
@test "keeps" {
  [ 1 = 1 ]
}

@test "goes" {
  run login
  [ "$status" -eq 1 ]
}
""",
        ("  run login", "  skip\n  run login", "skip"),
    ),
    "junit": (
        "src/test/java/LoginTest.java",
        """\
class LoginTest {
    @Test
    void keeps() {
        assertTrue(a);
    }

    @Override
    public String toString() {
        return x;
    }

    @Test
    @DisplayName("x (y)")
    public void goes() throws IOException
    {
        assertEquals(a, b);
        assertThat(c).isTrue();
    }
}
""",
        ("    @DisplayName", '    @Disabled("x")\n    @DisplayName', "@Disabled"),
    ),
    "kotlin": (
        "src/test/kotlin/LoginTest.kt",
        """\
class LoginTest {
    @Test
    fun `keeps`() {
        assertTrue(a)
    }

    @Test fun goes() {
        a shouldBe b
        assertTrue(c)
    }
}
""",
        ("    @Test fun", "    @Disabled\n    @Test fun", "@Disabled"),
    ),
    "xunit": (
        "Tests/LoginTests.cs",
        """\
public class LoginTests
{
    [Fact]
    public void keeps()
    {
        Assert.True(a);
    }

    [Theory, Trait("a", "b")]
    [InlineData(1)]
    public async Task goes(int a)
    {
        Assert.Equal(a, b);
        c.Should().BeTrue();
    }
}
""",
        ("    [InlineData(1)]", '    [InlineData(1, Skip = "x")]', "Skip ="),
    ),
    "phpunit": (
        "tests/LoginTest.php",
        """\
<?php
class LoginTest extends TestCase
{
    public function testkeeps(): void
    {
        $this->assertTrue($a);
    }

    /**
     * @test
     */
    public function goes(): void
    {
        $this->assertSame($a, $b);
        self::assertTrue($c);
    }
}
""",
        (
            "        $this->assertSame",
            "        $this->markTestSkipped();\n        $this->assertSame",
            "markTestSkipped",
        ),
    ),
    "pest": (
        "tests/LoginTest.php",
        """\
<?php
it('keeps', function () {
    expect($a)->toBe(1);
});

test('goes', function () {
    expect($a)->toBe(1);
    expect($b)->toBe(2);
});
""",
        ("    expect($b)->toBe(2);\n})", "    expect($b)->toBe(2);\n})->skip()", "->skip"),
    ),
    "exunit": (
        "test/login_test.exs",
        """\
defmodule LoginTest do
  describe "x" do
    test "keeps" do
      assert a
    end

    test "goes", %{conn: c} do
      assert a == c
      refute b
    end
  end
end
""",
        ('    test "goes"', '    @tag :skip\n    test "goes"', "@tag :skip"),
    ),
    "xctest": (
        "Tests/LoginTests.swift",
        """\
final class LoginTests: XCTestCase {
    func testkeeps() {
        XCTAssertTrue(a)
    }

    func testgoes() throws {
        XCTAssertEqual(a, b)
        XCTAssertNil(c)
    }
}
""",
        ("        XCTAssertEqual", '        throw XCTSkip("x")\n        XCTAssertEqual', "XCTSkip"),
    ),
    "swift testing": (
        "Tests/LoginTests.swift",
        """\
struct LoginTests {
    @Test func keeps() {
        #expect(a)
    }

    @Test("x")
    func goes() async {
        #expect(a == b)
        #require(c)
    }
}
""",
        ('    @Test("x")', '    @Test("x", .disabled())', "disabled"),
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_tests_and_their_assertions_are_found_in(language):
    path, text, _ = LANGUAGES[language]
    keeps, goes = find_tests(path, text).tests
    assert keeps.name.endswith("keeps")
    assert goes.name.endswith("goes")
    assert (keeps.assertions, goes.assertions) == (1, 2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_skip_is_found_at_its_test_in(language):
    path, text, (old, new, marker) = LANGUAGES[language]
    assert text.count(old) == 1
    assert [test.skips for test in find_tests(path, text).tests] == [[], []]
    assert [test.skips for test in find_tests(path, text.replace(old, new)).tests] == [[], [marker]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_no_test_any_more_is_not_found_in(language):
    path, text, _ = LANGUAGES[language]
    begun = text[: text.index("goes")].rpartition("\n")[0] + "\n"
    assert [test.name[-5:] for test in find_tests(path, begun).tests] == ["keeps"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_files_are_known_by_their_path(language):
    assert is_test_file(LANGUAGES[language][0])


def test_cases_are_counted():
    text = LANGUAGES["xunit"][1].replace("    [InlineData(1)]\n", "    [InlineData(1)]\n    [InlineData(2)]\n")
    assert [test.cases for test in find_tests("Tests/LoginTests.cs", text).tests] == [0, 2]


def test_a_nested_test_is_one_of_its_own():
    text = "test('outer', async (t) => {\n  await t.test('inner', () => {\n    assert(1);\n  });\n  assert(2);\n});\n"
    found = [(test.name, test.assertions) for test in find_tests("a.test.js", text).tests]
    assert found == [("outer", 1), ("inner", 1)]


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
        "FooIT.java",
        "src/TestFoo.java",
        "t.bats",
        "test.js",
        "cypress/a.cy.ts",
    ],
)
def test_test_files_are_known_by_their_path(path):
    assert is_test_file(path)


HOSTILE = [
    "it(",
    "test.each`",
    ")(",
    "@A((((",
    "[Fact",
    "`'\\",
    '"""',
    "(" * 400,
    "def test_a():",
    "    @Test\n  void x(",
]
HOSTILE += [
    "#[",
    "a a a a (",
    "assert",
    "@pytest.mark.skip",
    "it.skip.skip",
    "/*",
    "@Test\n",
    "\t",
    "fun `",
    "it.each(\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("path", ["test_a.py", "a.test.js", "ATest.java", "ATest.php"])
def test_hostile_text_is_read_in_linear_time(piece, path):
    for text in (piece * (40_000 // len(piece)), (piece + "\n") * (20_000 // len(piece))):
        started = time.process_time()
        find_tests(path, text)
        assert time.process_time() - started < 2
