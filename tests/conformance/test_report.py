"""The page of conformance, and that the records behind it are held by tests."""

from __future__ import annotations

from tests.conformance.report import DIFFERENT, PAGE, SAME, counts, files, is_held, page


def test_the_page_is_up_to_date():
    """`python -m tests.conformance.report` would change nothing."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_case_is_held_by_a_test():
    """A case is a call that is sent again, or names the test that holds it, or says why it does not apply."""
    assert [(name, case["name"]) for name, cases in files().items() for case in cases if not is_held(case)] == []


def test_nearly_all_applicable_cases_are_the_same():
    """At most three in a hundred differ, each for a reason."""
    total = counts()
    assert total[SAME] >= 0.97 * (total[SAME] + total[DIFFERENT])
