"""The catalogue of mistakes: each is one switch, named, and different from the right reference."""

from __future__ import annotations

import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.ops import OPS
from conformance.power import visibility
from conformance.reference import reference_class
from references.expected import run
from references.mistakes import MISTAKES, mistaken
from references.mistakes.low_precision import accumulated, truncated
from references.rounding import precision

FAMILIES = {op.family for op in OPS.values()}


def of_family(family):
    return next(op for op in OPS.values() if op.family == family)


def test_there_are_enough_of_them_with_names_and_sentences():
    assert len(MISTAKES) >= 50
    for name, mistake in MISTAKES.items():
        assert name == mistake.id == name.lower()
        assert len(mistake.says.split()) >= 3, mistake.says
        assert set(mistake.families) <= FAMILIES


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_replaces_methods_that_its_references_have(name):
    mistake = MISTAKES[name]
    for family in mistake.families:
        reference = reference_class(of_family(family).name)
        wrong = mistaken(reference, mistake)
        assert issubclass(wrong, reference)
        for method in mistake.changes:
            assert hasattr(reference, method), f"{reference.__name__} has no {method}"


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_said_to_show_a_mistake_is_a_quantity_of_the_op(name, case_of):
    mistake = MISTAKES[name]
    for family in mistake.families:
        case = SHOWING[family](case_of)
        quantities = Expectation(case, make_inputs(case)).steps()[0].quantities
        assert mistake.shows in quantities


SHOWING = {
    "batch_norm": lambda case: case("BatchNorm2d", (4, 3, 5, 6), data="scaled"),
    "instance_norm": lambda case: case(
        "InstanceNorm2d", (4, 3, 5, 6), data="scaled", affine=True, track_running_stats=True
    ),
    "layer_norm": lambda case: case("LayerNorm", (6, 13), data="scaled"),
    "rms_norm": lambda case: case("RMSNorm", (6, 13), data="scaled"),
    "group_norm": lambda case: case("GroupNorm", (4, 6, 5), data="scaled", num_groups=2),
    "local_response_norm": lambda case: case("LocalResponseNorm", (3, 7, 5), data="scaled", alpha=0.5, size=4),
    "linear": lambda case: case("Linear", (4, 5), data="scaled", out_features=5),
    "relu": lambda case: case("ReLU", (4, 5), data="scaled"),
    "sigmoid": lambda case: case("Sigmoid", (4, 5), data="scaled"),
    "tanh": lambda case: case("Tanh", (4, 5), data="scaled"),
    "convolution": lambda case: case("Conv2d", (2, 4, 6, 5), data="scaled", padding=1, groups=2),
    "max_pool": lambda case: case("MaxPool2d", (2, 3, 6, 5), data="scaled", kernel_size=3, stride=1, padding=1),
    "avg_pool": lambda case: case("AvgPool2d", (2, 3, 6, 5), data="scaled", kernel_size=3, stride=1, padding=1),
    "flatten": lambda case: case("Flatten", (4, 3, 2), data="scaled"),
    "dropout": lambda case: case("Dropout", (4, 5), data="scaled", p=0.3),
    "channel_dropout": lambda case: case("Dropout2d", (4, 5, 2, 2), data="scaled", p=0.3),
    "frozen_teacher": lambda case: case("FrozenTeacher", (4, 3, 5, 6), data="scaled"),
}


@pytest.mark.parametrize("family", sorted(FAMILIES & {f for mistake in MISTAKES.values() for f in mistake.families}))
def test_a_mistake_changes_its_reference_and_leaves_the_right_one_alone(family, case_of):
    case = SHOWING[family](case_of)
    inputs = make_inputs(case)
    before = Expectation(case, inputs).steps()
    for mistake in MISTAKES.values():
        if family in mistake.families:
            visibility(case, Expectation(case, inputs), inputs, mistake)
    after = Expectation(case, inputs).steps()
    for one, other in zip(before, after, strict=True):
        for name, quantity in one.quantities.items():
            np.testing.assert_array_equal(quantity.value, other.quantities[name].value)


def test_without_changes_the_subclass_computes_what_its_reference_computes(case_of):
    case = SHOWING["batch_norm"](case_of)
    inputs = make_inputs(case)
    reference = reference_class(case.op)
    same = type("same", (reference,), {})(case.args, "float32", "float32", precision("float32"))
    steps = [(step.x, step.grad_output) for step in inputs.steps]
    for one, other in zip(
        Expectation(case, inputs).steps(), run(same, steps, inputs.params, inputs.buffers, case.steps), strict=True
    ):
        for name, quantity in one.quantities.items():
            np.testing.assert_array_equal(quantity.value, other.quantities[name].value)


def test_sums_in_a_storage_format_stagnate():
    ones = np.ones((1, 1000))
    assert accumulated(ones, "bfloat16")[0, 0] == 256
    assert accumulated(ones, "float16")[0, 0] == 1000


def test_truncation_keeps_as_many_bits_as_it_says():
    x = np.array([1 + 2.0**-11, 1 + 2.0**-10])
    np.testing.assert_array_equal(truncated(x, 11), [1, 1 + 2.0**-10])
