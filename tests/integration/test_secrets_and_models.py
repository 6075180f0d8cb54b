"""Secrets that stand in a repository or in the environment: no brief and no prompt shows them to a model.

Every fake secret here is put together at run time, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.commands import MAX_LINE, run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action
from backlog_ops.run.secret_scan import BASELINE
from backlog_ops.run.shown_secrets import UNKNOWN, files_without_secrets, patch_without_secrets
from tests.support.lab import Lab, ScriptedAgents, one

AWS = "AK" + "IA" + "Q3ZP" * 4
API_KEY = "sk-" + "ant-api03-" + "Qw7-" * 10
PASSWORD = "pass" + "word"
KEY_BEGINS, KEY_ENDS = ("-----" + edge + " RSA PRIVATE " + "KEY-----" for edge in ("BEGIN", "END"))


# ── In the repository ──────────────────────────────────────────────────────────────────────────────────────


class Told(ScriptedAgents):
    """Keeps what each agent was told."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.briefs: dict[Gate, list[str]] = {}

    def __call__(self, ctx: Context, action: Action) -> str | None:
        self.briefs.setdefault(action.gate, []).append(Path(action.brief).read_text(encoding="utf-8"))
        return super().__call__(ctx, action)


def told(lab: Lab, **fields: Any) -> dict[Gate, list[str]]:
    """The briefs of a whole run."""
    lab.agents = agents = Told(**fields)
    lab.run()
    return agents.briefs


def take_out_the_key(worktree: Path, _ticket: str, _attempt: int) -> None:
    (worktree / "src" / "old.py").write_text("key = os.environ['KEY']\nregion = 'eu'\n", encoding="utf-8")


def test_a_key_that_a_ticket_takes_out_is_shown_to_no_model(tmp_path):
    lab = one(tmp_path, files=("src/old.py",))
    lab.write("src/old.py", f"key = '{AWS}'\nregion = 'eu'\n")
    lab.commit("a key")
    unasked = [("where from?",)]
    evidence = [{"file": "src/old.py", "line": 2, "quote": "eu"}]
    briefs = told(
        lab,
        implement=take_out_the_key,
        plan_files=lambda _ticket: ["src/old.py"],
        questions=lambda _ticket: unasked.pop() if unasked else (),
        investigate=lambda _ticket: {
            "answers": [{"question": "where from?", "answer": "the environment", "evidence": evidence}],
            "open": [],
        },
    )
    assert {Gate.PLAN, Gate.INVESTIGATE, Gate.REVIEW} <= briefs.keys()
    everything = "\n".join(brief for gate in briefs.values() for brief in gate)
    assert AWS not in everything
    assert "-key = '[secret: AWS Access Key]'" in briefs[Gate.REVIEW][0]
    assert "key = '[secret: AWS Access Key]'" in briefs[Gate.PLAN][0]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.make(tmp_path / "repo", {})


def patch(lab: Lab, before: dict[str, str], after: dict[str, str], **options: float) -> str:
    """What a reviewer is shown of a change of these files."""
    for path, text in before.items():
        lab.write(path, text)
    base = lab.commit("before")
    for path, text in after.items():
        lab.write(path, text)
    tree = lab.commit("after")
    return patch_without_secrets(lab.git, base, tree, lab.git.diff(base, tree), **options)


def files(lab: Lab, texts: dict[str, str], **options: float) -> dict[str, str]:
    return files_without_secrets(lab.git, lab.git.commit_of("HEAD") or "", texts, **options)


def test_a_key_beside_a_change_is_not_shown(lab):
    shown = patch(lab, {"a.py": f"key = '{AWS}'\nx = 1\n"}, {"a.py": f"key = '{AWS}'\nx = 2\n"})
    assert " key = '[secret: AWS Access Key]'\n-x = 1\n+x = 2\n" in shown


@pytest.mark.parametrize("key_at", [0, 65], ids=["whole", "cut by git"])
def test_a_key_in_the_heading_of_a_hunk_is_not_shown(lab, key_at):
    text = "".join([f"k{'e' * key_at} = '{AWS}'\n", *(f" line {number}\n" for number in range(20))])
    shown = patch(lab, {"a.py": text}, {"a.py": text.replace("line 15", "line fifteen")})
    assert "line fifteen" in shown
    assert AWS[:6] not in shown


def test_the_middle_of_a_private_key_is_not_shown_without_its_beginning(lab):
    body = [base64.b64encode(bytes([number]) * 48).decode() for number in range(1, 21)]
    text = "\n".join([KEY_BEGINS, *body, KEY_ENDS, ""])
    shown = patch(lab, {"a.pem": text}, {"a.pem": text.replace(body[10], "")})
    assert "[secret: Private Key]" in shown
    assert not [line for line in body if line in shown]


def test_a_change_without_secrets_is_shown_as_it_is(lab):
    shown = patch(lab, {"a.py": "def f():\n    return 1\n"}, {"a.py": "def f():\n    return 2\n", "b.py": "x = 1\n"})
    assert shown == lab.git.diff("HEAD^", "HEAD")


def test_what_the_baseline_allows_is_shown(lab):
    allowed = {"type": "AWS Access Key", "hashed_secret": sha1(AWS.encode()).hexdigest()}
    held = {"version": "1.5.0", "plugins_used": [{"name": "AWSKeyDetector"}], "results": {"a.py": [allowed]}}
    lab.write(BASELINE, json.dumps(held))
    shown = patch(lab, {"a.py": f"key = '{AWS}'\nx = 1\n"}, {"a.py": f"key = '{AWS}'\nx = 2\n"})
    assert f" key = '{AWS}'" in shown
    assert files(lab, {"a.py": AWS}) == {"a.py": AWS}


@pytest.mark.parametrize("words", ["admin", "site-admin"])
def test_a_password_of_mere_words_goes_only_from_its_own_line(lab, words):
    text = f"log('{words}')\n{PASSWORD} = '{words}'\n"
    expected = f"log('{words}')\n{PASSWORD} = '[secret: Secret Keyword]'\n"
    assert files(lab, {"a.py": text}) == {"a.py": expected}


def test_a_key_found_in_one_file_is_hidden_in_another_that_repeats_it(lab):
    value = "correct-horse-7-battery"
    shown = files(lab, {"a.py": f"{PASSWORD} = '{value}'", "notes.txt": f"try {value}"})
    assert shown["notes.txt"] == "try [secret: Secret Keyword]"


def test_what_takes_too_long_to_scan_is_not_shown(lab):
    assert files(lab, {"a.py": AWS}, seconds=0) == {"a.py": UNKNOWN}
    assert AWS not in patch(lab, {"a.py": f"{AWS}\n"}, {"a.py": "x\n"}, seconds=0)


# ── In the environment ─────────────────────────────────────────────────────────────────────────────────────


def printed(folder: Path, code: str, **environ: str) -> str:
    """What is kept of the output of a test command that failed."""
    command = [sys.executable, "-c", f"import json, os, sys, urllib.parse\n{code}\nsys.exit(1)"]
    environ = {"PATH": os.environ["PATH"], **environ}
    return run_checks([("testCommand", command)], folder, folder, 20, environ).results[0].output


def test_a_key_that_a_failing_test_prints_is_not_in_the_next_brief(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY_X", API_KEY)
    lab = one(tmp_path, {"qualityGates": {"testCommand": ["sh", "-c", "env | grep API_KEY_X; exit 1"]}})
    second = told(lab)[Gate.IMPLEMENT][1]
    assert "ANTHROPIC_API_KEY_X=[secret: ANTHROPIC_API_KEY_X]" in second
    assert API_KEY not in second


@pytest.mark.parametrize(
    "name", ["SIGNING_KEY", "github_token", "APP_SECRET", "DB_PASSWORD", "DbPasswd", "CREDENTIALS", "MY_API_KEY_2"]
)
def test_variables_are_secrets_by_their_names(tmp_path, name):
    assert printed(tmp_path, f"print(os.environ[{name!r}])", **{name: "a-long-value"}) == f"[secret: {name}]"


@pytest.mark.parametrize(
    ("name", "value"),
    [("SERVICE_URL", "a-long-value"), ("SORT_KEY", "name"), ("APP_CREDENTIALS", os.path.abspath(__file__))],
)
def test_other_names_short_values_and_paths_stay(tmp_path, name, value):
    assert printed(tmp_path, f"print(os.environ[{name!r}])", **{name: value}) == value


@pytest.mark.parametrize("shown", ["repr(value)", "json.dumps(value)", "urllib.parse.quote(value)"])
def test_a_value_is_known_in_other_spellings(tmp_path, shown):
    value = 'it\'s a \\ "long" välue'
    output = printed(tmp_path, f"value = os.environ['APP_SECRET']; print({shown})", APP_SECRET=value)
    assert output.strip("'\"") == "[secret: APP_SECRET]"


def test_a_value_of_many_lines_is_known_line_by_line(tmp_path):
    body = [letter * 64 for letter in "abc"]
    value = "\n".join([KEY_BEGINS, *body, KEY_ENDS])
    output = printed(tmp_path, "print(os.environ['DEPLOY_KEY'].splitlines()[2])", DEPLOY_KEY=value)
    assert output == "[secret: DEPLOY_KEY]"


def test_no_part_of_a_value_is_left_where_a_line_is_cut(tmp_path):
    output = printed(tmp_path, f"print('x' * {MAX_LINE - 10} + os.environ['APP_TOKEN'])", APP_TOKEN=API_KEY)
    assert output == "x" * (MAX_LINE - 10) + "[secret: APP_TOKEN]"


def test_a_value_longer_than_what_is_kept_of_a_line_is_hidden(tmp_path):
    value = "".join(f"{number:08}" for number in range(500))
    assert not any(
        piece in printed(tmp_path, "print('token', os.environ['APP_TOKEN'])", APP_TOKEN=value)
        for piece in (value[:8], value[96:104], value[200:208])
    )
