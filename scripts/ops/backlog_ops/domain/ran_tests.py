"""Whether a test command ran any test, by what its runner printed.

A command that ends with 0 because it found no test proves nothing, and neither does one that skipped all of them.
Runners say so in lines of their own; a script that names no count is believed. One test that ran anywhere is
enough: in a repository of many packages some have none.
"""

from __future__ import annotations

import re

from backlog_ops.domain.text import quote

_LONGEST_LINE = 1000  # a runner's own lines are short; longer ones are some program's data
_COLOURS = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# What tools that run many packages write before each line: `[INFO] `, `[0] `, `pkg:test: `, `packages/a test: `.
_PREFIX = re.compile(r"\[[\w./:@-]{1,60}\]:? +|[\w./@-]{1,80}[: ]test[\w:-]{0,20}: +")

_N = r"[1-9]\d*"
_GRADLE_TASK = r"(?:> Task )?:(?:[\w.-]+:)*(?:test|\w+Test)"

# Whole lines by which a runner says that it ran no test, or skipped each (a group's name refers to an equal number).
_NONE: dict[str, tuple[str, ...]] = {
    "pytest": (
        r"(?:=+ )?no tests ran\b.*",
        r"collected 0 items\b.*",
        r"\d+ workers? \[0 items\].*",
        r"(?:=+ )?(?:\d+ (?:skipped|deselected|warnings?),? )+in \d.*",
    ),
    "unittest": (r"Ran 0 tests(?: in .*)?", r"NO TESTS RAN\b.*"),
    "node": (r"[#ℹ] (?:tests|pass) +0",),
    "TAP": (r"1\.\.0(?: .*)?", r"(?:not )?ok \d+\b.*# *(?i:skip)\b.*", r"Files=0, Tests=0,.*", r"Result: NOTESTS"),
    "jest": (
        r"(?:[Ee]rror: )?No tests found(?:[.,]| in | related |$).*",
        r"Tests: +(?:\d+ (?:skipped|todo), )*\d+ total",
    ),
    "vitest": (r"(?:Error: )?No test files found\b.*", r"Tests +(?:no tests|(?:\d+ (?:skipped|todo)[ |]+)+\(\d+\))"),
    "mocha": (r"0 passing(?: \(.*\))?",),
    "jasmine": (r"No specs found.*", r"0 specs, 0 failures.*"),
    "bats or ExUnit": (
        r"0 tests, 0 failures.*",
        r"(?P<tests>\d+) tests?, 0 failures, (?P=tests) skipped\b.*",
        r"There are no tests to run",
        r"All tests have been excluded\.?",
    ),
    "go": (
        r"\?\s+\S+\s+\[no test files\]",
        r"ok\s+\S+\s.*\[no tests to run\]",
        r"testing: warning: no tests to run",
        r"no packages to test",
        r"DONE 0 tests\b.*",
    ),
    "cargo": (
        r"running 0 tests",
        r"test result: ok\. 0 passed; 0 failed; \d+ ignored; 0 measured;.*",
        r"Summary \[[^\]]*\] +0 tests run:.*",
        r"(?:error|warning): no tests to run\b.*",
    ),
    "rspec": (
        r"0 examples, 0 failures.*",
        r"No examples found\.",
        r"(?P<examples>\d+) examples?, 0 failures, (?P=examples) pending\b.*",
    ),
    "minitest": (
        r"0 (?:runs|tests), 0 assertions, .*",
        r"(?P<runs>\d+) runs, 0 assertions, 0 failures, 0 errors, (?P=runs) skips",
    ),
    "phpunit": (
        r"No tests executed!",
        r"INFO +No tests found\.",
        r"Tests: 0, Assertions: .*",
        r"Tests: (?P<phpunit>\d+), Assertions: 0, Skipped: (?P=phpunit)\.",
    ),
    "maven": (
        r"No tests to run\.",
        r"Tests are skipped\.",
        r"Tests run: 0, .*",
        r"Tests run: (?P<surefire>\d+), Failures: 0, Errors: 0, Skipped: (?P=surefire)\b.*",
    ),
    "gradle": (_GRADLE_TASK + r" (?:NO-SOURCE|SKIPPED)",),
    "sbt": (r"No tests were executed\.?", r"Passed: Total 0,.*"),
    "dotnet": (
        r"No test is available in .*",
        r"No test matches the given testcase filter .*",
        r"(?:Passed|Skipped)! +- Failed: +0, Passed: +0,.*",
        r"Test (?:run )?summary: (?:Zero tests ran|total: 0,).*",
        r"Total tests: 0",
    ),
    "ctest": (r"No tests were found(?:!!!|\.)", r"100% tests passed, 0 tests failed out of 0"),
    "googletest": (r"\[=+\] Running 0 tests from .*",),
    "swift": (
        r"Executed 0 tests, with 0 failures.*",
        r"Executed (?P<swift>\d+) tests?, with (?P=swift) tests? skipped and 0 failures.*",
        r"(?:\S )?Test run with 0 tests\b.*",
    ),
    "dart": (r"No tests ran\.",),
    "deno": (r"ok \| 0 passed\b.*",),
}
# Whole lines by which some runner says that a test ran. `running 4 tests` (cargo) is none: all may be ignored.
_SOME = (
    rf"(?:=+ )?(?:\d+ \w+, )*{_N} (?:passed|failed|xfailed|xpassed|errors?)(?:(?:,| in| \().*)?",
    rf"Ran {_N} tests?\b.*",
    rf"[#ℹ] (?:pass|fail|todo) +{_N}",
    r"(?:not )?ok \d+\b.*",
    rf"Files=\d+, Tests={_N},.*",
    rf"Tests:? +.*\b{_N} (?:passed|failed)\b.*",
    rf"{_N} (?:passing|failing)(?: \(.*\))?",
    rf"{_N} specs?, \d+ failures?.*",
    # ExUnit counted the excluded among the tests until 1.19: where the two are equal, the line says nothing.
    rf"(?:\d+ \w+, )*(?P<exunit>{_N}) (?:doctests?|properties|property|tests?), \d+ failures?\b"
    r"(?!, (?P=exunit) excluded).*",
    r"(?:ok|FAIL)\s+\S+\s+(?:[\d.]+s|\(cached\)).*",
    r"--- (?:PASS|FAIL): .*",
    rf"DONE {_N} tests?\b.*",
    rf"test result: .*\b{_N} (?:passed|failed|measured)\b.*",
    rf"Summary \[[^\]]*\] +{_N}(?:/\d+)? tests? run:.*",
    rf"{_N} examples?, \d+ failures?.*",
    rf"{_N} (?:runs|tests), \d+ assertions, .*",
    rf"OK \({_N} tests?\b.*",
    rf"Tests: {_N}, Assertions: .*",
    rf"Tests run: +{_N}, .*",
    _GRADLE_TASK + r"(?: UP-TO-DATE| FROM-CACHE| FAILED)?",
    rf"Passed: Total {_N},.*",
    r"(?:Passed|Failed)! +- Failed: +\d+, Passed: +\d+,.*",
    rf"Test (?:run )?summary: total: {_N},.*",
    rf"Total tests: {_N}",
    rf"\d+% tests passed, \d+ tests? failed out of {_N}",
    rf"\[=+\] {_N} tests? from .* ran\..*",
    rf"Executed {_N} (?:of|tests?,) .*",
    rf"(?:\S )?Test run with {_N} tests?\b.*",
    rf"(?:[\d:]+ )?\+{_N}(?: [~-]\d+)*: .*",
    rf"(?:ok|FAILED) \| {_N} passed\b.*",
    rf"{_N} (?:features?|scenarios?)(?: passed,| \().*",
)
_NO_TEST = re.compile("|".join(line for lines in _NONE.values() for line in lines))
_TEST = re.compile("|".join(_SOME))


def plain(line: str) -> str:
    """What is left to see of `line` on a terminal: no colours, and only the last state of a progress bar."""
    if "\x1b" in line:
        line = _COLOURS.sub("", line)
    return line.rstrip().rpartition("\r")[2]


class RanTests:
    """Takes the lines that a test command printed, one by one, and keeps no more than one of them."""

    def __init__(self) -> None:
        self._ran = False
        self._none = ""

    def add(self, line: str) -> None:
        if self._ran or len(line) > _LONGEST_LINE:
            return
        text = plain(line).strip()
        self._look_at(text)
        prefix = _PREFIX.match(text)
        if prefix:
            self._look_at(text[prefix.end() :])

    def _look_at(self, text: str) -> None:
        if _NO_TEST.fullmatch(text):
            self._none = text  # the last one is the summary
        elif _TEST.fullmatch(text):
            self._ran = True

    @property
    def problem(self) -> str:
        """One line when every runner that named a count named none, else ""."""
        if self._ran or not self._none:
            return ""
        runner = next(name for name, lines in _NONE.items() if re.fullmatch("|".join(lines), self._none))
        return f"no test ran ({runner} says {quote(self._none.strip('= '))})"
