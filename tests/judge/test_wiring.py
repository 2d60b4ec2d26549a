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


#: c and b both take what a gives, and what they make of it is added up, with a beside it
THREE = (
    A,
    B,
    Node(name="c", op="ReLU", inputs=("a",)),
    Node(name="+", op="add", inputs=("b", "c")),
    Node(name="++", op="add", inputs=("+", "a")),
)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sum_of_three_is_rounded_once_on_the_way_and_once_in_the_end(dtype):
    kind, u = (np.float32, 2.0**-24) if dtype == "float32" else (ml_dtypes.bfloat16, 2.0**-8)
    x, y, z, w, g, h, k, m = (tensor(name, kind) for name in "xyzwghkm")
    calls = {"a": call("a", x, y, g + h + k, m), "b": call("b", y, z, g, h), "c": call("c", y, w, g, k)}
    found = figures(THREE, calls, x, g, (z + w) + y, m, dtype=dtype)
    assert [figure.quantity for figure in found] == ["whole (network) output", "a (ReLU) upstream gradient"]
    assert all(figure.ok for figure in found)
    for figure, terms in zip(found, ((z, w, y), (g, h, k)), strict=True):
        wide = [term.astype(np.float64)[figure.index] for term in terms]
        allowed = (u + precision(dtype).U) * sum(map(abs, wide)) + u * abs(sum(wide))
        assert figure.allowed == pytest.approx(allowed, rel=1e-6)
    off = ((z + w) + y) * kind(1.02)
    assert list(wrong(THREE, calls, x, g, off, m, dtype=dtype)) == ["whole (network) output"]


@pytest.mark.parametrize("fields", [{"shape": (2, 4)}, {"dtype": np.float64}])
def test_a_sum_of_another_shape_or_dtype_is_told_in_words(fields):
    other = tensor("other", **fields)
    calls = {"a": call("a", x, y, h, k), "b": call("b", y, z, m, h), "c": call("c", other, w, g, m)}
    said = f"{other.dtype.name} of shape {list(other.shape)}"
    assert wrong(SUM, calls, x, g, w, k + m) == {"c (ReLU) input": said}


@pytest.mark.parametrize("left", [1.0, np.nan])
def test_a_nan_arrives_where_a_nan_left_and_nowhere_else(left):
    sent, arrived = y.copy(), y.copy()
    sent[1, 1], arrived[1, 1] = left, np.nan
    calls = {"a": call("a", x, sent, h, k), "b": call("b", arrived, z, g, h)}
    told = {} if np.isnan(left) else {"b (ReLU) input": "another tensor"}
    assert wrong((A, B), calls, x, g, z, k) == told


def test_without_a_gradient_of_the_input_none_is_asked_for():
    wiring = Wiring((A, B), CHAIN, x, g, precision("float32"), 0)
    assert list(wiring.figures({"output": z}, wants_grad_input=False)) == []
    assert [f.quantity for f in wiring.figures({"output": z}, wants_grad_input=True)] == ["whole (network) grad_input"]


def test_what_a_backend_does_not_show_leaves_what_hangs_on_it_unconfirmed_and_the_rest_judged():
    both, gradient = np.concatenate([x, y], 1), np.concatenate([m, h], 1)
    calls = {"c": call("c", both, w, g, gradient)}
    assert list(wrong(SIDE, calls, x, g, w, k + m)) == ["c (ReLU) input", "whole (network) grad_input"]
    silent = Captured(name="a", kind="ReLU", x=x, grad_output=h)
    assert list(wrong(SIDE, calls | {"a": silent}, x, g, w, k + m)) == [
        "c (ReLU) input", "a (ReLU) upstream gradient", "whole (network) grad_input"
    ]  # fmt: skip
    mute = Captured(name="c", kind="ReLU", x=both, grad_output=g, arrays={"output": w})
    whole = {"a": call("a", x, y, h, k), "c": mute}
    assert list(wrong(SIDE, whole, x, g, w, k + m)) == ["a (ReLU) upstream gradient", "whole (network) grad_input"]
