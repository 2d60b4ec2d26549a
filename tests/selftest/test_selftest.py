"""What is planted is caught and named; what is right raises no alarm.

Every op is here with a few modules; ``python tests/selftest/table.py`` and the slow tests run them all.
"""

from __future__ import annotations

import pytest
import tutorial
from correct import CORRECT
from planted import PLANTED
from running import everything, outcome, sample

from conformance.checking.judging import tools
from conformance.checking.quick import quick_set
from conformance.diagnose import diagnose
from conformance.engine.execute import SharedCase, execute, take_seat
from conformance.ops import OPS

SHARE_NAMED = 0.9
LAYERS = {op.name for op in OPS.values() if op.judged != "network"}

#: one for each op, and what is found in another way than most: many at once, gradients, structure, precision
SOME = {
    "ManyAtOnce", "UnbiasedEverywhere", "BackwardWithoutMean", "ForgetsToSave", "NoEps", "BiasedInstance", "OverBatch",
    "KerasInstance", "UnbiasedLayer", "CentresRMS", "Interleaved", "PaperAlpha", "MeanOfRows", "ZerosInThePadding",
    "ZeroPadded", "Inverted", "StraightThrough", "GradientOfInput", "Rational", "ColumnMajor", "Unscaled",
}  # fmt: skip
RIGHT = {"Fused", "Rebound", "PermutedView", "OwnBackward", "VarMean", "WeightFirst", "GroupByGroup", "Pooled",
         "SampleBySample", "Einsum", "Unfolded", "ByExpm1", "Bernoulli"}  # fmt: skip


TUTORIAL = {
    "batch-norm-per-pixel", "running-buffers-per-pixel", "running-buffers-exchanged", "momentum-swapped",
    "running-var-biased", "running-var-from-zero", "state-missing-from-state-dict",
}  # fmt: skip


def test_there_are_enough_of_both_kinds_over_all_ops():
    assert len(PLANTED) >= 60
    assert len(CORRECT) >= 30
    assert len({each.title for each in PLANTED}) == len(PLANTED)
    planted, right = {each.op for each in PLANTED}, {each.op for each in CORRECT}
    assert planted >= {"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d",
                       "InstanceNorm3d", "LayerNorm", "RMSNorm", "GroupNorm", "LocalResponseNorm", "Linear", "Conv2d",
                       "MaxPool2d", "AvgPool2d", "ReLU", "Sigmoid", "Tanh", "Flatten", "Dropout"}  # fmt: skip
    assert planted <= LAYERS
    assert right <= LAYERS


@pytest.mark.parametrize("each", [each for each in PLANTED if each.make.__name__ in SOME], ids=lambda each: each.title)
def test_a_planted_mistake_is_caught_and_named(each):
    every = 5 if len(each.names) > 1 else 9  # what few cases show beside other mistakes needs more of them to be named
    found = outcome(each.title, each.op, each.make, each.names, every=every)
    assert found.failing
    assert found.rightly, found.diagnosis
    assert not found.wrongly, found.diagnosis


@pytest.mark.parametrize("each", [each for each in CORRECT if each.make.__name__ in RIGHT], ids=lambda each: each.title)
def test_what_is_right_raises_no_alarm(each):
    found = outcome(each.title, each.op, each.make, as_checked=True, every=5)
    assert found.records
    assert [(record.id, record.reason) for record in found.failing] == []


def test_the_tutorial_is_told_each_of_its_mistakes_in_one_run():
    """Rank test always true, buffers in each other's place, momentum the other way round, and so on."""
    ours = tools()
    seat = take_seat(f"check:{tutorial.__file__}:BatchNorm?like=BatchNorm2d", ours)
    cases = [case for case in quick_set(everything("BatchNorm2d")) if case in sample("BatchNorm2d")]
    records = [execute(SharedCase(case, ours), seat, ours, {}) for case in cases]
    (cause,) = diagnose(records, cases).causes
    named = {name for entry in cause.mistakes for name in entry}
    assert named >= TUTORIAL
    assert named <= TUTORIAL | {"output-dtype-changed", "refused"}


@pytest.mark.slow
def test_every_planted_mistake_is_caught_and_nine_of_ten_are_named_and_none_wrongly():
    found = [outcome(each.title, each.op, each.make, each.names) for each in PLANTED]
    assert [each.title for each in found if not each.failing] == []
    assert {each.title: each.wrongly for each in found if each.wrongly} == {}
    assert sum(each.rightly for each in found) >= SHARE_NAMED * len(found)


@pytest.mark.slow
def test_nothing_that_is_right_raises_an_alarm():
    found = [outcome(each.title, each.op, each.make, as_checked=True) for each in CORRECT]
    assert {each.title: each.failing[0].reason for each in found if each.failing} == {}
