"""The tests that stand in a file, found line by line: names, assertions, and what keeps a test from running.

A test begins at a line of its language's shape and ends where the indentation returns to that of this line, so
nothing has to parse and any text is read in linear time. What a formatter would not write may be read less well:
an assertion is then counted for no test, before a change and after it alike.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LONGEST_LINE = 500  # what stands further right is data
_LINES_TO_A_NAME = 40  # a table of cases may stand between `it.each` and the name
_MOST_ATTRIBUTE_LINES = 200

_WORD_OF_TESTS = re.compile(r"(?:^|[/._-])(?:tests?|specs?|__tests__|e2e|cypress)(?=[/._-]|$)", re.IGNORECASE)
_NAME_OF_TESTS = re.compile(r"(?:Tests?|TestCase|Spec|Specs|IT)\.\w+$|(?:^|/)Tests?[A-Z]\w*\.\w+$")
_QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")
_NAME = r"""(?:'(?P<single>[^'\n]{1,200})|"(?P<double>[^"\n]{1,200})|`(?P<tick>[^`\n]{1,200}))"""
_NAME_FIRST = re.compile(r"\(\s*" + _NAME)
_NAME_AFTER_CASES = re.compile(r"[)`]\s?\(\s*" + _NAME)
_CONDITION = re.compile(r"(?i:if|unless)$")  # such a marker is another one when its condition changes


@dataclass(frozen=True)
class _Language:
    """How tests are written. Patterns without meaning in a language match nothing."""

    test: str  # a line that begins a test, with its name
    assertion: str
    skip: str
    only: str = r"(?!)"
    cases: str = r"(?!)"  # what runs one test for several values
    mark: str = r"(?!)"  # what stands before a `function` that is a test
    function: str = r"(?!)"
    attribute: str = r"(?!)"  # one of the things that may stand before a test
    attribute_in_comment: str = r"(?!)"
    comment: str = r"//|/\*|\*"
    strings: str = r"(?!)"  # what opens and closes a string of several lines


_METHOD = r"(?:[\w<>\[\],.?]+ +){0,8}(?P<method>\w+) *(?:<[^>(]{0,80}>)?\("
_KOTLIN = r"(?:\w+ +){0,6}fun +(?:`(?P<kotlin>[^`]{1,200})`|(?P<fun>\w+))"
_JS_WORDS = r"(?:it|test|specify|describe|context|suite|Deno\.test|QUnit\.test|QUnit\.module)(?:\.\w{1,20}){0,3}?"

_PYTHON = _Language(
    test=r"(?:async +)?def +(?P<name>test\w*) *\(",
    assertion=r"\bassert\w{0,60}|\bself\.fail\(|\bpytest\.(?:raises|warns|fail|deprecated_call)\b|\bexpect\(",
    skip=r"@?(?:\bpytest\.mark\.|\bmark\.|\bunittest\.|@)(?:skipif|skip(?:If|Unless)?|xfail|expectedFailure)\b"
    r"|\bpytest\.(?:skip|xfail|importorskip)\b|\.skipTest\b|\braise (?:unittest\.)?SkipTest\b|\b__test__ = False",
    cases=r"\bparametrize\b|@(?:hypothesis\.)?(?:given|example)\b|\bparameterized\b",
    attribute=r"@.*",
    comment="#",
    strings="\"\"\"|'''",
)
_JAVASCRIPT = _Language(
    test=r"(?:(?:export|await|void) +)?(?:(?:Deno|QUnit|t|suite)\.)?[xf]?(?:it|test|specify|testWidgets)"
    r"(?:\.(?:skip|only|todo|each|for|fails|failing|concurrent|sequential|serial|fixme|skipIf|runIf|if|cb)){0,4}"
    r"\s?(?:<[^>(]{0,80}>)?[(`]",
    assertion=r"(?<![\w.])(?:expect|assert)\w{0,30}[.(<]|\.should\b"
    r"|(?<![\w.])t\.(?!(?:test|plan|end|skip|todo|context|log|comment|teardown|before|after|mock|timeout)\b)\w{1,40}\(",
    skip=rf"\b{_JS_WORDS}\.(?:skip|todo|fails|failing|fixme|skipIf|runIf|ignore)\b"
    r"|(?<![\w.])x(?:it|test|describe|context|specify)(?=[.(])|\b(?:this|t|ctx)\.(?:skip|todo)\b(?=\()"
    r"|(?<![\w.])pending(?=\()|\b(?:skip|todo|ignore): *(?:true\b|['\"`])",
    only=rf"\b{_JS_WORDS}\.only\b|(?<![\w.])f(?:it|describe|context)(?=[.(])|\bonly: *true\b",
    cases=r"\.(?:each|for)\b",
    strings="`",
)
_GO = _Language(
    test=r"func +(?:\([^)]{0,80}\) +)?(?P<name>(?:Test|Fuzz|Example|Benchmark)\w*) *\(",
    assertion=r"\b[tbf]\.(?:Error|Fatal|Fail|FailNow|Errorf|Fatalf)\(|(?<![\w.])(?:assert|require|is)\.\w{1,40}\("
    r"|\.(?:Require|Assert)\(\)|\bcmp\.Diff\(|\bExpect\(",
    skip=r"\b[tbf]\.Skip(?:f|Now)?\b|\.T\(\)\.Skip\w{0,5}|^//go:build .{1,100}",
    comment=r"//(?!go:build)|/\*|\*",
    strings="`",
)
_RUST = _Language(
    test=r"(?!)",
    mark=r"#\[(?:\w{1,40}::){0,4}(?:test|rstest|test_case|quickcheck|wasm_bindgen_test|bench)\b",
    function=r"(?:pub(?:\([^)]{0,20}\))? +)?(?:(?:async|unsafe|const) +)*fn +(?P<name>\w+)",
    assertion=r"assert\w{0,30}!|\bpanic!|\.(?:unwrap|expect)_err\(|\bmatches!",
    skip=r"#\[ignore\b|#\[should_panic\b|#!?\[cfg\(any\(\)\)\]",
    cases=r"#\[(?:case|test_case|values)\b",
    attribute=r"#!?\[[^\]]{0,300}\]\s*",
)
_RUBY = _Language(
    test=r"(?:[xf]?(?:it|specify|scenario|example)|test|should) *\(? *" + _NAME + r"|def +(?P<name>test_\w+[?!]?)",
    assertion=r"\b(?:expect|assert\w{0,40}|refute\w{0,40}|flunk|is_expected)\b|\.(?:should|must_\w{1,30}|wont_\w{1,30})\b",
    skip=r"^x(?:it|describe|context|specify|scenario|feature|example)\b|^(?:skip|pending)\b(?! *=)"
    r"|, *:(?:skip|pending)\b|\b(?:skip|pending): ",
    only=r"^f(?:it|describe|context|specify|scenario|feature)\b|, *:focus\b|\bfocus: *true\b",
    comment="#",
)
_SHELL = _Language(
    test=r"@test +" + _NAME + r"|(?:function +)?(?P<name>test\w*) *\(\)",
    assertion=r"(?:^|[;&|!] *)(?:\[\[? |(?:test|run|grep|diff|cmp) |assert\w{0,40}|refute\w{0,40})",
    skip=r"^skip\b",
    only=r"^# bats test_tags=bats:focus\b",
    comment=r"#(?! bats )",
)
_JVM = _Language(
    test=r"public +void +(?P<name>test\w*) *\(|def +" + _NAME + r"['\"] *\(",
    mark=r"@(?:\w{1,60}\.){0,6}(?:Test|ParameterizedTest|RepeatedTest|TestFactory|TestTemplate|Property|Theory)\b",
    function=f"{_KOTLIN}|{_METHOD}",
    assertion=r"\b(?:assert\w{0,60}|verify\w{0,40}|fail|expect\w{0,40}|should\w{0,40})\b|\.andExpect\(",
    skip=r"@(?:\w{1,60}\.){0,6}(?:Disabled\w{0,40}|Ignore|EnabledIf\w{0,40}|EnabledOn\w{0,20})\b"
    r"|\benabled *= *false|\bassum(?:e|ing)\w{0,30}\b|\bAssum(?:e|ptions)\.\w{1,30}",
    cases=r"@(?:ParameterizedTest|RepeatedTest|(?:Csv|CsvFile|Value|Method|Enum|Arguments)Source)\b",
    attribute=r"@[\w.:]+(?:\([^()]{0,300}(?:\([^()]{0,300}\)[^()]{0,300}){0,9}\))?\s*",
    strings='"""',
)
_CSHARP = _Language(
    test=r"(?!)",
    mark=r"\[(?:\w{1,60}, *){0,5}(?:Fact|Theory|Test|TestMethod|TestCase|TestCaseSource|DataTestMethod|Property)\b",
    function=_METHOD,
    assertion=r"\bAssert\.|\.(?:Should|Verify|Received)\w{0,40}\(|\bExpect\w{0,20}\(",
    skip=r"\[(?:\w{1,60}, *){0,5}(?:Ignore|Explicit)\b|\bSkip *= *|\bAssert\.(?:Ignore|Inconclusive|Skip\w{0,10})\b",
    cases=r"\[(?:TestCase|TestCaseSource|InlineData|DataRow|MemberData|ClassData|DynamicData)\b",
    attribute=r"\[[^\]]{0,300}\]\s*",
    strings='"""',
)
_PHP = _Language(
    test=r"(?:(?:public|final|static) +)*function +(?P<name>test\w*) *\(|(?:it|test)\( *" + _NAME,
    mark=r"#\[(?:\w{1,60}\\){0,6}Test\b|@test\b",
    function=r"(?:\w+ +){0,5}function +(?P<method>\w+) *\(",
    assertion=r"(?:->|::)(?:assert|expect|should)\w{0,60}\(|(?:->|::)fail\(|(?<![\w>:])expect\(",
    skip=r"\bmarkTest(?:Skipped|Incomplete)\b|->(?:skip|todo)\w{0,12}(?=\()|#\[(?:\w{1,60}\\){0,6}Requires\w{1,40}",
    only=r"->only(?=\()",
    cases=r"\b(?:DataProvider|dataProvider|TestWith)\b|->with\(",
    attribute=r"#\[[^\]]{0,300}\]\s*",
    attribute_in_comment=r"(?:/?\*+)? *@(?:test|dataProvider)\b",
    comment=r"//|#(?!\[)|/\*|\*",
)
_ELIXIR = _Language(
    test=r"(?:test|property|feature) +" + _NAME + r"|doctest +(?P<name>[\w.]+)",
    assertion=r"\b(?:assert|refute)\w{0,40}\b|\bflunk\b",
    skip=r"@(?:module|describe)?tag +(?::skip\b|skip:|:pending\b)",
    attribute=r"@tag\b.*",
    comment="#",
    strings='"""',
)
_SWIFT = _Language(
    test=r"(?:\w+ +){0,6}func +(?P<name>test\w*) *\(",
    mark=r"@Test\b",
    function=r"(?:\w+ +){0,6}func +(?:`(?P<quoted>[^`]{1,200})`|(?P<method>\w+))",
    assertion=r"\bXCT(?:Assert\w{0,40}|Fail|Unwrap)\b|#(?:expect|require)\b|\bexpect\(",
    skip=r"\.disabled\b|\.enabled\(if:|\bXCTSkip\w{0,10}|\bXCTExpectFailure\b|\bwithKnownIssue\b",
    cases=r"@Test\([^)]{0,200}arguments:",
    attribute=r"@\w+(?:\([^()]{0,300}(?:\([^()]{0,300}\)[^()]{0,300}){0,9}\))?\s*",
    strings='"""',
)
_BY_EXTENSION = {
    **dict.fromkeys(("py", "pyi"), _PYTHON),
    **dict.fromkeys(("js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts", "dart"), _JAVASCRIPT),
    **dict.fromkeys(("sh", "bash", "bats"), _SHELL),
    **dict.fromkeys(("java", "kt", "kts", "groovy", "scala"), _JVM),
    **dict.fromkeys(("ex", "exs"), _ELIXIR),
    "go": _GO,
    "rs": _RUST,
    "rb": _RUBY,
    "cs": _CSHARP,
    "php": _PHP,
    "swift": _SWIFT,
}


@functools.cache
def _patterns(language: _Language) -> dict[str, re.Pattern[str]]:
    return {name: re.compile(pattern) for name, pattern in vars(language).items()}


@dataclass
class FoundTest:
    """One test. Markers are words such as `@pytest.mark.skip`; `body` holds its lines without their indentation."""

    path: str
    name: str
    indent: int
    assertions: int = 0
    cases: int = 0
    skips: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileTests:
    """The tests of a file, and the markers that stand outside of them: a skipped class, `describe.only`."""

    tests: list[FoundTest] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)


def is_test_file(path: str) -> bool:
    """Whether `path` names a program of tests. Rust keeps them beside the code: any file of it may have some."""
    extension = path.rpartition(".")[2]
    by_name = bool(_WORD_OF_TESTS.search(path) or _NAME_OF_TESTS.search(path))
    return extension in ("rs", "bats") or (extension in _BY_EXTENSION and by_name)


def find_tests(path: str, text: str) -> FileTests:
    """What stands in a file for which `is_test_file` holds."""
    return _Reader(path, _BY_EXTENSION[path.rpartition(".")[2]], text).read()


class _Reader:
    def __init__(self, path: str, language: _Language, text: str) -> None:
        self._path = path
        self._is = _patterns(language)
        self._whole_lines = text.replace("\r\n", "\n").split("\n")
        self._lines = [line[:_LONGEST_LINE].expandtabs(4) for line in self._whole_lines]
        self._found = FileTests()
        self._open: list[FoundTest] = []  # nested ones, outermost first
        self._before: list[str] = []  # attributes that wait for their test
        self._before_indent = 0

    def read(self) -> FileTests:
        for number, line in self._code():
            self._take(number, line.strip(), len(line) - len(line.lstrip()))
        self._drop_attributes()
        return self._found

    def _code(self) -> Iterator[tuple[int, str]]:
        """Lines that are neither blank nor comments; those inside a string only count as part of a body."""
        in_comment, string = False, ""
        for number, line in enumerate(self._lines):
            text = line.strip()
            if string:
                if self._open:
                    self._open[-1].body.append(text)
            elif in_comment or self._is["comment"].match(text):
                in_comment = (in_comment or text.startswith("/*")) and "*/" not in text
                if self._is["attribute_in_comment"].match(text):
                    self._attribute(text, len(line) - len(text))
                continue
            elif text:
                yield number, line
            string = self._string_after(self._whole_lines[number], string)

    def _string_after(self, line: str, string: str) -> str:
        """What the string that is open at the end of `line` began with, or ""; `string` is the one before it."""
        line = line.replace("\\`", "")
        if not string and "`" in line and len(line) < _LONGEST_LINE:
            line = _QUOTED.sub("", line)
        for mark in self._is["strings"].findall(line):
            string = "" if mark == string else string or mark
        return string

    def _take(self, number: int, text: str, indent: int) -> None:
        closes = text[0] in ")]}{" or text.startswith("end")
        while self._open and (indent < self._open[-1].indent or (indent == self._open[-1].indent and not closes)):
            self._open.pop()
        rest = text
        while attribute := self._is["attribute"].match(rest):
            rest = rest[attribute.end() :]
        name = self._name(number, rest, [*self._before, text])
        if name:
            self._begin(name, indent, text)
        elif rest != text and (not rest or rest[0] in "({["):
            self._attribute(text, indent)
        elif self._before and (indent > self._before_indent or (closes and indent == self._before_indent)):
            self._attribute(text, self._before_indent)
        else:
            self._drop_attributes()
            self._count(text)

    def _attribute(self, text: str, indent: int) -> None:
        self._before_indent = indent
        if len(self._before) < _MOST_ATTRIBUTE_LINES:
            self._before.append(text)

    def _name(self, number: int, text: str, before: list[str]) -> str:
        found = self._is["test"].match(text)
        if not found:
            found = self._is["function"].match(text)
            if not found or not any(self._is["mark"].search(line) for line in before):
                return ""
        names = [name for name in found.groupdict().values() if name]
        return names[0] if names else self._name_below(number, found.group())

    def _name_below(self, number: int, begin: str) -> str:
        """JavaScript: the name may stand lines below, behind a table of cases."""
        text = "\n".join(self._lines[number : number + _LINES_TO_A_NAME]).lstrip()
        if self._is["cases"].search(begin) or _CONDITION.search(begin[:-1]):
            found = _NAME_AFTER_CASES.search(text)
        else:
            found = _NAME_FIRST.match(text, len(begin) - 1)
        return next((name for name in found.groups() if name), "") if found else ""

    def _begin(self, name: str, indent: int, text: str) -> None:
        test = FoundTest(self._path, name, indent)
        self._found.tests.append(test)
        self._open.append(test)
        for line in (*self._before, text):
            test.cases += len(self._is["cases"].findall(line))
            self._mark(test, line)
        test.assertions += self._assertions(text)
        self._before = []

    def _drop_attributes(self) -> None:
        for line in self._before:
            self._mark(self._open[-1] if self._open else self._found, line)
        self._before = []

    def _count(self, text: str) -> None:
        if self._open:
            self._open[-1].body.append(text)
            self._open[-1].assertions += self._assertions(text)
        self._mark(self._open[-1] if self._open else self._found, text)

    def _assertions(self, text: str) -> int:
        code = text.partition(" # ")[0].partition(" // ")[0]
        return len(self._is["assertion"].findall(code))

    def _mark(self, where: FoundTest | FileTests, text: str) -> None:
        for found in self._is["skip"].finditer(text):
            marker = found.group().strip(" .,:")
            where.skips.append(text if _CONDITION.search(marker) else marker)
        where.alone.extend(found.group().strip(" .,:") for found in self._is["only"].finditer(text))
