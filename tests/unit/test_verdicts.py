"""A verdict approves only when it says so, cites what is there and does not contradict itself."""

from __future__ import annotations

from backlog_ops.domain.verdicts import judge

FILES = {"src/a.py": ["def add(a, b):", "    return a + b", ""]}


def finding(**changes):
    return {
        "severity": "low",
        "file": "src/a.py",
        "line": 2,
        "quote": "return a + b",
        "confidence": 90,
        "text": "no type hints",
        **changes,
    }


def review(verdict="APPROVED", *findings):
    return judge({"verdict": verdict, "findings": list(findings)}, 80, FILES.get)


def test_an_approval_without_findings_approves():
    assert review().approved


def test_a_low_finding_does_not_block_an_approval():
    result = review("APPROVED", finding())
    assert result.approved
    assert [f.text for f in result.findings] == ["no type hints"]


def test_changes_requested_is_not_approved_even_without_findings():
    assert not review("CHANGES_REQUESTED").approved


def test_an_approval_with_a_high_finding_contradicts_itself():
    result = review("APPROVED", finding(severity="high"))
    assert not result.approved
    assert "contradiction" in result.reason


def test_a_high_finding_below_the_threshold_is_kept_and_not_acted_on():
    result = review("APPROVED", finding(severity="critical", confidence=79))
    assert result.approved
    assert (len(result.findings), len(result.kept)) == (0, 1)


def test_an_unsure_rejection_still_hands_its_findings_to_the_next_attempt():
    result = review("CHANGES_REQUESTED", finding(confidence=10))
    assert not result.approved
    assert len(result.findings) == 1


def test_a_file_that_does_not_exist_voids_the_review():
    result = review("APPROVED", finding(file="src/b.py"))
    assert not result.approved
    assert "src/b.py is not in the tree" in result.reason


def test_a_line_past_the_end_voids_the_review():
    assert "does not exist" in review("APPROVED", finding(line=4)).reason


def test_an_invented_quote_voids_the_review():
    assert "does not say" in review("APPROVED", finding(quote="return a - b")).reason


def test_a_quote_may_span_lines_and_differ_in_white_space():
    assert review("APPROVED", finding(line=1, quote="def add(a, b): return  a + b")).approved


def test_a_quote_from_an_earlier_line_does_not_match():
    assert not review("APPROVED", finding(line=2, quote="def add")).approved
