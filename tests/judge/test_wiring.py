"""Tensors between modules: sums, concatenations and everything else, forward and backward."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from conformance.captured import Captured
from conformance.inputs import bits
from conformance.judge.wiring import Wiring
from conformance.ops import Node
from conformance.ops.entry import INPUT
from references.rounding import precision

A, B, C = (Node(name=name, op="ReLU", inputs=(source,)) for name, source in (("a", INPUT), ("b", "a"), ("c", "b")))
SUM = (A, B, Node(name="+", op="add", inputs=("b", INPUT)), Node(name="c", op="ReLU", inputs=("+",)))
SIDE = (A, Node(name="cat", op="concat", inputs=(INPUT, "a")), Node(name="c", op="ReLU", inputs=("cat",)))


def tensor(name, dtype=np.float32, shape=(2, 3)):
    return bits.normal(f"wiring/{name}", shape).astype(dtype)


def call(name, x, output, grad_output, grad_input):
    return Captured(
        name=name, kind="ReLU", x=x, grad_output=grad_output, arrays={"output": output, "grad_input": grad_input}
    )


def figures(nodes, calls, x, grad_output, output, grad_input, dtype="float32"):
    wiring = Wiring(nodes, calls, x, grad_output, precision(dtype), 0)
    return list(wiring.figures({"output": output, "grad_input": grad_input}, wants_grad_input=True))


def wrong(*given, **fields):
    return {figure.quantity: figure.got for figure in figures(*given, **fields) if not figure.ok}


x, y, z, w, g, h, k, m = map(tensor, "xyzwghkm")
CHAIN = {"a": call("a", x, y, h, k), "b": call("b", y, z, g, h)}


def test_a_chain_that_is_right_says_nothing():
    assert figures((A, B), CHAIN, x, g, z, k) == []


def test_a_tensor_that_changed_on_its_way_is_told_at_the_module_that_got_it():
    changed = y.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    calls = CHAIN | {"b": call("b", changed, z, g, h)}
    assert wrong((A, B), calls, x, g, z, k) == {"b (ReLU) input": "another tensor"}


def test_a_tensor_from_elsewhere_is_recognised():
    calls = CHAIN | {"b": call("b", x.copy(), z, g, h)}
    assert wrong((A, B), calls, x, g, z, k) == {"b (ReLU) input": "the input of a (ReLU)"}


def test_a_gradient_that_is_not_that_of_the_next_module_is_told():
    calls = CHAIN | {"a": call("a", x, y, g.copy(), k)}
    assert wrong((A, B), calls, x, g, z, k) == {"a (ReLU) upstream gradient": "the upstream gradient of b (ReLU)"}


def test_a_gradient_that_never_came_is_told():
    calls = CHAIN | {"a": call("a", x, y, None, k)}
    assert wrong((A, B), calls, x, g, z, k) == {"a (ReLU) upstream gradient": "nothing"}


def test_what_the_network_returns_is_that_of_its_last_and_first_modules():
    assert wrong((A, B), CHAIN, x, g, y.copy(), h.copy()) == {
        "whole (network) output": "the output of a (ReLU)",
        "whole (network) grad_input": "the input gradient of b (ReLU)",
    }


def test_another_shape_is_told_in_words():
    calls = CHAIN | {"b": call("b", y[:1], z, g, h)}
    assert wrong((A, B), calls, x, g, z, k) == {"b (ReLU) input": "float32 of shape [1, 3]"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_residual_sum_is_compared_as_a_sum_forward_and_backward(dtype):
    kind = np.float32 if dtype == "float32" else ml_dtypes.bfloat16
    x, y, z, w, g, h, k, m = (tensor(name, kind) for name in "xyzwghkm")
    calls = {"a": call("a", x, y, h, k), "b": call("b", y, z, m, h), "c": call("c", z + x, w, g, m)}
    right = figures(SUM, calls, x, g, w, k + m, dtype=dtype)
    assert {figure.quantity for figure in right} == {"c (ReLU) input", "whole (network) grad_input"}
    assert all(figure.ok for figure in right)
    assert 0 < max(figure.budget for figure in right) <= 1
    off = {"c": call("c", (z + x) * kind(1.02), w, g, m)}
    assert list(wrong(SUM, calls | off, x, g, w, k + m, dtype=dtype)) == ["c (ReLU) input"]
    assert list(wrong(SUM, calls, x, g, w, k, dtype=dtype)) == ["whole (network) grad_input"]


def test_what_stands_side_by_side_is_compared_bit_for_bit_and_in_its_order():
    both, gradient = np.concatenate([x, y], 1), np.concatenate([m, h], 1)
    calls = {"a": call("a", x, y, h, k), "c": call("c", both, w, g, gradient)}
    assert all(figure.ok for figure in figures(SIDE, calls, x, g, w, k + m))
    calls["c"] = call("c", np.concatenate([y, x], 1), w, g, gradient)
    assert list(wrong(SIDE, calls, x, g, w, k + m)) == ["c (ReLU) input"]
    calls["c"] = call("c", both, w, g, np.concatenate([h, m], 1))
    assert "a (ReLU) upstream gradient" in wrong(SIDE, calls, x, g, w, k + m)
