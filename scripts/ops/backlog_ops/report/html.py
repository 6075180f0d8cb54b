"""The report as one self-contained page: `page(figures)`.

The page asks for nothing from outside, and its Content-Security-Policy forbids it to: only its own style and scripts,
known by their hashes, are let in. Tables are in the page itself; the charts above them are drawn from the same values
by assets/page.js with Chart.js (assets/chart.umd.min.js: the npm package's file, MIT).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from backlog_ops.domain.text import one_line
from backlog_ops.report.figures import Figures
from backlog_ops.report.page_costs import cost_sections, source_section
from backlog_ops.report.page_outcomes import outcome_sections, tiles
from backlog_ops.report.page_parts import FIRST_ROWS, LONGEST_TEXT, Section

ASSETS = Path(__file__).with_name("assets")
CHART_LIBRARY = ASSETS / "chart.umd.min.js"

# Ends a script, starts a comment or breaks a line of JavaScript, wherever the parser of HTML stands.
_UNSAFE_IN_SCRIPT = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def page(figures: Figures) -> str:
    """The whole page. It can be written as UTF-8, whatever stands in the figures."""
    style, script, library = _asset("page.css"), _asset("page.js"), _library()
    parts = [*cost_sections(figures), *outcome_sections(figures), source_section(figures)]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy=_policy(style, (library, script)),
            style=Markup(style),
            library=Markup(library),
            script=Markup(script),
            data=Markup(as_script_data(_chart_data(parts))),
            project=one_line(figures.project, LONGEST_TEXT),
            period=_period(figures),
            made_at=_moment(figures.made_at),
            price_date=figures.price_date,
            notes=[one_line(note, LONGEST_TEXT) for note in figures.notes],
            is_empty=figures.is_empty,
            tiles=tiles(figures),
            sections=parts,
            first_rows=FIRST_ROWS,
        )
    )


def as_script_data(value: object) -> str:
    """JSON that may stand inside a `<script type="application/json">`."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_UNSAFE_IN_SCRIPT)


def _chart_data(sections: list[Section]) -> dict[str, object]:
    """By the id of the canvas, as the template makes it."""
    return {
        f"{section.id}-chart-{place}": asdict(chart)
        for section in sections
        for place, chart in enumerate(section.charts)
    }


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _library() -> str:
    """Chart.js, without the name of its source map: a browser's developer tools would ask for that file."""
    return re.sub(r"\n//# sourceMappingURL=\S*\s*$", "\n", CHART_LIBRARY.read_text(encoding="utf-8"))


def _policy(style: str, scripts: tuple[str, ...]) -> str:
    allowed = " ".join(_hash(script) for script in scripts)
    return f"default-src 'none'; style-src {_hash(style)}; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _period(figures: Figures) -> str:
    return "from the first call on" if figures.since is None else f"since {_moment(figures.since)}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
