"""A verdict approves only when it says so, cites what is there and does not contradict itself."""

from __future__ import annotations

import pytest
from jsonschema import Draft7Validator

from backlog_ops.domain.verdicts import VERDICT_SCHEMA, Review, judge, together

TREE, OTHER_TREE = "a" * 40, "b" * 40
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


def review(verdict="APPROVED", *findings, on=TREE):
    return judge({"verdict": verdict, "tree": on, "findings": list(findings)}, TREE, 80, FILES.get)


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


def test_an_approval_of_another_tree_is_none_and_says_so():
    result = review("APPROVED", finding(), on=OTHER_TREE)
    assert not result.approved
    assert result.reason == "approved another tree (bbbbbbbbb, not aaaaaaaaa)"


def test_a_rejection_of_another_tree_is_still_a_rejection_with_its_findings():
    result = review("CHANGES_REQUESTED", finding(severity="high"), on=OTHER_TREE)
    assert "changes requested" in result.reason
    assert len(result.findings) == 1


def is_valid(**fields):
    return Draft7Validator(VERDICT_SCHEMA).is_valid({"verdict": "APPROVED", "tree": TREE, "findings": [], **fields})


@pytest.mark.parametrize("tree", ["a" * 40, "0123456789abcdef" * 4])
def test_a_tree_is_named_by_its_whole_hash(tree):
    assert is_valid(tree=tree)


@pytest.mark.parametrize("tree", ["", "a" * 39, "a" * 65, "A" * 40, "HEAD", None])
def test_what_names_no_tree_is_no_verdict(tree):
    assert not is_valid(tree=tree)


@pytest.mark.parametrize(("verdict", "is_one"), [("APPROVED", False), ("CHANGES_REQUESTED", True)])
def test_an_approval_without_its_tree_is_none_and_a_rejection_is_one(verdict, is_one):
    assert Draft7Validator(VERDICT_SCHEMA).is_valid({"verdict": verdict, "findings": []}) is is_one


# -- several reviewers


APPROVED = review("APPROVED", finding(text="a note"), finding(confidence=10, text="unsure"))
REJECTED = review("CHANGES_REQUESTED", finding(severity="high", text="wrong"))


def test_one_reviewer_alone_speaks_without_its_name():
    assert together({"all": APPROVED}) == APPROVED


def test_reviewers_approve_together_when_all_of_them_do():
    assert together({"all": APPROVED, "security": review()}).approved


@pytest.mark.parametrize("reviews", [{"all": APPROVED, "tests": REJECTED}, {"all": REJECTED, "tests": APPROVED}])
def test_one_rejection_among_them_is_a_rejection(reviews):
    assert not together(reviews).approved


def test_the_reason_names_each_reviewer():
    reason = together({"all": APPROVED, "tests": REJECTED}).reason
    assert reason == f"all: {APPROVED.reason}; tests: {REJECTED.reason}"


def test_what_all_of_them_found_goes_to_the_next_attempt():
    result = together({"all": APPROVED, "tests": REJECTED})
    assert [f.text for f in result.findings] == ["a note", "wrong"]
    assert [f.text for f in result.kept] == ["unsure"]


def test_no_reviewer_at_all_is_no_approval():
    assert together({}) == Review(False, "no reviewer")
