"""Tracing a whole training step."""

from __future__ import annotations

import pytest
import torch

from conformance.backends.step_graph import trace_step

LAYERS = {
    "batch": (lambda: torch.nn.BatchNorm1d(3, momentum=0.3), (4, 3, 5)),
    "batch, untracked": (lambda: torch.nn.BatchNorm1d(3, track_running_stats=False), (4, 3, 5)),
    "instance": (lambda: torch.nn.InstanceNorm1d(3, affine=True, track_running_stats=True), (4, 3, 5)),
    "group": (lambda: torch.nn.GroupNorm(3, 6), (4, 6, 5)),
    "layer": (lambda: torch.nn.LayerNorm(5, bias=False), (4, 5)),
    "rms": (lambda: torch.nn.RMSNorm(5), (4, 5)),
    "response": (lambda: torch.nn.LocalResponseNorm(2), (4, 6, 5)),
}


def _stepped(module, x, grad_output):
    """One step as anyone would write it, by the names of a StepGraph."""
    x = x.clone().requires_grad_()
    output = module(x)
    output.backward(grad_output)
    found = {"output": output.detach(), "grad_input": x.grad}
    found |= {f"grad.{name}": parameter.grad for name, parameter in module.named_parameters()}
    return found | {f"buffer.{name}": buffer for name, buffer in module.named_buffers()}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_trace_computes_what_the_step_computes(layer, training):
    torch.manual_seed(0)
    make, shape = LAYERS[layer]
    module = make().train(training)
    for tensor in (*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())):
        torch.nn.init.uniform_(tensor, 0.5, 2.0)
    traced = trace_step(module, torch.ones(shape), torch.ones(shape))
    x, grad_output = torch.randn(shape), torch.randn(shape)
    state = [tensor.detach().clone() for tensor in (*module.parameters(), *module.buffers())]
    with torch.no_grad():
        results = traced.module(x, grad_output, *state)
    expected = _stepped(module, x, grad_output)
    assert traced.results == tuple(expected)
    for name, got in zip(traced.results, results, strict=True):
        torch.testing.assert_close(got, expected[name], msg=lambda text, name=name: f"{name}: {text}")


def test_arguments_are_named_in_order():
    traced = trace_step(torch.nn.BatchNorm1d(3), torch.ones(4, 3), torch.ones(4, 3))
    params, buffers = ("param.weight", "param.bias"), ("running_mean", "running_var", "num_batches_tracked")
    assert traced.arguments == ("x", "grad_output", *params, *(f"buffer.{name}" for name in buffers))


def test_tracing_leaves_the_module_as_it_is():
    module = torch.nn.BatchNorm1d(3).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace_step(module, torch.randn(4, 3), torch.ones(4, 3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_no_batch_norm_of_training_is_left_whole():
    traced = trace_step(torch.nn.BatchNorm1d(3).train(), torch.ones(4, 3), torch.ones(4, 3))
    assert not [node for node in traced.module.graph.nodes if "batch_norm" in str(node.target)]


def test_a_step_that_reads_a_number_from_its_state_cannot_be_traced():
    with pytest.raises(RuntimeError, match="get value out of a tracing tensor"):
        trace_step(torch.nn.BatchNorm1d(3, momentum=None).train(), torch.ones(4, 3), torch.ones(4, 3))


OPEN = {
    "linear of three axes": (lambda: torch.nn.Linear(6, 4), (5, 7, 6), (2, 3, 6)),
    "group": (lambda: torch.nn.GroupNorm(3, 6), (4, 6, 5), (2, 6, 9)),
    "convolution": (lambda: torch.nn.Conv2d(3, 2, 3, stride=2, padding=1), (4, 3, 6, 7), (2, 3, 9, 8)),
    "grouped convolution": (lambda: torch.nn.Conv2d(4, 4, (3, 2), stride=3, groups=2), (5, 4, 8, 7), (2, 4, 9, 11)),
    "average pool": (lambda: torch.nn.AvgPool2d(3, 2, 1), (4, 3, 6, 7), (2, 3, 9, 8)),
    "average pool of gaps": (lambda: torch.nn.AvgPool2d(2, 3), (4, 3, 6, 7), (2, 3, 10, 8)),
}


@pytest.mark.parametrize("layer", OPEN)
def test_a_trace_of_open_sizes_computes_the_step_at_others(layer):
    torch.manual_seed(0)
    make, shape, other = OPEN[layer]
    module = make()
    traced = trace_step(module, torch.ones(shape), torch.ones(module(torch.ones(shape)).shape), dynamic=True)
    x = torch.randn(other)
    grad_output = torch.randn(module(x).shape)
    with torch.no_grad():
        results = traced.module(x, grad_output, *(tensor.detach().clone() for tensor in module.parameters()))
    expected = _stepped(module, x, grad_output)
    for name, got in zip(traced.results, results, strict=True):
        torch.testing.assert_close(got, expected[name], msg=lambda text, name=name: f"{name}: {text}")


def test_where_sizes_are_open_no_number_that_follows_from_them_is_multiplied_with():
    traced = trace_step(torch.nn.GroupNorm(3, 6), torch.ones(4, 6, 5), torch.ones(4, 6, 5), dynamic=True)
    products = [node for node in traced.module.graph.nodes if "mul.Scalar" in str(node.target)]
    assert not [node for node in products if isinstance(node.args[1], torch.fx.Node)]
