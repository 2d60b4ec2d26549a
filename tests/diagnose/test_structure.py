"""Faults beside the numbers get their names."""

from __future__ import annotations

import pytest

from conformance.diagnose.structure import STRUCTURAL, structural
from conformance.judge.structure import compare_structure, expected_structure
from conformance.observation import Observation, Raised, StepObservation
from conformance.record import Figure
from conformance.suite.case import Raises


def faults(case, raised=None, figures=(), **told):
    structure = expected_structure(case) | told
    found = [*compare_structure(expected_structure(case), structure, 0), *figures]
    return structural(case, Observation((StepObservation({}, structure),), raised), found)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"state_dict": "weight,bias"}, "state-missing-from-state-dict"),
        ({"state_dict": "weight,bias,running_mean,running_var,num_batches_tracked,mask"}, "state-dict-has-more"),
        ({"state_dict": "bias,weight,running_mean,running_var,num_batches_tracked"}, "state-dict-in-another-order"),
        ({"input_modified": "yes"}, "input-modified"),
        ({"dtype": "float64"}, "output-dtype-changed"),
        ({"shape": "4x3"}, "output-shape-changed"),
        ({"memory_format": "channels_last"}, "memory-format-lost"),
    ],
)
def test_a_structure_that_is_not_as_it_should_be(case_of, told, name):
    case = case_of("BatchNorm2d", (4, 3, 5, 6))
    assert faults(case) == ()
    assert faults(case, **told) == (name,)


def test_a_count_that_a_layer_says_it_does_not_keep_is_not_missing(case_of):
    told = {"state_dict": "weight,bias,running_mean,running_var", "not_kept": "num_batches_tracked"}
    assert faults(case_of("BatchNorm2d", (4, 3, 5, 6)), **told) == ()


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        ("grad_input", "gradient-missing"),
        ("buffer.x", "buffer-missing"),
        ("1 (BatchNorm2d) buffer.x", "buffer-missing"),
        ("1 (BatchNorm2d) grad.weight", "gradient-missing"),
        ("momentum.weight", "gradient-missing"),
    ],
)
def test_an_array_that_is_not_there(case_of, quantity, name):
    figure = Figure(quantity=quantity, step=0, budget=None, got="nothing", ok=False, source="structure")
    assert faults(case_of("BatchNorm2d", (4, 3, 5, 6)), figures=(figure,)) == (name,)


def test_refusals_that_are_too_few_and_too_many(case_of):
    refused = case_of("BatchNorm2d", (1, 3, 1, 1), raises=Raises("ValueError", "more than 1 value"))
    assert faults(refused) == ("not-refused",)
    assert faults(refused, raised=Raised("KeyError", "", 0)) == ("refused-in-other-words",)
    assert faults(case_of("BatchNorm2d", (4, 3, 5, 6)), raised=Raised("KeyError", "", 0)) == ("refused",)


def test_every_fault_has_a_sentence():
    assert all(len(says.split()) > 4 for says in STRUCTURAL.values())
