"""Every page is computed here, and what it claims is checked.

The right number is torch's, every wrong number is not, and arithmetic that is written out gives the number behind it.
"""

from __future__ import annotations

from functools import cache
from math import isclose, isfinite, sqrt

import pytest

from conformance.explain.draw import drawn
from conformance.explain.make import make
from conformance.explain.page import Drawing
from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.topics import TOPICS, resolve

PAGES = list(dict.fromkeys([*TOPICS, *MISTAKE_PAGES]))


@cache
def page_of(topic):
    return make(topic)[0]


def computed(expression):
    return eval(expression, {"__builtins__": {}}, {"sqrt": sqrt})


@pytest.mark.parametrize("topic", PAGES)
def test_a_page_keeps_its_promises(topic):
    page = page_of(topic)
    assert page.contrasts, "a page without a number explains nothing"
    for contrast in page.contrasts:
        right = contrast.right.value
        assert contrast.right.text
        assert contrast.wrong
        assert contrast.seen
        wrong = {formula.mistake: formula.value for formula in contrast.wrong}
        for formula in contrast.wrong:
            assert formula.text
            seems_right = abs(formula.value - right) <= contrast.allowed
            assert seems_right == formula.hidden, f"{formula.mistake}: {formula.value} beside {right}"
        for seen in contrast.seen:
            expected = wrong[seen.follows] if seen.follows else right
            assert abs(seen.value - expected) <= max(contrast.allowed, 1e-6 * abs(expected)), seen.who
        for formula in (contrast.right, *contrast.wrong):
            if formula.worked:
                assert isclose(computed(formula.worked), formula.value, rel_tol=2e-6, abs_tol=1e-9), formula.worked


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_shows_its_formulas_and_numbers_within_the_width(topic):
    page = page_of(topic)
    wide = drawn(page, width=100)
    squeezed = " ".join(wide.split())
    for contrast in page.contrasts:
        for formula in (contrast.right, *contrast.wrong):
            assert " ".join(formula.text.split()) in squeezed
            if formula.mistake:
                assert f"({formula.mistake})" in squeezed
        for seen in contrast.seen:
            assert seen.who in squeezed
            assert isfinite(seen.value)
    unbroken = [line for block in page.blocks if isinstance(block, Drawing) for line in block.lines]
    for line in drawn(page, width=60).splitlines():
        cannot_be_broken = line.strip() in map(str.strip, unbroken) or len(line.split()) == 1
        assert len(line) <= 60 or cannot_be_broken


@pytest.mark.parametrize("topic", PAGES)
def test_what_a_page_points_to_exists(topic):
    page = page_of(topic)
    assert page.see
    assert [resolve(each) for each in page.see] == list(page.see)


def test_the_axes_page_draws_which_values_are_normalised_together():
    page = page_of("axes")
    drawings = [block.lines for block in page.blocks if isinstance(block, Drawing)]
    by_title = {
        lines[0].partition("(")[0] + lines[0].partition("(")[2].partition(")")[0]: lines[2:] for lines in drawings
    }
    assert by_title["BatchNorm2d"][0].split()[2:] == ["aa", "bb", "cc", "dd"]
    assert by_title["BatchNorm2d"][0].split()[2:] == by_title["BatchNorm2d"][2].split()[2:]  # both samples
    assert by_title["InstanceNorm2d"][2].split()[2:] == ["ee", "ff", "gg", "hh"]
    assert by_title["GroupNormnum_groups=2"][0].split()[2:] == ["aa", "aa", "bb", "bb"]
    assert by_title["LayerNormnormalized_shape=[4, 2, 2]"][2].split()[2:] == ["bb"] * 4


def test_the_allowance_page_adds_up():
    page = page_of("allowance")
    lines = next(block.lines for block in page.blocks if isinstance(block, Drawing))
    scale, rounding, eta, allowed, error, budget = (float(line.split()[-1]) for line in lines[1:])
    assert isclose(scale + rounding + eta, allowed, rel_tol=1e-3)
    assert isclose(error / allowed, budget, rel_tol=1e-2)
    assert budget < 1
