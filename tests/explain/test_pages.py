"""The words of the pages: one entry for each mistake, and none for what is no mistake."""

from __future__ import annotations

import pytest

from conformance.explain.pages import GROUPS, MISTAKE_PAGES
from references.mistakes import MISTAKES


def test_every_mistake_has_a_page():
    assert not set(MISTAKES) - set(MISTAKE_PAGES), "write their entries in conformance/explain/pages"


def test_every_page_is_that_of_a_mistake():
    assert not set(MISTAKE_PAGES) - set(MISTAKES)


def test_no_id_stands_in_two_groups():
    assert sum(map(len, GROUPS.values())) == len(MISTAKE_PAGES)


@pytest.mark.parametrize("name", MISTAKE_PAGES)
def test_the_two_formulas_are_single_lines_and_differ(name):
    page = MISTAKE_PAGES[name]
    assert page.right
    assert page.wrong
    assert page.right != page.wrong
    assert "\n" not in page.right + page.wrong
    assert page.met.endswith(".")
