"""A copy of the plugin's launcher around a script that tells what it was started with, and the Pythons it may meet."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Stands where the command-line interface stands: prints what reached it.
WITNESS = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "stdin": sys.stdin.read(), "environ": dict(os.environ), "cwd": os.getcwd(),
           "prefix": sys.prefix, "base": sys.base_prefix, "path": sys.path}, sys.stdout)
"""

# Stands where llm_call.py stands: a script that people start with their own python3.
OWN_PYTHON_WITNESS = """
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "launcher"))
import bootstrap
bootstrap.ensure(sys.argv, needs=NEEDS, optional=OPTIONAL)
""" + WITNESS.replace("import json, os, sys", "import json")

# A Python that is not what it is: runs this interpreter's real self, changed before any program starts.
DISGUISE = """#!{python} -I
import runpy, sys
sys.version_info = {version}
sys.executable = __file__
if {without_ensurepip}:
    sys.modules["ensurepip"] = None
arguments = [argument for argument in sys.argv[1:] if argument not in ("-I", "-Es")]
if arguments[0] in ("-c", "-ISc"):
    exec(arguments[1])
else:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def witnessed(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout))

    @property
    def stderr_lines(self) -> list[str]:
        return self.stderr.splitlines()


class PluginCopy:
    """The launcher files alone, in `folder`, with a `bin` folder beside it that is the whole PATH.

    packages   that the lock file pins; None: all that the plugin's own does
    """

    def __init__(self, folder: Path, packages: Sequence[str] | None = None) -> None:
        self.root = folder / "plugin"
        self.path = folder / "bin"
        self.cache = folder / "cache"
        self.path.mkdir(parents=True)
        for name in ("cksum", "readlink", "sh"):
            self.provide(name, Path(shutil.which(name) or name))
        for part in ("bin", "scripts/ops/launcher", "config"):
            (self.root / part).mkdir(parents=True)
        for file in ("bin/backlog-ops", "scripts/ops/llm_call.sh", "config/requirements.lock"):
            shutil.copy(ROOT / file, self.root / file)
        if packages is not None:
            self.lock_file.write_text("".join(map(pinned, packages)), encoding="utf-8")
        for name in ("launch.sh", "bootstrap.py"):
            shutil.copy(ROOT / "scripts/ops/launcher" / name, self.root / "scripts/ops/launcher" / name)
        (self.root / "scripts/ops/backlog_ops").mkdir()
        (self.root / "scripts/ops/backlog_ops/__main__.py").write_text(WITNESS, encoding="utf-8")
        (self.root / "scripts/ops/llm_call.py").write_text(WITNESS, encoding="utf-8")

    @property
    def command(self) -> Path:
        return self.root / "bin/backlog-ops"

    @property
    def lock_file(self) -> Path:
        return self.root / "config/requirements.lock"

    @property
    def base(self) -> Path:
        return self.cache / "backlog-ops"

    def own_python_script(self, needs: Sequence[str], optional: bool = False) -> Path:
        script = self.root / "scripts/ops/own_python.py"
        text = OWN_PYTHON_WITNESS.replace("NEEDS", repr(list(needs))).replace("OPTIONAL", repr(optional))
        script.write_text(text, encoding="utf-8")
        return script

    def provide(self, name: str, program: Path) -> None:
        """Puts `program` on the PATH as `name`."""
        (self.path / name).unlink(missing_ok=True)
        (self.path / name).symlink_to(program)

    def provide_script(self, name: str, text: str) -> Path:
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)
        return file

    def provide_python(self, name: str = "python3") -> None:
        self.provide(name, base_python())

    def provide_disguised_python(
        self, name: str, version: tuple[int, int, int] = sys.version_info[:3], without_ensurepip: bool = False
    ) -> Path:
        return self.provide_script(
            name,
            DISGUISE.format(python=base_python(), version=version, without_ensurepip=without_ensurepip),
        )

    def way_in(self, start: str) -> list[str | Path]:
        """The command of `start`: "launcher", or "own python", a script started with a Python that is too old."""
        if start == "launcher":
            return [self.command]
        return [self.provide_disguised_python("old", (3, 9, 18)), self.own_python_script(needs=[])]

    def environment(self, **extra: str) -> dict[str, str]:
        return {"PATH": str(self.path), "HOME": str(self.cache), "XDG_CACHE_HOME": str(self.cache), **extra}

    def start(
        self, command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(environment),
            cwd=cwd or self.path,
        )

    def run(self, *arguments: str, stdin: str = "", cwd: Path | None = None, **extra: str) -> Outcome:
        return self.run_command([self.command, *arguments], stdin, cwd, **extra)

    def run_command(
        self, command: Sequence[str | Path], stdin: str = "", cwd: Path | None = None, **extra: str
    ) -> Outcome:
        process = self.start(command, self.environment(**extra), cwd)
        stdout, stderr = process.communicate(stdin, timeout=120)
        return Outcome(process.returncode, stdout, stderr)


def pinned(package: str) -> str:
    """What the plugin's lock file says of `package`."""
    text = (ROOT / "config/requirements.lock").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==.*\n(?: .*\n)*", text, re.MULTILINE)
    assert found, package
    return found[0]


def base_python() -> Path:
    """The interpreter that runs the tests, not the virtual environment around it."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def from_files(folder: Path, cache: Path) -> dict[str, str]:
    """Settings with which pip and uv install from `folder` alone."""
    return {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "UV_NO_CONFIG": "1",
        "UV_NO_INDEX": "1",
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(folder),
        "UV_CACHE_DIR": str(cache),
    }
