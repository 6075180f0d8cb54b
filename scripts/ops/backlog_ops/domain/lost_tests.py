"""The tests that a change deleted or weakened, each in one line: a reviewer should not have to find them in a diff.

A weaker test is often right, so nothing is judged here. A test that moved, was renamed with the same body, or only
got another indentation is not lost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

from backlog_ops.domain.found_tests import FileTests, FoundTest, find_tests, is_test_file
from backlog_ops.domain.text import UNSAFE

_MOST_LINES = 20  # deleted tests of one file that get a line each
_MOST_NAMES = 8  # in one line
_LONGEST_NAME = 100
_MOST_NAMESAKES = 20  # compared with a test that may have moved


def lost_tests(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[str]:
    """One line for each loss among the changed files (path → text, None where there is no such file)."""
    old, new = _read(before), _read(after)
    pairs, lost, added = _matched(_all_tests(old), _all_tests(new))
    lines = [line for was, now in pairs for line in _weaker(was, now)]
    lines += [f"{_title(test)}: {_runs_alone(marker)}" for test in added for marker in test.alone]
    return [*_deleted(before, after, old, lost), *lines, *_outside_tests(old, new)]


def _read(files: Mapping[str, str | None]) -> dict[str, FileTests]:
    return {path: find_tests(path, text) for path, text in files.items() if text is not None and is_test_file(path)}


def _all_tests(files: Mapping[str, FileTests]) -> list[FoundTest]:
    return [test for file in files.values() for test in file.tests]


_Pairs = list[tuple[FoundTest, FoundTest]]


def _matched(old: list[FoundTest], new: list[FoundTest]) -> tuple[_Pairs, list[FoundTest], list[FoundTest]]:
    """(test before and after, those that are gone, those that came): the surest likeness first."""
    pairs: _Pairs = []
    likenesses: Sequence[tuple[Callable[[FoundTest], Hashable], bool]] = (
        (lambda test: (test.path, test.name, "\n".join(test.body)), False),
        (lambda test: (test.path, test.name), False),
        (lambda test: (test.name, "\n".join(test.body)), False),
        (lambda test: test.name, True),
        (lambda test: "\n".join(test.body) or id(test), False),
    )
    for key, must_share_lines in likenesses:
        candidates: dict[Hashable, list[FoundTest]] = defaultdict(list)
        for test in reversed(new):
            candidates[key(test)].append(test)
        gone = []
        for test in old:
            match = _take(candidates[key(test)], test, must_share_lines)
            if match is None:
                gone.append(test)
            else:
                pairs.append((test, match))
        taken = {id(match) for _, match in pairs}
        old, new = gone, [test for test in new if id(test) not in taken]
    return pairs, old, new


def _take(candidates: list[FoundTest], test: FoundTest, must_share_lines: bool) -> FoundTest | None:
    for at in range(len(candidates) - 1, max(-1, len(candidates) - 1 - _MOST_NAMESAKES), -1):
        if not must_share_lines or _share_lines(test, candidates[at]):
            return candidates.pop(at)
    return None


def _share_lines(one: FoundTest, other: FoundTest) -> bool:
    """Two tests of one name in different files: the same, or only namesakes such as `renders`?"""
    lines, others = set(one.body), set(other.body)
    return 2 * len(lines & others) >= min(len(lines), len(others))


def _deleted(
    before: Mapping[str, str | None],
    after: Mapping[str, str | None],
    old: Mapping[str, FileTests],
    lost: Sequence[FoundTest],
) -> Iterator[str]:
    of_file: dict[str, list[FoundTest]] = defaultdict(list)
    for test in lost:
        of_file[test.path].append(test)
    texts = {text for text in after.values() if text is not None}
    for path, file in old.items():
        tests = of_file[path]
        names = ", ".join([*(_clean(test.name) for test in tests[:_MOST_NAMES]), *["…"][: len(tests) > _MOST_NAMES]])
        if after.get(path) is None and tests:
            yield f"{_clean(path)}: file deleted ({len(tests)} test{'s' * (len(tests) > 1)}: {names})"
        elif after.get(path) is None and not file.tests and _is_named_so(path) and before[path] not in texts:
            yield f"{_clean(path)}: file deleted"
        elif len(tests) > _MOST_LINES:
            yield f"{_clean(path)}: {len(tests)} tests deleted: {names}"
        else:
            yield from (f"{_title(test)}: deleted" for test in tests)


def _is_named_so(path: str) -> bool:
    """Not only its folder, which may hold helpers too."""
    name = path.rpartition("/")[2]
    return is_test_file(name) and not name.endswith(".rs")


def _weaker(was: FoundTest, now: FoundTest) -> Iterator[str]:
    title = _title(now)
    for marker in (Counter(now.skips) - Counter(was.skips)).elements():
        yield f"{title}: now skipped ({_clean(marker)})"
    for marker in (Counter(now.alone) - Counter(was.alone)).elements():
        yield f"{title}: {_runs_alone(marker)}"
    if now.assertions < was.assertions:
        yield f"{title}: {_fewer('assertion', was.assertions, now.assertions)}"
    if now.cases < was.cases:
        yield f"{title}: {_fewer('parametrisation', was.cases, now.cases)}"


def _fewer(what: str, was: int, now: int) -> str:
    return f"{was - now} {what}{'s' * (was - now > 1)} fewer ({was} before, {now} now)"


def _outside_tests(old: Mapping[str, FileTests], new: Mapping[str, FileTests]) -> Iterator[str]:
    """Markers on classes, groups and whole files; one that only moved to another file is none."""
    skips = _growth([file.skips for file in old.values()], [file.skips for file in new.values()])
    alone = _growth([file.alone for file in old.values()], [file.alone for file in new.values()])
    for path, file in new.items():
        known = old.get(path, FileTests())
        if path in old:
            for marker in _spend(skips, Counter(file.skips) - Counter(known.skips)):
                yield f"{_clean(path)}: now skips tests ({_clean(marker)})"
        for marker in _spend(alone, Counter(file.alone) - Counter(known.alone)):
            yield f"{_clean(path)}: {_runs_alone(marker)}"


def _growth(was: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> Counter[str]:
    growth = Counter(marker for markers in now for marker in markers)
    growth.subtract(marker for markers in was for marker in markers)
    return growth


def _spend(growth: Counter[str], markers: Counter[str]) -> Iterator[str]:
    for marker, count in markers.items():
        if growth[marker] > 0:
            growth[marker] -= count
            yield marker


def _runs_alone(marker: str) -> str:
    return f"runs alone ({_clean(marker)}): the other tests no longer run"


def _title(test: FoundTest) -> str:
    return f"{_clean(test.path)}: {_clean(test.name)}"


def _clean(text: str) -> str:
    cut = text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
    return UNSAFE.sub(lambda found: ascii(found.group())[1:-1], cut)
