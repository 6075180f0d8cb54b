"""What the README tells people to type is there and works."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.support.lab import Lab

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first fenced block of a language, as it stands without its indentation."""
    found = re.search(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {language} block"
    return textwrap.dedent(found.group(2))


def test_its_configuration_and_its_ticket_are_valid(tmp_path):
    lab = Lab.make(tmp_path / "repo", {"BUG-001.md": block("markdown")})
    lab.write("backlog.config.json", block("json"))
    done = lab.cli("validate")
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stdout + done.stderr


def test_every_command_it_names_exists(tmp_path):
    named = set(re.findall(r"backlog-ops ([a-z]+)", README))
    help_text = Lab.make(tmp_path / "repo", {}).cli("--help").stdout
    listed = set(re.findall(r"^    ([a-z]+) ", help_text, re.MULTILINE))
    assert named
    assert named <= listed


def test_every_verb_of_make_that_it_names_exists():
    verbs = set(re.findall(r"make ([a-z]+)", README))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {word for line in re.findall(r"^([a-z ]+):", makefile, re.MULTILINE) for word in line.split()}
    assert {"demo", "test"} <= verbs <= targets


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_every_page_it_links_to_is_there(path):
    assert (ROOT / path).exists()


def test_its_ledger_queries_run(tmp_path):
    store = Lab.make(tmp_path / "repo", {}).context().store
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8"), re.DOTALL)
    assert queries
    for query in queries:
        store.connection.execute(query)
