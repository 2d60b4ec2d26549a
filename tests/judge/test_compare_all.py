"""Many quantities compared at once have the figures that each of them has alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from conformance.judge import compare as module
from conformance.judge.compare import Pair, compare, compare_all
from conformance.record import Figure
from conformance.suite.case import Tolerance
from references.expected import Expected, Quantity
from references.rounding import FORMATS, STORAGE

NOTHING = Expected({}, {}, n=5, kappa=1.5)
SHAPES = ((3, 4), (), (2, 0, 3), (7,), (2, 3, 5))
NASTY = (np.nan, np.inf, -np.inf, 1e300, 0.0)


def pairs(seed, *, nasty):
    """Quantities of every format, with and without a tolerance, some wrong in value, shape or dtype."""
    chance = np.random.default_rng(seed)
    found = []
    for step in range(3):
        for number, stored in enumerate((*FORMATS, "int64")):
            shape = SHAPES[(step + number) % len(SHAPES)]
            wide = np.longdouble if stored == "float64" else np.float64
            value = chance.normal(size=shape).astype(wide) * 3
            if stored == "int64":
                value = np.asarray(np.round(value), np.int64)
            scale = np.abs(chance.normal(size=shape)).astype(wide) * 1e-3
            with np.errstate(all="ignore"):
                got = np.asarray(value + 2 * scale * chance.normal(size=shape)).astype(STORAGE[stored])
            if nasty and stored != "int64" and value.size:
                for array in (value, scale, got):
                    with np.errstate(all="ignore"):
                        array.flat[chance.integers(value.size)] = (
                            abs(chance.choice(NASTY)) if array is scale else (chance.choice(NASTY))
                        )
            if number == step:
                got = got.reshape(-1, 1) if step else got.astype(np.float64)
            mask = chance.random(shape) < 0.3 if step == 1 else None
            quantity = Quantity(value, scale, stored, mask, any_nonfinite=step == 2)
            tolerance = Tolerance(rtol=1e-3, origin="x.yaml:3") if step == 1 and number % 2 else None
            found.append(Pair(f"{stored}.{step}", quantity, got, step, NOTHING, "A", tolerance))
    return found


def drawn(compared):
    """As text, since NaN does not equal itself."""
    return [msgspec.json.encode(each if isinstance(each, Figure) else each.figure()) for each in compared]


def alone(pair):
    return compare(pair.quantity, pair.value, pair.got, pair.step, pair.context, pair.label, pair.tolerance)


@pytest.mark.parametrize("together", [1, 20, 1 << 16])
@pytest.mark.parametrize("nasty", [False, True])
def test_together_and_alone_the_figures_are_the_same(monkeypatch, nasty, together):
    """Together also means that one NaN sends all through the slow path, and alone that most go the quick way."""
    monkeypatch.setattr(module, "TOGETHER", together)
    for seed in range(20):
        some = pairs(seed, nasty=nasty)
        found = compare_all(some)
        assert drawn(found) == drawn(map(alone, some))
        assert [each.quantity for each in found] == [pair.quantity for pair in some]
        for each in found:
            figure = each if isinstance(each, Figure) else each.figure()
            assert (each.ok, each.budget) == (figure.ok, figure.budget)


def test_the_figures_tell_what_is_wrong_from_what_is_right():
    """The pairs above are worth comparing: some pass, some fail, some have no number."""
    found = [each for seed in range(5) for each in compare_all(pairs(seed, nasty=True))]
    assert {each.ok for each in found} == {True, False}
    assert {each.budget is None for each in found} == {True, False}


def test_a_figure_stays_what_it_is():
    figure = Figure(quantity="dtype", step=0, budget=None)
    assert compare_all([figure])[0] is figure


def test_the_index_is_that_in_the_quantity_itself_whatever_was_compared_before_it():
    some = []
    for shape, at in (((3, 4), (1, 2)), ((7,), (5,)), ((2, 3, 5), (1, 0, 3)), ((4,), (0,))):
        value, got = np.ones(shape), np.ones(shape, np.float32)
        got[at] = 2
        some.append(Pair(str(at), Quantity(value, np.zeros(shape), "float32"), got, 0, NOTHING, "A"))
    found = [each.figure() for each in compare_all(some)]
    assert [(str(each.index), each.exceeding) for each in found] == [(pair.quantity, 1) for pair in some]


def test_what_is_handled_together_is_bounded_and_keeps_its_order(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 9)
    assert list(module._bounded(range(7), [3, 4, 5, 20, 1, 2, 6])) == [[0, 1], [2], [3], [4, 5, 6]]
