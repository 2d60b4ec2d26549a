"""Values and gradients of the layers: by their definitions, written as loops, and by torch in float64.

Arguments are drawn, so that stride, padding, dilation, groups and modes meet in every combination.
"""

from __future__ import annotations

import warnings
from random import Random

import numpy as np
import pytest
import torch
from layer_draws import drawn

from conformance.inputs import make_inputs
from conformance.ops import OPS
from conformance.reference import build_reference

DRAWS = 60


def by_torch(case, inputs):
    """Output and gradients of torch, which is given exactly the numbers of the inputs, in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of copies that even kernels need
        layer = getattr(torch.nn, case.op)(**case.args).double()
        layer.load_state_dict({name: torch.from_numpy(p.astype(np.float64)) for name, p in inputs.params.items()})
        x = torch.from_numpy(inputs.steps[0].x.astype(np.float64)).requires_grad_()
        output = layer(x)
        output.backward(torch.from_numpy(inputs.steps[0].grad_output.astype(np.float64)))
    found = {"output": output.detach(), "grad_input": x.grad}
    found |= {f"grad.{name}": p.grad for name, p in layer.named_parameters()}
    return {name: tensor.numpy() for name, tensor in found.items()}


@pytest.mark.parametrize("op", ["Linear", "Conv2d", "MaxPool2d", "AvgPool2d", "ReLU", "Sigmoid", "Tanh"])
def test_values_and_gradients_are_those_of_torch_in_float64(op, case_of):
    """The float32 reference computes in float64 too, from the same numbers, so they differ by its roundings alone."""
    random, kinds = Random(f"values of {op}"), set()
    for draw in range(DRAWS):
        args, shape = drawn(op, random)
        data = random.choice(("scaled", "whole", "f10-heavy-tail"))
        case = case_of(op, shape, "float32", data=data, key=f"{op}/{draw}", **args)
        inputs = make_inputs(case)
        step = inputs.steps[0]
        expected = build_reference(case).step(step.x, step.grad_output, inputs.params, {}, "train").quantities
        found = by_torch(case, inputs)
        assert set(found) == set(expected)
        for name, quantity in expected.items():
            scale = np.abs(found[name]).max(initial=1)
            np.testing.assert_allclose(quantity.value, found[name], rtol=1e-12, atol=1e-13 * scale, err_msg=f"{args}")
        kinds.add(f"{shape} {args}")
    assert len(kinds) > DRAWS / 2


def test_a_convolution_is_the_sum_that_its_definition_writes(case_of):
    case = case_of(
        "Conv2d", (2, 4, 5, 6), "float32", out_channels=6, kernel_size=[3, 2], stride=[2, 1], padding=[1, 0],
        dilation=[1, 2], groups=2, data="scaled",
    )  # fmt: skip
    inputs = make_inputs(case)
    x, w, b = inputs.steps[0].x, inputs.params["weight"], inputs.params["bias"]
    (n, _, height, width), (outputs, per_group, rows, columns) = x.shape, w.shape
    expected = np.zeros((n, outputs, 3, 4))
    for image, o, i, j in np.ndindex(expected.shape):
        total = float(b[o])
        for c, k, m in np.ndindex(per_group, rows, columns):
            row, column = 2 * i + k - 1, j + 2 * m
            if 0 <= row < height and 0 <= column < width:
                total += float(w[o, c, k, m]) * float(x[image, o // 3 * per_group + c, row, column])
        expected[image, o, i, j] = total
    step = inputs.steps[0]
    found = build_reference(case).step(step.x, step.grad_output, inputs.params, {}, "train").quantities["output"].value
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def step_of(case, x, grad_output=None, mode="train"):
    given = np.ones(OPS[case.op].output_shape(case.args, case.shape), x.dtype) if grad_output is None else grad_output
    return build_reference(case).step(x, given, {}, {}, mode).quantities


def test_of_equal_elements_the_first_gets_the_gradient_and_of_nans_the_last(case_of):
    case = case_of("MaxPool2d", (1, 1, 2, 2), "float32", kernel_size=2)
    for window, chosen in (
        ([1, 1, 1, 1], 0), ([0, 2, 2, 1], 1), ([-np.inf] * 4, 0), ([np.nan, 1, np.nan, 5], 2),
        ([3, np.inf, np.nan, 0], 2),
    ):  # fmt: skip
        x = np.array(window, np.float32).reshape(1, 1, 2, 2)
        gradient = step_of(case, x)["grad_input"].value.reshape(-1)
        layer, given = torch.nn.MaxPool2d(2), torch.from_numpy(x).requires_grad_()
        layer(given).sum().backward()
        assert gradient.tolist() == [float(place == chosen) for place in range(4)], window
        assert given.grad.reshape(-1).tolist() == gradient.tolist(), "torch agrees"


def test_padding_is_never_the_largest_even_of_negative_numbers(case_of):
    case = case_of("MaxPool2d", (1, 1, 2, 2), "float32", kernel_size=2, stride=1, padding=1)
    assert (step_of(case, np.full((1, 1, 2, 2), -3, np.float32))["output"].value == -3).all()


def test_an_overhanging_window_counts_padding_but_not_what_lies_beyond(case_of):
    """Length 4, windows of 3 by 2, one element of padding: the last has one pixel and one element of padding."""
    case = case_of("AvgPool2d", (1, 1, 4, 4), "float32", kernel_size=3, stride=2, padding=1, ceil_mode=True)
    y = step_of(case, np.ones((1, 1, 4, 4), np.float32))["output"].value[0, 0]
    np.testing.assert_allclose(y[1], [6 / 9, 1, 3 / 6], rtol=1e-12)


@pytest.mark.parametrize(
    ("op", "x", "y", "slope"),
    [
        ("ReLU", [0.0, -0.0, np.nan, np.inf, -np.inf, 2.0], [0, 0, np.nan, np.inf, 0, 2], [0, 0, 1, 1, 0, 1]),
        ("Sigmoid", [0.0, np.nan, np.inf, -np.inf], [0.5, np.nan, 1, 0], [0.25, np.nan, 0, 0]),
        ("Tanh", [0.0, np.nan, np.inf, -np.inf], [0, np.nan, 1, -1], [1, np.nan, 0, 0]),
    ],
)
def test_what_activations_say_at_zero_nan_and_infinity_is_what_torch_says(op, x, y, slope, case_of):
    given = np.array(x, np.float32)
    found = step_of(case_of(op, given.shape, "float32"), given)
    np.testing.assert_array_equal(found["output"].value, y)
    np.testing.assert_array_equal(found["grad_input"].value, slope)
    tensor = torch.tensor(given, requires_grad=True)
    output = getattr(torch.nn, op)()(tensor)
    output.sum().backward()
    np.testing.assert_array_equal(output.detach().numpy(), np.array(y, np.float32))
    np.testing.assert_array_equal(tensor.grad.numpy(), np.array(slope, np.float32))


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, -1), (1, 2), (-2, 3), (2, 2)])
def test_flattening_moves_no_number(start, end, case_of):
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    case = case_of("Flatten", x.shape, "float32", start_dim=start, end_dim=end)
    expected = torch.nn.Flatten(start, end)(torch.from_numpy(x)).numpy()
    found = step_of(case, x, expected + 1)
    np.testing.assert_array_equal(found["output"].value, expected)
    np.testing.assert_array_equal(found["grad_input"].value, x + 1)
    assert not found["output"].scale.any()
