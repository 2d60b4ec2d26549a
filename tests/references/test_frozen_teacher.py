"""A batch normalisation that trains beside one that must not: the output is their difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conformance.inputs import make_inputs
from conformance.reference import build_reference
from references.expected import Quantity, run
from references.rounding import FORMATS, precision

SHAPE = (3, 2, 2, 2)


def step_of(case, x=None):
    inputs, reference = make_inputs(case), build_reference(case)
    given = inputs.steps[0]
    state = reference.initial(inputs.buffers)
    x = given.x if x is None else x.astype(given.x.dtype)
    return reference.step(x, given.grad_output, inputs.params, state, case.steps[0]), inputs


@pytest.mark.parametrize("affine", [True, False])
def test_values_gradients_and_buffers_are_those_of_torch_in_float64(case_of, affine):
    case = case_of("FrozenTeacher", SHAPE, "float64", steps=("train", "eval", "train"), affine=affine)
    inputs = make_inputs(case)
    batches = [(given.x, given.grad_output) for given in inputs.steps]
    found = run(build_reference(case), batches, inputs.params, inputs.buffers, case.steps)
    both = torch.nn.ModuleDict({part: torch.nn.BatchNorm2d(2, affine=affine) for part in ("student", "teacher")})
    both.double().load_state_dict({k: torch.from_numpy(v) for k, v in {**inputs.params, **inputs.buffers}.items()})
    for (given_x, grad_output), mode, step in zip(batches, case.steps, found, strict=True):
        both["student"].train(mode == "train").zero_grad()
        both["teacher"].eval()
        x = torch.from_numpy(given_x).requires_grad_()
        with torch.no_grad():
            taught = both["teacher"](x)
        output = both["student"](x) - taught
        output.backward(torch.from_numpy(grad_output))
        theirs = {"output": output, "grad_input": x.grad}
        theirs |= {f"grad.{name}": p.grad for name, p in both.named_parameters() if name.startswith("student")}
        theirs |= {f"buffer.{name}": buffer for name, buffer in both.named_buffers()}
        assert step.quantities.keys() == theirs.keys()
        for name, tensor in theirs.items():
            np.testing.assert_allclose(
                np.asarray(step.quantities[name].value, float), tensor.detach().numpy(), rtol=1e-11, atol=1e-12
            )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_difference_errs_by_both_by_their_rounding_on_store_and_by_its_own(case_of, dtype):
    reference, stored = build_reference(case_of("FrozenTeacher", SHAPE, dtype)), FORMATS[dtype]
    student = Quantity(np.array([1.0, -3.0, 2.0]), np.array([1e-3, 2e-3, 0.0]), dtype)
    teacher = Quantity(np.array([4.0, -3.5, -2.0]), np.array([5e-3, 0.0, 0.0]), dtype)
    found = reference.difference(student, teacher)
    np.testing.assert_array_equal(found.value, [-3.0, 0.5, 4.0])
    on_store = stored.u * np.array([5.0, 6.5, 4.0]) + 2 * stored.eta
    own = precision(dtype).U * np.array([3.0, 0.5, 4.0])
    np.testing.assert_allclose(found.scale, np.array([6e-3, 2e-3, 0.0]) + on_store + own, rtol=1e-12)
    assert (found.undetermined, found.stored) == (None, dtype)


def test_the_difference_is_undetermined_where_either_is(case_of):
    reference = build_reference(case_of("FrozenTeacher", SHAPE, "float32"))

    def part(*mask):
        return Quantity(np.zeros(2), np.zeros(2), "float32", np.array(mask, bool) if mask else None)

    for student, teacher, unknown in (
        (part(1, 0), part(), [True, False]),
        (part(), part(0, 1), [False, True]),
        (part(1, 0), part(0, 1), [True, True]),
    ):
        np.testing.assert_array_equal(reference.difference(student, teacher).undetermined, unknown)


def test_as_many_slices_are_undetermined_as_of_the_worse_of_the_two(case_of):
    """A constant channel with a tiny eps leaves the student's batch statistics undetermined, and not the teacher's."""
    case = case_of("FrozenTeacher", SHAPE, "float32", eps=1e-18)
    x = make_inputs(case).steps[0].x.copy()
    x[:, 0] = 3.0
    assert step_of(case, x)[0].undetermined_slices == 0.5
    assert (
        step_of(case_of("FrozenTeacher", SHAPE, "float32", eps=1e-18, steps=("eval",)), x)[0].undetermined_slices == 0
    )
