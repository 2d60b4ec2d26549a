"""What happens between modules, seen from the tensors alone."""

from __future__ import annotations

import numpy as np

from conformance.captured import Captured
from conformance.inputs import bits
from conformance.judge.between import between


def tensor(name, shape=(3, 4)):
    return bits.normal(f"between/{name}", shape).astype(np.float32)


def call(name, x, output, grad_output=None, grad_input=None):
    arrays = {"output": output} | ({} if grad_input is None else {"grad_input": grad_input})
    return Captured(name=name, kind="M", x=x, grad_output=grad_output, arrays=arrays)


def sentences(*calls):
    return [seam.sentence for seam in between(calls)]


x, y, z, w = map(tensor, "xyzw")


def test_a_chain_of_modules_says_nothing():
    assert sentences(call("a", x, y, z, w), call("b", y, z, x, z)) == []


def test_two_branches_from_one_input_say_nothing():
    assert sentences(call("a", x, y), call("b", x, z)) == []


def test_a_changed_tensor_is_told_with_its_neighbours():
    assert sentences(call("a", x, y), call("b", y * 2, z)) == [
        "between a (M) and b (M) something that is not a module changed the tensor"
    ]


def test_a_change_of_one_bit_is_told():
    changed = y.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    assert len(sentences(call("a", x, y), call("b", changed, z))) == 1


def test_a_residual_sum_is_recognised():
    assert sentences(call("a", x, y), call("b", y, z), call("c", y + z, w)) == [
        "between b (M) and c (M) something that is not a module added the output of a (M) and the output of b (M)"
    ]


def test_a_reshape_is_recognised():
    assert sentences(call("a", x, y), call("b", y.reshape(4, 3), z)) == [
        "between a (M) and b (M) something that is not a module reshaped the output of a (M) from [3, 4] to [4, 3]"
    ]


def test_a_transposition_is_no_reshape():
    assert sentences(call("a", x, y), call("b", y.T, z)) == [
        "between a (M) and b (M) something that is not a module changed the tensor"
    ]


def test_a_gradient_that_changed_on_its_way_back_is_told():
    assert sentences(call("a", x, y, 2 * w, x), call("b", y, z, x, w)) == [
        "on the way back to a (M) something that is not a module changed the tensor"
    ]


def test_the_gradients_of_two_uses_are_recognised_as_a_sum():
    assert sentences(call("a", x, y, z + w, x), call("b", y, z, x, w), call("c", y, w, x, z)) == [
        (
            "on the way back to a (M) something that is not a module added "
            "the input gradient of c (M) and the input gradient of b (M)"
        )
    ]


def test_a_gradient_from_outside_of_all_modules_says_nothing():
    assert sentences(call("a", x, y, 2 * w, x), call("b", z, z, x, w))[1:] == []


def test_modules_that_were_not_captured_are_passed_over():
    silent = Captured(name="s", kind="M", unjudged="it was never called")
    assert sentences(call("a", x, y), silent, call("b", y, z)) == []
