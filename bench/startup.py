"""What the launcher adds to a bare interpreter start, and how long the smallest command takes.

Medians of 20, in milliseconds, in turns so that a busy moment falls on all alike. Exit 1 over a limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 20
LAUNCHER_LIMIT_MS = 40.0  # issue A, number 8
COMMAND_LIMIT_MS = 150.0  # issue A, "Speed"


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": folder,
            "BACKLOG_PYTHON": sys.executable,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(ROOT / ".deps/wheels"),
        }
        command = [str(ROOT / "bin/backlog-ops"), "--version"]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (python,) = Path(folder).glob("backlog-ops/venv-*/bin/python")
        script = str(ROOT / "scripts/ops/backlog_ops/__main__.py")
        bare, direct, launched = medians_ms(
            [[str(python), "-Es", "-c", ""], [str(python), "-Es", script, "--version"], command], environment
        )
    print(f"bare interpreter start     {bare:7.1f} ms")
    within = [
        report("launcher, on top of Python", launched - direct, LAUNCHER_LIMIT_MS),
        report("backlog-ops --version", launched, COMMAND_LIMIT_MS),
    ]
    return 0 if all(within) else 1


def medians_ms(commands: list[list[str]], environment: dict[str, str]) -> list[float]:
    seconds: list[list[float]] = [[] for _ in commands]
    for _ in range(REPEATS):
        for times, command in zip(seconds, commands, strict=True):
            started = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - started)
    return [statistics.median(times) * 1000 for times in seconds]


def report(name: str, measured_ms: float, limit_ms: float) -> bool:
    within = measured_ms <= limit_ms
    print(f"{name:26} {measured_ms:7.1f} ms   limit {limit_ms:.0f} ms   {'ok' if within else 'TOO SLOW'}")
    return within


if __name__ == "__main__":
    sys.exit(main())
