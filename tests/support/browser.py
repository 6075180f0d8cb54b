"""A real Chromium, driven by playwright: $CHROMIUM, else the system's own (`deps.py test` installs Debian's).

with chromium() as browser:
    page = browser.new_page()
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = tuple(f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Chromium", "Google Chrome"))


def find_chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = (shutil.which(name) for name in NAMES)
    return next((path for path in (*found, *MACOS) if path and Path(path).exists()), None)


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    """Without a network of its own: a proxy that nobody serves stands before everything but files."""
    # The sandbox refuses to run as root, and shared memory is small in containers.
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=arguments, proxy={"server": "http://127.0.0.1:9"}
        )
        try:
            yield browser
        finally:
            browser.close()
