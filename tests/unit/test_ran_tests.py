"""Whether a test command ran a test, by the lines that real runners print."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.ran_tests import RanTests, plain


def problem(output: str) -> str:
    tests = RanTests()
    for line in output.splitlines():
        tests.add(line)
    return tests.problem


# Runner → what it prints when it finds no test, or skips all of them.
NONE = {
    "pytest": [
        "collected 0 items",
        "========= no tests ran in 0.65s =========",
        "no tests ran in 0.62s",
        "2 workers [0 items]",
        "collected 2 items / 2 deselected / 0 selected\n\n====== 2 deselected in 0.65s ======",
        "s                  [100%]\n1 skipped in 0.60s",
        "===== 3 skipped, 1 deselected, 2 warnings in 70.12s (0:01:10) =====",
    ],
    "unittest": ["Ran 0 tests in 0.000s\n\nOK", "NO TESTS RAN", "NO TESTS RAN (skipped=1)", "Ran 0 tests"],
    "node": ["# tests 0\n# suites 0\n# pass 0\n# fail 0", "ℹ tests 0\nℹ pass 0", "ℹ tests 2\nℹ pass 0\nℹ skipped 2"],
    "TAP": ["TAP version 13\n1..0", "1..0 # SKIP nothing here", "1..1\nok 1 b # skip no", "    ok 1 - b # SKIP"],
    "jest": [
        "No tests found, exiting with code 0",
        "No tests found related to files changed since last commit.",
        "Test Suites: 1 skipped, 0 of 1 total\nTests:       1 skipped, 1 total\nRan all test suites.",
        "Tests:       0 total",
    ],
    "vitest": [
        "No test files found, exiting with code 0",
        " Test Files  1 skipped (1)\n      Tests  1 skipped (1)",
        "\x1b[2m      Tests \x1b[22m \x1b[33m3 skipped\x1b[39m\x1b[90m (3)\x1b[39m",
        "      Tests  no tests",
    ],
    "mocha": ["  0 passing (1ms)", "\x1b[92m \x1b[0m\x1b[32m 0 passing\x1b[0m\x1b[90m (1ms)\x1b[0m\n  1 pending"],
    "jasmine": ["No specs found\nFinished in 0.002 seconds", "0 specs, 0 failures"],
    "bats or ExUnit": [
        "\x1b[32;1m\n0 tests, 0 failures\n\x1b[0m",
        "2 tests, 0 failures, 2 skipped",
        "There are no tests to run",
        "All tests have been excluded.\n\n3 tests, 0 failures, 3 excluded",
    ],
    "go": [
        "?   \texample.com/a\t[no test files]",
        "ok  \texample.com/a\t0.002s [no tests to run]",
        "ok  \texample.com/a\t(cached)\tcoverage: 0.0% of statements [no tests to run]",
        "testing: warning: no tests to run\nPASS\nok  \texample.com/a\t0.002s [no tests to run]",
        "DONE 0 tests in 0.501s",
    ],
    "cargo": [
        "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        "running 2 tests\nii\ntest result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
        "     Summary [   0.000s] 0 tests run: 0 passed, 18 skipped",
    ],
    "rspec": ["No examples found.\n\n0 examples, 0 failures", "*\n\n2 examples, 0 failures, 2 pending"],
    "minitest": [
        "0 runs, 0 assertions, 0 failures, 0 errors, 0 skips",
        "2 runs, 0 assertions, 0 failures, 0 errors, 2 skips",
    ],
    "phpunit": ["No tests executed!", "OK, but some tests were skipped!\nTests: 2, Assertions: 0, Skipped: 2."],
    "maven": [
        "[INFO] No tests to run.",
        "Tests run: 0, Failures: 0, Errors: 0, Skipped: 0",
        "[WARNING] Tests run: 3, Failures: 0, Errors: 0, Skipped: 3",
        "[INFO] Tests are skipped.",
    ],
    "gradle": ["> Task :compileJava\n> Task :test NO-SOURCE", ":app:test NO-SOURCE", "> Task :app:jvmTest SKIPPED"],
    "dotnet": [
        "No test is available in /src/bin/a.dll. Make sure that test discoverer & executors are registered.",
        "No test matches the given testcase filter `a` in /src/bin/a.dll",
        "Skipped! - Failed:     0, Passed:     0, Skipped:     3, Total:     3, Duration: 5 ms - a.dll",
    ],
    "ctest": ["No tests were found!!!"],
    "swift": [
        "\t Executed 0 tests, with 0 failures (0 unexpected) in 0.000 (0.003) seconds",
        "✔ Test run with 0 tests in 0 suites passed after 0.001 seconds.",
    ],
}
# What they print when a test ran.
SOME = [
    "=== 1 passed, 1 xfailed in 0.63s ===",
    "3 skipped, 1 passed in 0.1s",
    "1 failed, 2 passed, 1 warning in 0.12s",
    "Ran 2 tests in 0.000s",
    "# tests 2\n# pass 1\n# skipped 1",
    "ℹ pass 1",
    "# pass  1",
    "ok 1 - works",
    "    not ok 2 - works",
    "Tests:       2 skipped, 1 passed, 3 total",
    "      Tests  1 passed | 2 skipped (3)",
    "  \x1b[32m1 passing\x1b[0m (2ms)",
    "2 specs, 0 failures, 1 pending spec",
    "2 tests, 0 failures, 1 skipped",
    "1 doctest, 12 tests, 0 failures",
    "ok  \texample.com/a\t0.002s",
    "ok  \texample.com/a\t(cached)\tcoverage: 50.0% of statements",
    "--- PASS: TestA (0.00s)",
    "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    "     Summary [   0.010s] 3 tests run: 3 passed, 0 skipped",
    "2 examples, 0 failures, 1 pending",
    "2 runs, 3 assertions, 0 failures, 0 errors, 1 skips",
    "OK (3 tests, 5 assertions)",
    "Tests: 3, Assertions: 2, Skipped: 1.",
    "[INFO] Tests run: 3, Failures: 0, Errors: 0, Skipped: 1",
    "> Task :lib:test",
    "> Task :test UP-TO-DATE",
    "Passed!  - Failed:     0, Passed:     3, Skipped:     0, Total:     3, Duration: 5 ms - a.dll",
    "Test summary: total: 3, failed: 0, succeeded: 3, skipped: 0, duration: 1.2s",
    "100% tests passed, 0 tests failed out of 1",
    "\t Executed 2 tests, with 0 failures (0 unexpected) in 0.046 (0.05) seconds",
    "✔ Test run with 3 tests in 1 suite passed after 0.001 seconds.",
    "00:01 +3: All tests passed!",
    "packages/a test: Tests:       3 passed, 3 total",
    "@scope/a:test: # pass 3",
]
# Neither one nor the other.
NOTHING = [
    "",
    "all fine",
    "checked 14 files",
    "2024-01-01 INFO training set has 0 examples, 0 failures so far",
    "loaded 0 examples",
    "worker: no tests ran on this machine yet",
    "> Task :processTestResources NO-SOURCE\n> Task :compileTestJava",
    "running 4 tests",
    "2 tests, 0 failures, 2 excluded",  # before 1.19 all of them, since then two more that ran
    "0 failures",
    "Test Files  1 passed (1)",
]


@pytest.mark.parametrize(("runner", "output"), [(runner, text) for runner, texts in NONE.items() for text in texts])
def test_a_runner_that_ran_no_test_is_a_problem(runner, output):
    assert problem(output).startswith(f"no test ran ({runner} says ")


@pytest.mark.parametrize("output", SOME)
def test_one_test_that_ran_is_enough(output):
    everything_else = "\n".join(text for texts in NONE.values() for text in texts)
    assert problem(output) == ""
    assert problem(f"{everything_else}\n{output}") == ""
    assert problem(f"{output}\n{everything_else}") == ""


@pytest.mark.parametrize("output", NOTHING)
def test_output_that_names_no_count_is_believed(output):
    assert problem(output) == ""


@pytest.mark.parametrize("output", NOTHING)
def test_output_that_names_no_count_does_not_make_up_for_none(output):
    assert problem(f"no tests ran in 0.1s\n{output}") == 'no test ran (pytest says "no tests ran in 0.1s")'


def test_the_problem_is_one_line_in_the_runners_words():
    assert problem("\x1b[33m==== \x1b[1mno tests ran\x1b[0m in 0.65s ====\x1b[0m") == (
        'no test ran (pytest says "no tests ran in 0.65s")'
    )


def test_some_tests_of_a_workspace_are_enough():
    doc_tests = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
    unit_tests = "running 4 tests\ntest result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n"
    assert problem(unit_tests + doc_tests) == ""
    assert problem(doc_tests + doc_tests).startswith('no test ran (cargo says "test result: ok. 0 passed; ')


def test_the_last_state_of_a_progress_line_is_what_counts():
    assert plain("\r 10%\r 50%\r100%\r\n") == "100%"
    assert problem("no tests ran in 0.1s\n00:00 +0: loading\r00:01 +3: All tests passed!") == ""


@given(st.lists(st.text(), max_size=5))
def test_any_lines_are_read(lines):
    tests = RanTests()
    for line in lines:
        tests.add(line)
    assert len(tests.problem.splitlines()) <= 1


@given(st.lists(st.sampled_from([text for texts in NONE.values() for text in texts] + SOME + NOTHING), max_size=8))
def test_the_order_of_the_packages_does_not_matter(outputs):
    assert bool(problem("\n".join(outputs))) == bool(problem("\n".join(reversed(outputs))))


@pytest.mark.parametrize(
    "piece",
    [
        "1 a, ",
        "1 skipped, ",
        "ok 1 ",
        ":a",
        "\x1b[",
        "\x1b]",
        "Tests  1 skipped | ",
        "=",
        "[a",
        "a test:",
        "Summary []",
        "# ",
    ],
)
def test_hostile_lines_are_read_in_linear_time(piece):
    tests = RanTests()
    started = time.process_time()
    for length in range(100, 1000):
        tests.add((piece * length)[:length])
    tests.add(piece * 1_000_000)
    assert time.process_time() - started < 2
