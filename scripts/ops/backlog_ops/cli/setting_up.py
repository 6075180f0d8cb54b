"""Commands for before the first run, and for when something does not work: init and doctor."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from backlog_ops.cli.opening import current_repository
from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.errors import EXIT_CONFIGURATION, EXIT_FINDINGS, EXIT_OK, RepositoryError
from backlog_ops.run import setting_up
from backlog_ops.run.setting_up import NewFile, SetUp


def init(args: argparse.Namespace) -> int:
    git = current_repository()
    plan = setting_up.plan(git, os.environ, args.test_command)
    if not args.dry_run:
        setting_up.write(git, plan.new)
    if args.format == "json":
        print(_as_json(plan, args.dry_run))
    else:
        _print_plan(plan, args.dry_run)
    return EXIT_OK


def _as_json(plan: SetUp, is_dry_run: bool) -> str:
    answer = {
        "dry_run": is_dry_run,
        "stack": plan.stack.name if plan.stack else None,
        "config": plan.config,
        "new": [file.path for file in plan.new],
        "kept": plan.kept,
        "notes": plan.notes,
        "next": _next_steps(plan),
    }
    if is_dry_run:
        answer["diff"] = "".join(map(_diff, plan.new))
    return json.dumps(answer, ensure_ascii=False)


def _print_plan(plan: SetUp, is_dry_run: bool) -> None:
    if plan.stack is not None:
        print(f"{plan.stack.name or 'tests'}: {plan.stack.test}")
    for path in plan.kept:
        print(f"kept {path}")
    if is_dry_run:
        print("".join(map(_diff, plan.new)), end="")
    else:
        for file in plan.new:
            print(f"wrote {file.path}")
    for note in plan.notes:
        print(f"note: {note}")
    if is_dry_run:
        print("nothing was written: this was --dry-run")
        return
    for step in _next_steps(plan):
        print(f"next: {step}")


def _next_steps(plan: SetUp) -> list[str]:
    folder = shlex.quote(plan.data_dir)
    return [
        f"fill in a copy of {folder}/TEMPLATE.md in {folder}/pending for each ticket; `backlog-ops validate` checks",
        f"commit them: git add backlog.config.json {folder} && git commit",
        "/backlog:backlog-implementer in Claude Code, or `backlog-ops run` in a shell",
    ]


def _diff(file: NewFile) -> str:
    """A new file as a unified diff that `git apply` takes."""
    lines = file.text.splitlines(keepends=True)
    head = f"diff --git a/{file.path} b/{file.path}\nnew file mode 100644\n"
    if not lines:
        return head
    return f"{head}--- /dev/null\n+++ b/{file.path}\n@@ -0,0 +1,{len(lines)} @@\n" + "".join(
        f"+{line}" for line in lines
    )


def doctor(args: argparse.Namespace) -> int:
    from backlog_ops.run.doctor.examination import examine
    from backlog_ops.run.doctor.place import Place

    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise RepositoryError("the current folder no longer exists; cd into the repository") from None
    found = examine(Place(folder, os.environ))
    if args.format == "json":
        print(json.dumps([_diagnosis_json(diagnosis) for diagnosis in found], ensure_ascii=False))
    else:
        _print_diagnoses(found)
    errors = [diagnosis for diagnosis in found if diagnosis.level is Level.ERROR]
    if any(diagnosis.is_configuration for diagnosis in errors):
        return EXIT_CONFIGURATION
    return EXIT_FINDINGS if errors else EXIT_OK


def _diagnosis_json(diagnosis: Diagnosis) -> dict[str, str]:
    return {
        "level": diagnosis.level.value,
        "subject": diagnosis.subject,
        "message": diagnosis.message,
        "remedy": diagnosis.remedy,
    }


def _print_diagnoses(found: Sequence[Diagnosis]) -> None:
    for diagnosis in found:
        print(f"{diagnosis.level.value:<8}{diagnosis}")
    counts = Counter(diagnosis.level for diagnosis in found)
    print(f"{counts[Level.ERROR]} error(s), {counts[Level.WARNING]} warning(s)")
