"""The manifests, judged by the real Claude Code and compared with what they describe."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

import backlog_ops

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / ".claude-plugin"


def judged_by(claude_bin: Path, home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [claude_bin, "plugin", "validate", "--strict", *arguments],
        env={
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["plugin.json", "marketplace.json"])
def test_claude_code_finds_nothing_to_say_against_the_manifest(
    name: str, claude_bin: Path, own_environment: Path
) -> None:
    judged = judged_by(claude_bin, own_environment, MANIFESTS / name)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_nor_does_the_plugin_directory(claude_bin: Path, own_environment: Path) -> None:
    judged = judged_by(claude_bin, own_environment, "--profile", "directory", MANIFESTS / "plugin.json")
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_the_icon_is_a_square_of_512_pixels_and_small() -> None:
    png = (MANIFESTS / "icon.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (512, 512)
    assert len(png) < 20_000


def test_the_manifest_and_the_library_are_of_one_version() -> None:
    manifest = json.loads((MANIFESTS / "plugin.json").read_text(encoding="utf-8"))
    assert manifest["version"] == backlog_ops.__version__


def test_the_marketplace_offers_the_plugin_under_its_own_name() -> None:
    plugin = json.loads((MANIFESTS / "plugin.json").read_text(encoding="utf-8"))
    (offered,) = json.loads((MANIFESTS / "marketplace.json").read_text(encoding="utf-8"))["plugins"]
    assert (offered["name"], offered["description"]) == (plugin["name"], plugin["description"])
