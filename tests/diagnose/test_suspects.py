"""One failing case names the mistakes that reproduce it, and says nothing that it does not know."""

from __future__ import annotations

import planted_batch
import planted_layer
import pytest
import torch
from layers import Batch, Layer

from conformance.diagnose import Searches, suspects
from conformance.diagnose.suspects import ELEMENTS

TTE = ("train", "train", "eval")


def of(seen, **how):
    return suspects(seen.case, seen.expectation, seen.observation, (), seen.figures, **how)


def names(suspicion):
    return [set(each.mistakes) for each in suspicion.explanations]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_mistake_that_reproduces_everything_is_named_alone(seen, dtype):
    found = of(seen(planted_batch.BiasedRunning, "BatchNorm2d", (4, 3, 5, 6), dtype, steps=TTE))
    assert names(found) == [{"running-var-biased"}]
    assert found.explanations[0].values == found.values > 0
    assert found.explanations[0].left == ()


def test_the_gradient_of_the_wrong_formula_belongs_to_the_mistake(seen):
    found = of(seen(planted_batch.MeanDeviation, "BatchNorm1d", (6, 3, 7), steps=("train",)))
    assert names(found) == [{"absolute-deviation"}]
    assert found.explanations[0].left == ()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_mistakes_at_once_are_each_named(seen, dtype):
    made = {"unbiased-variance", "eps-outside-sqrt", "momentum-swapped", "batches-not-counted"}
    found = of(seen(planted_batch.ManyAtOnce, "BatchNorm2d", (3, 3, 2, 2), dtype, steps=TTE, data="f1-eps"))
    assert names(found) == [made]
    assert found.explanations[0].left == ()


def test_mistakes_that_the_case_cannot_tell_apart_are_all_named(seen):
    found = of(seen(planted_batch.AveragesFromTwo, "BatchNorm1d", (6, 3), steps=("train",), momentum=None,
                    buffers="default"))  # fmt: skip
    assert {"cumulative-average-off-by-one"} in names(found)
    assert len(names(found)) == len({frozenset(each) for each in names(found)})


class Sine(Layer):
    """A mistake that nobody catalogued."""

    def scale_and_shift(self, xhat):
        return super().scale_and_shift(torch.sin(xhat))


def test_what_no_named_mistake_explains_is_not_named(seen):
    found = of(seen(Sine, "LayerNorm", (6, 13), steps=("train",)))
    assert found.explanations == ()
    assert found.searched


def test_a_part_that_is_explained_is_told_with_what_is_left(seen):
    class Both(Batch):
        def moved(self, old, new, weight):
            return weight * old + (1 - weight) * new

        def scale_and_shift(self, xhat):
            return super().scale_and_shift(torch.sin(xhat))

    found = of(seen(Both, "BatchNorm2d", (4, 3, 5, 6), steps=("train", "train")))
    assert {"momentum-swapped"} in names(found)
    assert "output" in found.explanations[0].left
    assert 0 < found.explanations[0].values < found.values


def test_a_right_layer_in_a_coarser_precision_is_told_so(seen):
    found = of(seen(planted_batch.InHalf, "BatchNorm2d", (4, 3, 5, 6), "bfloat16", steps=("train",)))
    assert names(found) == [{"computed-in-storage-format"}]


def test_faults_of_structure_need_no_search(seen):
    found = of(seen(planted_batch.ForgetsToSave, "BatchNorm2d", (4, 3, 5, 6), steps=("train",)))
    assert found.faults == ("state-missing-from-state-dict",)
    assert found.explanations == ()
    assert not found.searched


def test_a_case_that_passes_gives_rise_to_no_suspicion(seen):
    right = seen(Batch, "BatchNorm2d", (4, 3, 5, 6), steps=TTE)
    assert right.verdict == "pass"
    assert of(right) is None


def test_a_large_case_is_compared_with_what_is_known_and_says_so(seen):
    large = seen(planted_layer.EpsOutsideLayer, "LayerNorm", (ELEMENTS // 8 + 1, 8), data="f1-eps", steps=("train",))
    found = of(large)
    assert not found.searched
    assert "more than" in found.limit


def test_where_few_cases_are_asked_for_a_large_one_is_only_asked_for_its_precision(seen):
    off = of(seen(planted_batch.BiasedRunning, "BatchNorm2d", (4, 3, 5, 6), steps=TTE), elements=100)
    assert (off.explanations, off.searched) == ((), False)
    assert off.limit == "cases of more than 100 values are not searched"
    half = of(seen(planted_batch.InHalf, "BatchNorm2d", (4, 3, 5, 6), "bfloat16", steps=("train",)), elements=100)
    assert names(half) == [{"computed-in-storage-format"}]
    assert half.limit == ""


def test_a_search_without_time_ends_and_says_so(seen):
    found = of(seen(Sine, "LayerNorm", (6, 13), steps=("train",)), seconds=0.0)
    assert found.explanations == ()
    assert "ended after" in found.limit


def test_what_explained_one_case_is_tried_first_on_the_next_and_searches_end_when_enough_is_spent(seen):
    searches = Searches(seconds=0.0)  # enough, after the first
    first = seen(planted_batch.BiasedRunning, "BatchNorm2d", (4, 3, 5, 6), steps=("train",))
    second = seen(planted_batch.BiasedRunning, "BatchNorm2d", (3, 3, 2, 2), steps=("train",))
    other = seen(planted_batch.RunningStd, "BatchNorm2d", (3, 3, 2, 2), steps=("train",))

    def ask(one):
        return searches(one.case, one.expectation, one.observation, (), one.figures, "mine")

    searches._spent["BatchNorm2d", "mine"] = -1.0
    assert names(ask(first)) == [{"running-var-biased"}]
    searches._spent["BatchNorm2d", "mine"] = 1.0
    assert names(ask(second)) == [{"running-var-biased"}]
    left = ask(other)
    assert left.explanations == ()
    assert left.limit == "enough failing cases were searched before"
