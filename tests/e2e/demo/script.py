"""The scripted models of the demo: a local one that answers text gates, and Claude behind the Messages API.

Like a real model they know nothing but what they are sent: which gate and ticket they work on, and every
path, comes out of the prompt, the brief and the files that they read with their tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePath

from tests.e2e.demo.answers import COMMIT_PHRASES, IMPLEMENTATIONS, PLANS, REMARKS
from tests.e2e.harness.reply import Answer, text, tool
from tests.e2e.harness.request import Json, Req, content_text

_BRIEF_PATH = re.compile(r"Read (\S.*?) and do what it says\.")
_LINE_NUMBER = re.compile(r"^ *\d+\t", re.MULTILINE)  # what the Read tool puts in front of each line
_HEAD = re.compile(r"^(Ticket|Gate|Attempt|Worktree|Tree|Check command|Verdict file): (.+)$", re.MULTILINE)


def local_model(body: Json) -> str:
    """Ollama's side: the answer to one /api/chat request."""
    said = {message["role"]: str(message["content"]) for message in body["messages"]}
    answer = _text_gate(said.get("system", ""), said["user"])
    assert answer is not None, f"no text gate: {said}"
    return answer


def claude(request: Req) -> Answer:
    """Anthropic's side: agents where tools are offered, text gates where none are."""
    if not request.tools:
        return _text_gate(request.system, content_text(request.messages[0]["content"]))
    if request.turn == 0:
        found = _BRIEF_PATH.search(request.first_text)
        return tool("Read", file_path=found[1]) if found else None
    brief = _read_text(request, 0)
    head = dict(_HEAD.findall(brief))
    agent = {"IMPLEMENT": _implement, "REVIEW": _review}.get(head.get("Gate", ""))
    return agent(request, head, brief) if agent else None


# -- text gates


def _text_gate(system: str, user: str) -> str | None:
    if "waves" in system:
        return _wave_plan(user)
    if "plan the implementation" in system:
        return json.dumps(PLANS[_find(r"^id: (\S+)$", user)])
    if "commit message" in system:
        ticket = _find(r"Ticket: (\S+)", user)
        kind, area = _find(r"Type: (\w+)", user), _find(r"Area: ([\w./-]+)", user)
        return f"{kind}({area}): {COMMIT_PHRASES[ticket]}"
    if "wave log" in system:
        return "All tickets of this wave passed their gates. What they cost stands in the ledger."
    return None


def _wave_plan(user: str) -> str:
    """What depends on nothing in the first wave, the rest in the second."""
    tickets = json.loads(_find(r"<(tickets-\w+)>\n(?P<found>.*?)\n</\1>", user))
    first = [ticket["id"] for ticket in tickets if not ticket["depends_on"]]
    second = [ticket["id"] for ticket in tickets if ticket["depends_on"]]
    waves = [
        {
            "wave": number,
            "tickets": [{"id": name, "subagent_type": "implementer", "rationale": rationale} for name in names],
        }
        for number, (names, rationale) in enumerate(
            [(first, "no dependency, no shared file"), (second, "its dependency is in wave 1")], start=1
        )
    ]
    return json.dumps({"waves": waves, "skipped": []})


# -- agents, one function a gate; the turn says how far the conversation is


def _implement(request: Req, head: Mapping[str, str], brief: str) -> Answer:
    worktree = PurePath(head["Worktree"])
    attempts = IMPLEMENTATIONS[head["Ticket"]]
    edits = attempts[min(int(head["Attempt"]), len(attempts)) - 1]
    if request.turn == 1:
        rules = re.findall(r"^- read (/.+)$", brief, re.MULTILINE)
        paths = dict.fromkeys([*rules, *(str(worktree / edit.path) for edit in edits)])
        return [text("I read the rules and the files first."), *(tool("Read", file_path=p) for p in paths)]
    if request.turn == 2:
        return [
            tool("Edit", file_path=str(worktree / edit.path), old_string=edit.old, new_string=edit.new)
            for edit in edits
        ]
    if request.turn == 3:
        return tool("Bash", command=head["Check command"], description="Run the project's checks")
    if request.tool_results[-1].is_error:
        return "I changed the files, but the checks do not pass."
    return "Done: the checks pass."


def _review(request: Req, head: Mapping[str, str], brief: str) -> Answer:
    worktree, remark = PurePath(head["Worktree"]), REMARKS.get(head["Ticket"])
    if remark and request.turn == 1:
        return tool("Read", file_path=str(worktree / remark.path))
    if any(result.name == "Write" for result in request.all_tool_results):
        return f"APPROVED, {int(remark is not None)} findings."
    findings = []
    if remark:
        lines = _read_text(request, 1).split("\n")
        findings.append(
            {
                "severity": "low",
                "file": remark.path,
                "line": lines.index(remark.quote) + 1,
                "quote": remark.quote,
                "confidence": 60,
                "text": remark.text,
            }
        )
    verdict = {"verdict": "APPROVED", "tree": head["Tree"], "findings": findings}
    return tool("Write", file_path=head["Verdict file"], content=json.dumps(verdict, indent=1))


# -- what they read


def _read_text(request: Req, number: int) -> str:
    """What the Read tool answered to the conversation's call `number`, without line numbers."""
    return _LINE_NUMBER.sub("", request.all_tool_results[number].text)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    assert found, f"{pattern!r} is not in: {text[:300]!r}"
    return found["found"] if "found" in found.groupdict() else found[1]
