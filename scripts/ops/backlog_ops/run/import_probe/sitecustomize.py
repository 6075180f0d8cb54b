"""Runs inside every Python process of a ticket's checks: reports code imported from the wrong checkout.

A linked `.venv` with an editable install imports the base checkout, so checks would judge code the ticket did
not write. Nothing is guessed: what was really imported is looked at when the process ends. The environment
says where: BACKLOG_PROBE_REPORT (a file, one JSON line a process), BACKLOG_PROBE_BASE, BACKLOG_PROBE_OWN.
Standard library only, any Python from 3.6 on; whatever goes wrong here must not change the checked command.
"""


def _report(target: str, base: str, own: str) -> None:
    import json
    import os
    import sys

    foreign = []
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str):
            continue
        path = os.path.realpath(path)
        parts = path.split(os.sep)
        if path.startswith(own) or "site-packages" in parts or "dist-packages" in parts:
            continue
        if path.startswith((sys.prefix + os.sep, sys.base_prefix + os.sep)) or not path.startswith(base):
            continue
        foreign.append([name, path])
    with open(target, "a") as out:
        out.write(json.dumps(foreign[:20]) + "\n")


def _install() -> None:
    import atexit
    import contextlib
    import os

    try:
        target = os.environ["BACKLOG_PROBE_REPORT"]
        base = os.path.realpath(os.environ["BACKLOG_PROBE_BASE"]) + os.sep
        own = os.path.realpath(os.environ["BACKLOG_PROBE_OWN"]) + os.sep
    except KeyError:
        return

    def at_exit() -> None:
        with contextlib.suppress(Exception):
            _report(target, base, own)

    atexit.register(at_exit)


def _run_the_next_sitecustomize() -> None:
    # This file hides another of the same name further down the path; that one has to run as well.
    import importlib.machinery
    import importlib.util
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    others = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_install()
_run_the_next_sitecustomize()
