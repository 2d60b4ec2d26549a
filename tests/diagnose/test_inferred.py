"""A variance that lost digits is known by what the output shows of it."""

from __future__ import annotations

import planted_batch
import planted_layer
import pytest
from layers import Batch

from conformance.diagnose.inferred import one_pass
from conformance.diagnose.replica import Replica


def replica_of(seen, make, op, shape, dtype, data):
    one = seen(make, op, shape, dtype, data=data, steps=("train",))
    return Replica(one.case, one.expectation, one.observation), one.verdict


@pytest.mark.parametrize(("dtype", "data"), [("float32", "shifted-1e3"), ("float64", "f3-offset")])
def test_one_pass_is_recognised_where_it_cancels(seen, dtype, data):
    replica, verdict = replica_of(seen, planted_batch.OnePass, "BatchNorm2d", (4, 3, 2, 2), dtype, data)
    assert verdict == "fail"
    made = one_pass(replica)
    assert [mistake.id for mistake in made] == ["one-pass-variance"]
    assert replica.explains(made, [place for place in replica.places if place.quantity == "output"])


@pytest.mark.parametrize(
    "make", [planted_batch.UnbiasedEverywhere, planted_batch.MeanSquare, planted_batch.EpsTwiceByDefault]
)
def test_a_wrong_formula_is_not_lost_digits(seen, make):
    replica, verdict = replica_of(seen, make, "BatchNorm2d", (4, 3, 2, 2), "float32", "scaled")
    assert verdict == "fail"
    made = one_pass(replica)
    assert not made or not replica.explains(made, replica.places)


def test_a_layer_that_centres_nothing_and_half_precision_are_left_alone(seen):
    assert one_pass(replica_of(seen, planted_layer.Euclidean, "RMSNorm", (6, 13), "float32", "scaled")[0]) == ()
    assert one_pass(replica_of(seen, Batch, "BatchNorm2d", (4, 3, 2, 2), "bfloat16", "scaled")[0]) == ()
