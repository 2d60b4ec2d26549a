"""Answers are remembered for the very same object alone."""

from __future__ import annotations

import gc
import weakref

from conformance.suite.by_identity import LIMIT, by_identity


class Thing:
    """Equal to all of its kind."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    __hash__ = None  # type: ignore[assignment]  # as a dict has none


def asking() -> tuple[list[Thing], object]:
    asked: list[Thing] = []

    @by_identity
    def number(thing: Thing) -> int:
        """The place at which it was first asked about."""
        asked.append(thing)
        return len(asked)

    return asked, number


def test_the_same_object_is_asked_about_once_and_an_equal_one_again() -> None:
    asked, number = asking()
    one, other = Thing(), Thing()
    assert [number(one), number(other), number(one), number(other)] == [1, 2, 1, 2]  # type: ignore[operator]
    assert len(asked) == 2


def test_an_object_that_is_remembered_stays_so_that_no_other_takes_its_place() -> None:
    held = by_identity(lambda thing: 1)
    thing = Thing()
    seen = weakref.ref(thing)
    held(thing)
    del thing
    gc.collect()
    assert seen() is not None


def test_only_so_many_are_held() -> None:
    held = by_identity(lambda thing: 1)
    seen = []
    for _ in range(3 * LIMIT):
        thing = Thing()
        held(thing)
        seen.append(weakref.ref(thing))
    del thing
    gc.collect()
    assert 0 < sum(ref() is not None for ref in seen) <= LIMIT


def test_what_an_exception_ended_is_asked_again() -> None:
    answers = iter([ValueError(), 7])

    @by_identity
    def failing(thing: Thing) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    thing = Thing()
    for _ in range(2):
        try:
            assert failing(thing) == 7
        except ValueError:
            continue
    assert failing(thing) == 7
