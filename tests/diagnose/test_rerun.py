"""A reference run beside an observation computes what is asked for, and no more."""

from __future__ import annotations

import numpy as np
import planted_batch
import pytest

from conformance.diagnose.rerun import Rerun
from conformance.reference import reference_class


@pytest.fixture
def looked_at(seen):
    return seen(planted_batch.BiasedRunning, "BatchNorm2d", (4, 3, 5, 6), steps=("train", "train", "eval"))


def rerun(seen, of):
    return Rerun(of, seen.case, seen.expectation.inputs, seen.observation)


def test_outputs_and_buffers_are_had_without_the_gradients(looked_at):
    asked = []

    class Counted(reference_class("BatchNorm2d")):
        def backward_sums(self, g, xh):
            asked.append(1)
            return super().backward_sums(g, xh)

    made = rerun(looked_at, Counted)
    for step in range(3):
        assert made.quantity(step, "output") is not None
        assert made.quantity(step, "buffer.running_var") is not None
    assert not asked
    assert made.quantity(0, "grad_input") is not None
    assert asked == [1]


@pytest.mark.parametrize("first", ["output", "grad_input"])
def test_what_is_had_alone_is_what_is_had_with_everything(looked_at, first):
    right = reference_class("BatchNorm2d")
    made, whole = rerun(looked_at, right), rerun(looked_at, right)
    for step in range(3):
        made.quantity(step, first)
        everything = whole.step(step).quantities
        assert set(everything) > {"output", "grad_input", "grad.weight", "buffer.running_mean"}
        for name, quantity in everything.items():
            got = made.quantity(step, name)
            assert np.array_equal(got.value, quantity.value), name
            assert np.array_equal(got.scale, quantity.scale), name
