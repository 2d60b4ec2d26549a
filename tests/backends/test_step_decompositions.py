"""Backward operators by others: the same numbers as torch's own, for every shape that is taken."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from conformance.backends.step_decompositions import avg_pool2d_backward, convolution_backward, mul_scalar

YES, NO = True, False  # ATen takes arguments by place


def gradients(function, x, grad_output, *parameters):
    given = [tensor.detach().clone().requires_grad_() for tensor in (x, *parameters)]
    return torch.autograd.grad(function(*given), given, grad_output)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_gradients_of_a_convolution_are_those_of_torch(stride, padding, dilation, groups):
    x, weight, bias = drawn(2, 4, 8, 7), drawn(6, 4 // groups, 3, 2), drawn(6)

    def convolution(x, weight, bias):
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)

    grad_output = drawn(*convolution(x, weight, bias).shape)
    found = convolution_backward(grad_output, x, weight, [6], stride, padding, dilation, NO, [0, 0], groups, [True] * 3)
    for ours, theirs in zip(found, gradients(convolution, x, grad_output, weight, bias), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "divisor"),
    [([2, 2], [2, 2], [0, 0], None), ([3], [], [1], None), ([3, 2], [1, 2], [0, 1], None), ([2], [3], [0], 5)],
)
@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (3, 7, 6)])
def test_the_gradient_of_an_average_pool_is_that_of_torch(kernel, stride, padding, divisor, shape):
    x = drawn(*shape)

    def pool(x):
        return functional.avg_pool2d(x, kernel, stride or None, padding, NO, YES, divisor)

    grad_output = drawn(*pool(x).shape)
    found = avg_pool2d_backward(grad_output, x, kernel, stride, padding, NO, YES, divisor)
    torch.testing.assert_close(found, *gradients(pool, x, grad_output), rtol=1e-12, atol=1e-12)


def test_what_is_not_taken_is_left_to_the_exporter():
    x, weight = drawn(2, 4, 8, 7), drawn(4, 4, 3, 3)
    assert (
        convolution_backward(x, x, weight, None, [1, 1], [1, 1], [1, 1], YES, [0, 0], 1, [True] * 3) is NotImplemented
    )
    assert mul_scalar(x, 0.5) is NotImplemented
    assert avg_pool2d_backward(x, x, [3], [1], [1], NO, NO, None) is NotImplemented
    assert avg_pool2d_backward(x, x, [3], [2], [0], YES, YES, None) is NotImplemented
