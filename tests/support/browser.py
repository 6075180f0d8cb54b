"""A real Chromium, driven by playwright: $CHROMIUM, else the system's own (`deps.py test` installs Debian's).

with chromium(program) as browser, opened(browser, file, color_scheme="dark") as page:
    assert page.heard == []
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

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
    # The sandbox refuses to run as root, a container's shared memory is small, and no graphics card is to be imitated.
    arguments = ["--disable-dev-shm-usage", "--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True)
class Opened:
    page: Page
    heard: list[str]  # what was written to the console, errors that nobody caught, alerts
    asked_for: list[str]  # the address of every request, the page's own too


@contextmanager
def opened(browser: Browser, file: Path, **context: Any) -> Iterator[Opened]:
    """`file` as a person opens it, once it is drawn."""
    with browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}) as shown:
        page, heard, asked_for = shown.new_page(), list[str](), list[str]()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked_for.append(request.url))
        page.goto(file.as_uri())
        if context.get("java_script_enabled", True):
            page.wait_for_selector("html[data-drawn]")
        yield Opened(page, heard, asked_for)
