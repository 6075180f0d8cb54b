"""Repositories that `init` has not seen yet, and its ticket template filled in.

lab = project(tmp_path / "repo", {"package.json": "{}"})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from backlog_ops.run.git import Git
from tests.support.lab import Lab

UNITTEST = "import unittest\n\n\nclass T(unittest.TestCase):\n    def test_it(self):\n        pass\n"


def project(folder: Path, files: Mapping[str, str]) -> Lab:
    """A repository with these files and no commit."""
    folder.mkdir(parents=True, exist_ok=True)
    lab = Lab(folder, Git(folder))
    lab.git.run("init", "-q", "-b", "main")
    for path, text in files.items():
        lab.write(path, text)
    return lab


def filled_in(template: str, ticket_id: str, path: str) -> str:
    """The template as a person fills it in: the fields that are empty there, and one criterion."""
    for key, value in {"id": ticket_id, "title": "A new file", "affected_files": f"[{path}]"}.items():
        template = re.sub(rf"^{key}: .*$", f"{key}: {value}", template, flags=re.MULTILINE)
    return template.replace("- [ ] AC-1:", "- [ ] AC-1: the file is there")
