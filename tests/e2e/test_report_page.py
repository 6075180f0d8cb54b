"""The HTML report in a real browser: made by the command from a ledger, or from made-up figures."""

from __future__ import annotations

import http.server
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from backlog_ops.report.figures import Figures
from backlog_ops.report.html import page as html_page
from backlog_ops.storage.config_file import load_preset
from backlog_ops.storage.locations import database_path
from bench.report import fill
from tests.support.made_up_figures import made_up_figures, no_figures

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: make deps")

from tests.support.browser import Opened, chromium, find_chromium, opened  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / ".deps" / "screenshots"  # kept: the last ones can be looked at
HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>"
CHARTS = "figure[data-chart] .canvas canvas"
LIMIT_SECONDS = 1.0

Show = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    program = find_chromium()
    if program is None:
        pytest.skip("needs Chromium: apt install chromium, or set CHROMIUM")
    with chromium(program) as started:
        yield started


@pytest.fixture
def show(browser: object, tmp_path: Path) -> Iterator[Show]:
    """Opens the page of some figures, or a page that is there, in a browser without a network."""
    with ExitStack() as pages:

        def shown(what: Figures | Path, **context: object) -> Opened:
            file = what if isinstance(what, Path) else tmp_path / "report of a test.html"
            if isinstance(what, Figures):
                file.write_text(html_page(what), encoding="utf-8")
            return pages.enter_context(opened(browser, file, **{"offline": True, **context}))

        yield shown


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, sqlite3.Connection]:
    """A page that `backlog-ops report --html` made, and the database it was made from. Its titles are hostile."""
    top = tmp_path_factory.mktemp("project")
    environ = {"HOME": str(top), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "scripts" / "ops")}
    subprocess.run(["git", "init", "-q", str(top)], check=True)
    (top / "backlog.config.json").write_text(json.dumps(load_preset()))
    database = database_path(environ, top / ".git")
    fill(database, 2_000)
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE ticket SET title = ?", (HOSTILE,))
    command = [sys.executable, "-m", "backlog_ops", "report", "--html", "report.html"]
    subprocess.run(command, cwd=top, env=environ, check=True, capture_output=True, timeout=60)
    return top / "report.html", connection


@pytest.fixture(scope="module")
def ledger_page(browser: object, ledger: tuple[Path, sqlite3.Connection]) -> Iterator[Opened]:
    """The page of the ledger, for tests that only look at it."""
    with opened(browser, ledger[0], offline=True) as shown:
        yield shown


@pytest.fixture
def connection(ledger: tuple[Path, sqlite3.Connection]) -> sqlite3.Connection:
    return ledger[1]


def test_every_chart_is_drawn(ledger_page: Opened) -> None:
    assert ledger_page.page.locator(CHARTS).count() >= 8
    assert blank_charts(ledger_page.page) == []


@pytest.mark.parametrize("section", ["gates", "models", "waves", "runs", "sources"])
def test_every_table_adds_up_to_the_ledger(ledger_page: Opened, connection: sqlite3.Connection, section: str) -> None:
    assert column_sum(ledger_page.page, f"#{section}-table-0", "Cost") == booked(connection)


def test_the_table_of_tickets_adds_up_to_the_rows_that_name_a_ticket(
    ledger_page: Opened, connection: sqlite3.Connection
) -> None:
    sums = {"Own": booked(connection, "ticket IS NOT NULL"), "Parent": booked(connection, "source = 'parent'")}
    sums.update(connection.execute("SELECT gate, sum(cost_nanousd) FROM ledger WHERE ticket IS NOT NULL GROUP BY gate"))
    assert {column: column_sum(ledger_page.page, "#tickets-table-0", column) for column in sums} == sums


def test_the_charts_are_drawn_from_the_numbers_of_the_tables(
    ledger_page: Opened, connection: sqlite3.Connection
) -> None:
    drawn = ledger_page.page.evaluate(
        """() => Object.entries(JSON.parse(document.getElementById("data").textContent)).map(([id, chart]) =>
            [id.split("-")[0], chart.series.flatMap((series) => series.values).reduce((a, b) => a + b, 0)])"""
    )
    sums, whole = dict(drawn), booked(connection) / 1e9
    assert [sums[name] for name in ("gates", "models", "waves", "runs")] == pytest.approx([whole] * 4)
    assert sums["tickets"] == pytest.approx(booked(connection, "ticket IS NOT NULL OR source = 'parent'") / 1e9)


def test_the_page_asks_for_nothing_and_complains_of_nothing(ledger_page: Opened, ledger: tuple[Path, object]) -> None:
    ledger_page.page.mouse.wheel(0, 20_000)
    ledger_page.page.evaluate("() => new Promise(requestAnimationFrame)")
    assert (ledger_page.heard, ledger_page.asked_for) == ([], [ledger[0].as_uri()])


def test_a_hostile_title_is_shown_as_text(ledger_page: Opened) -> None:
    assert ledger_page.page.get_by_text(HOSTILE, exact=True).first.is_visible()
    assert ledger_page.page.locator("img").count() == 0
    assert ledger_page.heard == []


def test_what_got_into_the_page_all_the_same_could_not_run_or_call_out(show: Show, tmp_path: Path) -> None:
    with listening() as (address, requests):
        text = html_page(made_up_figures())
        planted = f'<img src="{address}/image"><script>fetch("{address}/script")</script><a onclick="x()">x</a>'
        file = tmp_path / "planted.html"
        file.write_text(text.replace("<main", planted + "<main"), encoding="utf-8")
        page = show(file, offline=False).page
        page.evaluate("address => fetch(address).catch(() => {})", address)
    assert requests == []
    assert blank_charts(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_colours_of_the_system(show: Show, scheme: str) -> None:
    page = show(made_up_figures(note="The price table is 93 days old."), color_scheme=scheme).page
    keep_screenshot(page, scheme)
    assert (brightness(page) > 0.5) == (scheme == "light")
    assert blank_charts(page) == []


def test_the_colours_are_chosen_with_the_keyboard(show: Show) -> None:
    page = show(made_up_figures(), color_scheme="light").page
    before = first_chart(page)
    page.get_by_label("System").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("Dark").is_checked()
    assert brightness(page) < 0.5
    assert first_chart(page) != before


def test_a_printed_page_is_light_and_has_every_row(show: Show) -> None:
    page = show(made_up_figures(120), color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert brightness_of_text(page) < 0.5
    assert page.locator("#tickets tbody tr:visible").count() == 120


def test_series_differ_without_colour(ledger_page: Opened) -> None:
    patterns = ledger_page.page.locator("#tickets .legend canvas").evaluate_all(
        """all => all.map((canvas) => {
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            let mask = "";
            for (let i = 0; i < pixels.length; i += 4) mask += Math.abs(pixels[i] - pixels[0]) > 8 ? "1" : "0";
            return mask;
        })"""
    )
    assert len(patterns) == len(set(patterns)) >= 5


def test_long_tables_are_searched_and_sorted_with_the_keyboard(show: Show) -> None:
    page = show(made_up_figures(120)).page
    rows = page.locator("#tickets tbody tr:visible")
    page.get_by_label("Search in this table").first.fill("BUG-11")
    assert rows.count() == page.locator("#tickets tbody th", has_text="BUG-11").count() > 0
    page.get_by_label("Search in this table").first.fill("")
    page.get_by_role("button", name="Full cost").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    costs = page.locator("#tickets tbody td:nth-child(3)").evaluate_all("all => all.map(cell => +cell.dataset.nanousd)")
    assert costs == sorted(costs)
    assert page.locator("#tickets th[aria-sort=ascending]").inner_text() == "Full cost"


def test_a_thousand_tickets_are_shown_without_lag(show: Show, tmp_path: Path) -> None:
    file = tmp_path / "thousand.html"
    file.write_text(html_page(made_up_figures(1_000)), encoding="utf-8")
    page = show(no_figures()).page
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # others on this machine do not count
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    seconds = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    assert page.locator("#tickets tbody tr").count() == 1_000
    assert seconds["TaskDuration"] < LIMIT_SECONDS


def test_the_tickets_that_are_not_drawn_are_a_key_away(show: Show) -> None:
    page = show(made_up_figures(45)).page
    before = first_chart(page)
    page.locator("#tickets .pages").get_by_role("button", name="Next").press("Enter")
    assert page.locator("#tickets .pages output").inner_text() == "21–40 of 45"
    assert first_chart(page) != before


def test_narrow_windows_scroll_down_only(show: Show) -> None:
    page = show(made_up_figures(30), viewport={"width": 360, "height": 800}).page
    keep_screenshot(page, "narrow")
    widths = []
    for width in (360, 768, 1024):
        page.set_viewport_size({"width": width, "height": 800})
        widths.append(page.evaluate("document.documentElement.scrollWidth"))
    assert widths == [360, 768, 1024]


def test_without_scripts_every_number_is_there(show: Show) -> None:
    page = show(made_up_figures(150), java_script_enabled=False).page
    assert page.locator("#tickets tbody tr:visible").count() == 150
    assert page.locator("figure:visible").count() == 0


def test_an_empty_ledger_is_said_to_be_empty(show: Show) -> None:
    shown = show(no_figures())
    assert shown.page.get_by_text("No model call stands in the ledger").is_visible()
    assert shown.page.locator("table").count() == 0
    assert shown.heard == []


def keep_screenshot(page: sync_api.Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"report-{name}.png"), full_page=True)


def booked(connection: sqlite3.Connection, where: str = "1") -> int:
    return int(connection.execute(f"SELECT sum(cost_nanousd) FROM ledger WHERE {where}").fetchone()[0])


def column_sum(page: sync_api.Page, table: str, column: str) -> int:
    """Nano-dollars of all rows in the column with this head."""
    return int(
        page.locator(table).evaluate(
            """(table, column) => {
                const place = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent === column);
                const rows = [...table.tBodies[0].rows];
                return rows.reduce((sum, row) => sum + Number(row.cells[place].dataset.nanousd ?? 0), 0);
            }""",
            column,
        )
    )


def blank_charts(page: sync_api.Page) -> list[str]:
    """The canvases with one colour only."""
    return page.locator(CHARTS).evaluate_all(
        """all => all.filter((canvas) => {
            const pixels = new Uint32Array(
                canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
            return new Set(pixels).size < 8;
        }).map((canvas) => canvas.id)"""
    )


def first_chart(page: sync_api.Page) -> str:
    return page.locator(CHARTS).first.evaluate("canvas => canvas.toDataURL()")


def brightness(page: sync_api.Page) -> float:
    return _brightness(page, "getComputedStyle(document.documentElement).backgroundColor")


def brightness_of_text(page: sync_api.Page) -> float:
    return _brightness(page, "getComputedStyle(document.body).color")


def _brightness(page: sync_api.Page, color: str) -> float:
    """0 (black) to 1 (white)."""
    numbers = page.evaluate(f"{color}.match(/[\\d.]+/g).slice(0, 3).map(Number)")
    return sum(numbers) / (3 * 255)


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and the paths that were asked of it."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
