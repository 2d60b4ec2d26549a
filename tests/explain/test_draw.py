"""Pages as text."""

from __future__ import annotations

from conformance.explain.draw import apart, drawn
from conformance.explain.page import Contrast, Drawing, Formula, Page, Seen, Yours

RIGHT = Formula("y = x", 1.0, "1 * 1")
WRONG = Formula("y = x + tiny", 1.0000001, "", "some-mistake")
PAGE = Page("topic", "title", ("words " * 30, Contrast("a number", RIGHT, (WRONG,), (Seen("torch 9", 1.0),), 1e-9)))


def test_numbers_that_differ_look_different():
    show = apart([1.0, 1.0000001])
    assert show(1.0) != show(1.0000001)
    assert apart([1.0, 1.0]).digits == 5


def test_words_wrap_at_the_width_and_drawings_do_not():
    wide = Drawing(("|" + "-" * 90,))
    text = drawn(Page("topic", "title", ("words " * 30, wide)), width=50)
    assert "|" + "-" * 90 in text
    assert all(len(line) <= 50 for line in text.splitlines() if "-" * 90 not in line)


def test_a_very_narrow_terminal_still_gets_a_page():
    assert "definition" in drawn(PAGE, width=3)


def test_what_follows_the_definition_is_said_in_words():
    text = drawn(PAGE)
    assert "1    <- the definition" in text
    assert "(some-mistake)" in text


def test_no_escape_sequences():
    assert "\x1b" not in drawn(PAGE)


def test_of_ones_own_numbers_those_that_were_not_asked_for_are_left_out_where_others_were():
    asked = Yours("one", 1.0, RIGHT, (RIGHT,))
    misfit = Yours("other", None, RIGHT, (), "takes no eps", asked=False)
    assert "takes no eps" not in drawn(PAGE, (asked, misfit))
    assert "takes no eps" in drawn(PAGE, (misfit,))
