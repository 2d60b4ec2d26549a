"""References under a procedure: what resets, updates and frozen parameters do to the state."""

from __future__ import annotations

import copy

import msgspec
import numpy as np
import pytest

from conformance.inputs import make_inputs
from conformance.reference import build_reference
from conformance.suite.case import Optimizer
from references.expected import run
from references.procedure import Procedure

SHAPE = (5, 3, 4, 2)


def steps_of(case):
    inputs = make_inputs(case)
    batches = [(step.x, step.grad_output) for step in inputs.steps]
    return run(build_reference(case), batches, inputs.params, inputs.buffers, case.steps), inputs


def test_a_case_without_a_procedure_has_the_reference_of_its_layer(case_of):
    assert not isinstance(build_reference(case_of("BatchNorm2d", SHAPE)), Procedure)


def test_after_a_reset_a_step_is_that_of_a_new_layer(case_of):
    case = case_of("BatchNorm2d", SHAPE, steps=("train", "train", "eval"), resets=(1,), momentum=None)
    (_, second, third), inputs = steps_of(case)
    new = build_reference(msgspec.structs.replace(case, resets=()))
    fresh = {name: np.full_like(array, 1 if name == "running_var" else 0) for name, array in inputs.buffers.items()}
    (expected,) = run(new, [(inputs.steps[1].x, inputs.steps[1].grad_output)], inputs.params, fresh, ("train",))
    for name, quantity in expected.quantities.items():
        np.testing.assert_array_equal(second.quantities[name].value, quantity.value)
    assert third.quantities["buffer.num_batches_tracked"].value == 1


def test_a_reset_before_eval_normalises_with_mean_0_and_variance_1(case_of):
    case = case_of("BatchNorm2d", SHAPE, steps=("train", "eval"), resets=(1,), eps=0.25, dtype="float64")
    (_, second), inputs = steps_of(case)
    w, b = (inputs.params[name].reshape(1, 3, 1, 1) for name in ("weight", "bias"))
    by_hand = w * inputs.steps[1].x / np.sqrt(1.25) + b
    np.testing.assert_allclose(second.quantities["output"].value.astype(float), by_hand, rtol=1e-14)


def test_parameters_move_at_train_steps_alone(case_of):
    case = case_of("LayerNorm", (6, 5), steps=("train", "eval", "train"), optimizer=Optimizer(lr=0.1, momentum=0.9))
    steps, inputs = steps_of(case)
    weights = [inputs.params["weight"], *(step.quantities["param.weight"].value for step in steps)]
    assert (weights[0] != weights[1]).any()
    np.testing.assert_array_equal(weights[2], weights[1].astype(np.float32))
    assert (weights[3] != weights[2]).any()
    momenta = [step.quantities["momentum.weight"].value for step in steps]
    np.testing.assert_array_equal(momenta[1], momenta[0].astype(np.float32))


def test_the_next_step_normalises_with_the_parameters_of_the_last_update(case_of):
    case = case_of("LayerNorm", (6, 5), dtype="float64", steps=("train", "eval"), optimizer=Optimizer(lr=0.1))
    (first, second), inputs = steps_of(case)
    x = inputs.steps[1].x
    xh = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    by_hand = first.quantities["param.weight"].value * xh + first.quantities["param.bias"].value
    np.testing.assert_allclose(second.quantities["output"].value.astype(float), by_hand.astype(float), rtol=1e-13)


def test_there_is_no_momentum_before_the_first_update_and_none_without_momentum(case_of):
    with_it = case_of("LayerNorm", (6, 5), steps=("eval", "train"), optimizer=Optimizer(lr=0.1, momentum=0.5))
    before, after = steps_of(with_it)[0]
    assert "momentum.weight" not in before.quantities
    assert "momentum.weight" in after.quantities
    without = case_of("LayerNorm", (6, 5), steps=("train",), optimizer=Optimizer(lr=0.1))
    assert not any(name.startswith("momentum.") for name in steps_of(without)[0][0].quantities)


def test_forcing_puts_what_a_backend_had_in_the_place_of_what_was_expected(case_of):
    case = case_of("LayerNorm", (6, 5), steps=("train", "eval"), optimizer=Optimizer(lr=0.1, momentum=0.5))
    inputs, reference = make_inputs(case), build_reference(case)
    first = reference.step(
        inputs.steps[0].x, inputs.steps[0].grad_output, inputs.params, reference.initial({}), "train"
    )
    seen = np.arange(5, dtype=np.float32)
    wrong_shape = np.zeros(4, np.float32)
    state = reference.forced(
        first.state, {"param.weight": seen, "param.bias": wrong_shape, "output": inputs.steps[0].x}
    )
    np.testing.assert_array_equal(state["param.weight"].value, seen)
    assert not state["param.weight"].scale.any()
    np.testing.assert_array_equal(state["param.bias"].value, first.state["param.bias"].value)
    assert "output" not in state


def test_the_teacher_keeps_its_buffers_and_parameters_and_has_no_gradient(case_of):
    optimizer = Optimizer(lr=0.1, weight_decay=0.5)
    case = case_of("FrozenTeacher", SHAPE, steps=("train", "train"), optimizer=optimizer)
    steps, inputs = steps_of(case)
    for step in steps:
        for name in ("weight", "bias"):
            np.testing.assert_array_equal(
                step.quantities[f"param.teacher.{name}"].value, inputs.params[f"teacher.{name}"]
            )
            assert f"grad.teacher.{name}" not in step.quantities
            assert (step.quantities[f"param.student.{name}"].value != inputs.params[f"student.{name}"]).any()
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            np.testing.assert_array_equal(
                step.quantities[f"buffer.teacher.{name}"].value, inputs.buffers[f"teacher.{name}"]
            )


def test_a_procedure_can_be_copied(case_of):
    reference = build_reference(case_of("BatchNorm2d", SHAPE, steps=("train", "eval"), resets=(1,)))
    assert isinstance(copy.deepcopy(reference), Procedure)
    with pytest.raises(AttributeError):
        reference.nothing_of_that_name  # noqa: B018 - asking is what is tested
