"""A deviation that is explained by another definition of the op: the other definition must then be met."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.observation import Observation, StepObservation
from conformance.suite.case import Divergence, Origin
from references.rounding import STORAGE

OBSERVES = ("output", "buffer.running_mean", "buffer.running_var")
ONNX = Divergence(id="theirs", when={}, why="they define it so", reference="onnx", origin=Origin("d.yaml", 7, 5))


def observed(expectation, variant):
    """What a layer shows that computes a definition exactly and rounds once on store."""
    return Observation(
        tuple(
            StepObservation(
                {
                    name: quantity.value.astype(STORAGE[quantity.stored])
                    for name, quantity in step.quantities.items()
                    if name in OBSERVES
                }
            )
            for step in expectation.steps("A", variant)
        )
    )


@pytest.fixture
def batch_norm(case_of):
    case = case_of("BatchNorm2d", (3, 4, 2, 3), "float32", data="scaled", steps=("train", "train", "eval"))
    return case, Expectation(case, make_inputs(case))


def test_a_result_that_meets_the_other_definition_is_known_and_says_how_well(batch_norm):
    case, expectation = batch_norm
    judgement = judge(case, expectation, observed(expectation, "onnx"), OBSERVES, [ONNX])
    assert (judgement.verdict, judgement.divergence) == ("known", "theirs")
    assert judgement.reason.startswith("they define it so (meets the onnx definition: at worst 0.")


def test_how_well_another_definition_is_met_is_said_of_none_but_that_definition(batch_norm):
    case, expectation = batch_norm
    sized = msgspec.structs.replace(ONNX, reference="", size={"*": (0, 1e3)})
    judgement = judge(case, expectation, observed(expectation, "onnx"), OBSERVES, [sized])
    assert (judgement.verdict, judgement.reason) == ("known", "they define it so")


def test_the_same_result_fails_where_nothing_is_declared(batch_norm):
    case, expectation = batch_norm
    judgement = judge(case, expectation, observed(expectation, "onnx"), OBSERVES, [])
    assert judgement.verdict == "fail"
    assert "buffer.running_" in judgement.reason


def test_a_difference_from_both_definitions_is_not_tolerated(batch_norm):
    case, expectation = batch_norm
    seen = observed(expectation, "onnx")
    arrays = seen.steps[1].arrays
    off = StepObservation(arrays | {"buffer.running_var": arrays["buffer.running_var"] * 1.01})
    judgement = judge(case, expectation, replace(seen, steps=(seen.steps[0], off, seen.steps[2])), OBSERVES, [ONNX])
    assert judgement.verdict == "fail"
    assert "divergence theirs (d.yaml:7:5) claims the onnx definition, which this exceeds: step 1" in judgement.reason


def test_half_of_each_definition_is_neither(batch_norm):
    """torch's running mean beside ONNX's running variance: each alone is right somewhere."""
    case, expectation = batch_norm
    both = zip(observed(expectation, "onnx").steps, observed(expectation, "").steps, strict=True)
    mixed = Observation(
        tuple(
            StepObservation(theirs.arrays | {"buffer.running_mean": ours.arrays["buffer.running_mean"]})
            for theirs, ours in both
        )
    )
    assert judge(case, expectation, mixed, OBSERVES, [ONNX]).verdict == "fail"


def test_a_result_that_meets_our_definition_has_lost_the_divergence(batch_norm):
    case, expectation = batch_norm
    assert judge(case, expectation, observed(expectation, ""), OBSERVES, [ONNX]).verdict == "fixed"


def test_another_definition_covers_the_quantities_that_it_names(case_of):
    case = case_of("BatchNorm2d", (3, 4, 2, 3), "float32", data="scaled", steps=("train",))
    expectation = Expectation(case, make_inputs(case))
    variance = msgspec.structs.replace(ONNX, quantities=("buffer.running_var",))
    theirs, ours = (observed(expectation, variant).steps[0].arrays for variant in ("onnx", ""))
    mixed = Observation((StepObservation(ours | {"buffer.running_var": theirs["buffer.running_var"]}),))
    assert judge(case, expectation, mixed, OBSERVES, [variance]).verdict == "known"
    assert judge(case, expectation, observed(expectation, "onnx"), OBSERVES, [variance]).verdict == "fail"


def test_attributes_of_onnx_are_float32(case_of):
    """0.1 and 1e-5 are not float32 numbers, which float64 data shows."""
    case = case_of("BatchNorm1d", (5, 2), "float64", data="f1-eps", steps=("train",))
    steps = {
        variant: Expectation(case, make_inputs(case)).steps("A", variant)[0].quantities for variant in ("", "onnx")
    }
    apart = abs(steps["onnx"]["output"].value / steps[""]["output"].value - 1).max()
    assert 1e-11 < apart < 1e-7
