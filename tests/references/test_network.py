"""The composed reference: against torch in float64, over several steps, for every network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conformance.backends.modules import build as build_module
from conformance.backends.modules import load_state
from conformance.composition import build_network
from conformance.inputs import make_inputs
from references.expected import run
from references.network import Network, Stage
from references.rounding import precision

NETWORKS = [
    ("MLP", (5, 6), {"norm_layer": "BatchNorm1d", "activation_layer": "Tanh"}),
    ("MLP", (5, 6), {"norm_layer": "RMSNorm", "activation_layer": "ReLU"}),
    ("LeNet", (4, 1, 16, 16), {}),
    ("BasicBlock", (3, 4, 5, 6), {}),
    ("BasicBlock", (3, 3, 7, 6), {"projection": True, "stride": 2}),
    ("Bottleneck", (3, 8, 5, 5), {"channels": 2}),
    ("DenseBlock", (3, 4, 5, 6), {}),
    ("DenseBlock", (3, 4, 5, 6), {"transition": False, "num_layers": 3}),
]


def in_torch(case, inputs):
    """All quantities of all steps by torch's own autograd, without anything of ours between the layers."""
    module = build_module(case)
    load_state(module, case, inputs)
    for mode, given in zip(case.steps, inputs.steps, strict=True):
        module.train(mode == "train").zero_grad()
        x = torch.from_numpy(given.x).requires_grad_()
        output = module(x)
        output.backward(torch.from_numpy(given.grad_output))
        found = {"output": output, "grad_input": x.grad}
        found |= {f"grad.{name}": parameter.grad for name, parameter in module.named_parameters()}
        found |= {f"buffer.{name}": buffer for name, buffer in module.named_buffers()}
        yield {name: tensor.detach().clone().numpy() for name, tensor in found.items()}


@pytest.mark.parametrize(("op", "shape", "args"), NETWORKS, ids=str)
def test_values_gradients_and_buffers_are_those_of_torch_in_float64(op, shape, args, case_of):
    case = case_of(op, shape, "float64", steps=("train", "eval", "train"), **args)
    inputs = make_inputs(case)
    steps = [(given.x, given.grad_output) for given in inputs.steps]
    expected = run(build_network(case), steps, inputs.params, inputs.buffers, case.steps)
    for ours, theirs in zip(expected, in_torch(case, inputs), strict=True):
        assert set(ours.quantities) == set(theirs)
        for name, quantity in ours.quantities.items():
            size = max(1.0, float(np.abs(theirs[name]).max()))
            assert np.abs(quantity.value - theirs[name]).max() < 1e-11 * size, name


class Twice:
    """A layer that doubles; its reference for the tests of wiring."""

    def initial(self, buffers):
        return {}

    def step(self, x, grad_output, params, state, mode):
        from references.expected import Expected, Quantity

        def exact(value):
            return Quantity(value, np.zeros_like(value), "float64")

        return Expected({"output": exact(2 * x), "grad_input": exact(2 * grad_output)}, {})


def wired(*stages):
    return Network(stages, "float64", precision("float64"))


def stepped(network, x, grad_output):
    return network.step(np.array(x, float), np.array(grad_output, float), {}, {}, "eval").quantities


def test_the_gradient_of_a_value_is_the_sum_over_its_uses():
    network = wired(Stage("a", "a", ("",), Twice()), Stage("+", "+", ("a", ""), join="add"))
    found = stepped(network, [[1.0, 2.0]], [[1.0, 10.0]])
    assert found["output"].value.tolist() == [[3, 6]]
    assert found["grad_input"].value.tolist() == [[3, 30]]


def test_a_concatenation_gives_each_part_its_own_gradient():
    network = wired(Stage("a", "a", ("",), Twice()), Stage("c", "c", ("", "a"), join="concat"))
    found = stepped(network, [[1.0, 2.0]], [[1.0, 2.0, 10.0, 20.0]])
    assert found["output"].value.tolist() == [[1, 2, 2, 4]]
    assert found["grad_input"].value.tolist() == [[21, 42]]


def test_every_result_of_every_operation_can_be_disturbed():
    seen = []

    def disturb(key, name, quantity, reference):
        seen.append((key, name))
        return quantity

    network = wired(Stage("a", "a", ("",), Twice()), Stage("+", "+", ("a", ""), join="add"))
    network.evaluate(np.ones((1, 2)), np.ones((1, 2)), {}, {}, "eval", disturb)
    assert seen == [("a", "output"), ("+", "output"), ("a", "grad_input"), ("", "grad_output")]


def test_a_sum_may_err_by_its_roundings_and_a_concatenation_not_at_all():
    """The gradient of the input comes back from three uses, which takes two additions."""
    seen = {}

    def disturb(key, name, quantity, reference):
        seen[key, name] = quantity
        return quantity

    network = wired(
        Stage("+", "+", ("", ""), join="add"),
        Stage("c", "c", ("+", ""), join="concat"),
    )
    x, grad_output = np.array([[1.0, -2.0]]), np.array([[1.0, -10.0, 100.0, 3.0]])
    found = network.evaluate(x, grad_output, {}, {}, "eval", disturb)
    U = precision("float64").U
    np.testing.assert_array_equal(seen["+", "output"].scale, U * np.array([[2.0, 4.0]]))
    np.testing.assert_array_equal(seen["c", "output"].scale, np.zeros((1, 4)))
    total = found.quantities["grad_input"]
    np.testing.assert_array_equal(total.value, [[102.0, -17.0]])
    np.testing.assert_array_equal(total.scale, 2 * U * np.array([[102.0, 17.0]]))
