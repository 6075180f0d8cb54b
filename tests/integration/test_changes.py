"""What a change does to files beyond what its diff shows at a glance."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlog_ops.run.changes import emptied_files, governing_files, shrunken_files, texts_between, touched_repositories
from tests.support.lab import Lab

LONG = "".join(f"line {number}\n" for number in range(100))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab.make(tmp_path / "repo", {})
    made.write("long.txt", LONG)
    made.write("two words\nand a line.txt", LONG)
    made.write("always empty.txt", "")
    made.commit("before")
    return made


def test_files_that_lose_all_they_held_are_named(lab: Lab) -> None:
    lab.write("long.txt", "")
    lab.write("two words\nand a line.txt", " \n\n")
    lab.write("always empty.txt", "\n")
    lab.commit("emptied")
    assert sorted(emptied_files(lab.git, "HEAD^", "HEAD")) == ["long.txt", "two words\nand a line.txt"]


def test_a_file_that_loses_more_than_half_of_its_lines_is_named_with_both_numbers(lab: Lab) -> None:
    lab.write("long.txt", LONG[: len(LONG) // 3])
    lab.write("two words\nand a line.txt", LONG + "more\n")
    lab.commit("shrunk")
    before, after = texts_between(lab.git, "HEAD^", "HEAD")
    assert set(before) == set(after) == {"long.txt", "two words\nand a line.txt"}
    (line,) = shrunken_files(before, after)
    assert line.startswith("long.txt: 100 lines before, ")


def test_new_and_deleted_files_are_none_on_one_side_and_binary_ones_are_left_out(lab: Lab) -> None:
    lab.write("new.txt", "new\n")
    (lab.top / "long.txt").unlink()
    (lab.top / "picture").write_bytes(b"\0\1\2")
    lab.commit("more")
    before, after = texts_between(lab.git, "HEAD^", "HEAD")
    assert (before["new.txt"], after["new.txt"], before["long.txt"], after["long.txt"]) == (None, "new\n", LONG, None)
    assert "picture" not in before


def test_a_thousand_changed_files_take_no_thousand_processes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        lab.write(f"many/{number}.txt", "x\n")
    lab.commit("many")
    calls = []
    run = type(lab.git).run
    monkeypatch.setattr(
        type(lab.git), "run", lambda self, *args, **more: calls.append(args) or run(self, *args, **more)
    )
    texts_between(lab.git, "HEAD^", "HEAD")
    emptied_files(lab.git, "HEAD^", "HEAD")
    assert len(calls) < 12


def test_a_repository_inside_is_named(lab: Lab) -> None:
    inner = Lab.make(lab.top / "vendor", {})
    assert inner.git.commit_of("HEAD")
    lab.commit("nested")
    assert touched_repositories(lab.git, "HEAD^", "HEAD") == ["vendor"]


@pytest.mark.parametrize(
    "path", ["Makefile", "web/package.json", ".claude/settings.json", "tests/conftest.py", "RULES.md"]
)
def test_what_governs_the_gates_is_named(path: str) -> None:
    assert governing_files([path, "src/Makefile.txt", "package.json.md"], ["RULES.md"]) == [
        f"{path}: decides what the checks, the host or the project's machines do"
    ]
