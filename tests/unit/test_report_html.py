"""The report's page as text: safe whatever the figures say, complete in itself. A browser opens it in tests/e2e."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.report.figures import Amount, Slice, Yield
from backlog_ops.report.html import ASSETS, CHART_LIBRARY, as_script_data, page
from backlog_ops.report.page_costs import MOST_TICKETS
from backlog_ops.report.terminal import show
from tests.support.made_up_figures import made_up_figures, no_figures

CHART_JS = Path(__file__).resolve().parents[2] / ".deps" / "node_modules" / "chart.js"
ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(("</script>", "<!--", "\u2028", "&lt;"))
NASTY = "<b>&\"'</script>\u202e\ud800\x00\x1b[31m"


@pytest.mark.parametrize(
    "ours, theirs", [("chart.umd.min.js", "dist/chart.umd.min.js"), ("chart.js-LICENSE.md", "LICENSE.md")]
)
def test_the_chart_library_is_the_file_of_the_npm_package(ours: str, theirs: str) -> None:
    if not CHART_JS.is_dir():
        pytest.skip("needs the npm package chart.js: make deps")
    assert (ASSETS / ours).read_bytes() == (CHART_JS / theirs).read_bytes()


def test_the_licence_of_the_chart_library_is_named_in_the_page() -> None:
    assert "Chart.js Contributors\n * Released under the MIT License" in page(no_figures())


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.lists(ANY_TEXT)))
def test_no_data_can_end_its_script(value: dict[str, object]) -> None:
    text = as_script_data(value)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == value


def test_every_text_of_the_figures_is_escaped_and_can_be_written() -> None:
    figures = made_up_figures()
    ticket = replace(
        figures.tickets[0], id=NASTY, title=NASTY, state=NASTY, reason=NASTY, gates=(Slice(NASTY, Amount(1, 1)),)
    )
    nasty = replace(
        figures,
        project=NASTY,
        notes=(NASTY,),
        tickets=(ticket,),
        by_gate=(Slice(NASTY, Amount(1, 1)),),
        by_model=(Slice(NASTY, Amount(1, 1)),),
        by_run=(Slice(NASTY, Amount(1, 1)),),
        fallbacks=tuple(replace(line, cause=NASTY) for line in figures.fallbacks),
        savings=replace(figures.savings, assumption=NASTY),
        budget=tuple(replace(use, what=NASTY) for use in figures.budget),
        unattributed=tuple(replace(part, session=NASTY) for part in figures.unattributed),
    )
    text = page(nasty)
    assert "<b>" not in text
    assert text.count("</script>") == 3
    assert not re.search("[\x00\x1b\u202e]", text)
    assert text.encode()


def test_the_page_has_no_address_but_those_in_comments_of_the_chart_library() -> None:
    text = page(made_up_figures()).replace(_library_in(page(no_figures())), "")
    assert not re.search(r"https?:|//# sourceMappingURL|@import|url\(|src=|<link", text)


def test_the_page_forbids_every_request_and_lets_in_its_own_scripts_by_their_hashes() -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page(made_up_figures()))
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;")
    assert "unsafe" not in policy[1]


def test_an_unknown_cost_is_not_shown_as_nothing() -> None:
    figures = made_up_figures()
    unknown = Slice("no-price-model", Amount(3, 0, 3))
    row = _row(page(replace(figures, by_model=(unknown,))), "no-price-model")
    assert "unknown" in row
    assert "$0.0000" not in row


def test_a_cost_too_small_for_its_digits_is_not_shown_as_nothing() -> None:
    row = _row(page(replace(made_up_figures(), by_model=(Slice("tiny-model", Amount(1, 900)),))), "tiny-model")
    assert "&lt;$0.0001" in row


def test_unknown_calls_and_estimates_are_named_beside_the_sum() -> None:
    figures = made_up_figures()
    text = page(replace(figures, total=Amount(12, 2_500_000_000, 2, 3)))
    assert "$2.50" in text
    assert "and 2 calls of unknown cost; 3 calls estimated" in text


def test_the_assumption_stands_beside_the_savings() -> None:
    figures = made_up_figures()
    section = _section(page(figures), "savings")
    assert figures.savings.assumption in section
    assert "Computed difference" in section


def test_without_a_price_no_savings_are_claimed() -> None:
    figures = made_up_figures()
    first, *rest = figures.savings.lines
    lines = (replace(first, counterfactual_nanousd=None), *rest)
    section = _section(page(replace(figures, savings=replace(figures.savings, lines=lines))), "savings")
    assert "A difference cannot be given" in section
    assert "Computed difference" not in section


@pytest.mark.parametrize(
    ("more", "word", "tile"),
    [
        (5_000_000, "less", "Below the baseline routing"),
        (-5_000_000, "more", "Dearer than the baseline routing"),
    ],
)
def test_a_routing_that_was_dearer_than_the_baseline_is_not_called_a_saving(more: int, word: str, tile: str) -> None:
    figures = made_up_figures()
    line = figures.savings.lines[0]
    line = replace(line, counterfactual_nanousd=line.actual.nanousd + more)
    figures = replace(figures, savings=replace(figures.savings, lines=(line,)))
    text, terminal = page(figures), io.StringIO()
    assert f"Computed difference: $0.0050 {word} than the baseline." in _section(text, "savings")
    assert tile in text
    show(figures, None, terminal)
    assert f"Against the routing before: $0.0050 {word}" in terminal.getvalue()


def test_a_yield_of_nothing_is_a_dash() -> None:
    section = _section(page(replace(made_up_figures(), yields=(Yield("LINT", "m", 0, 0),))), "yields")
    assert ">–<" in re.sub(r"\s*<", "<", section)


def test_more_tickets_than_a_page_shows_are_in_its_sums() -> None:
    figures = made_up_figures(MOST_TICKETS + 5)
    text = page(figures)
    own = sum(ticket.own.nanousd for ticket in figures.tickets)
    foot = _section(text, "tickets").partition("<tfoot>")[2]
    assert f"{MOST_TICKETS + 5:,} tickets" in foot
    assert "5 of them are only in the exports" in foot
    assert f"data-nanousd={own}" in foot


def _section(text: str, name: str) -> str:
    return text.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def _row(text: str, name: str) -> str:
    return text.partition(f"<bdi>{name}</bdi>")[2].partition("</tr>")[0]


def _library_in(text: str) -> str:
    library = CHART_LIBRARY.read_text(encoding="utf-8").partition("\n//# source")[0]
    assert library in text
    return library
