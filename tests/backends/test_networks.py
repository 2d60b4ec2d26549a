"""The networks as torch modules: the structure of torchvision's, and what a run shows of their insides."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import nn

from conformance.backends import networks
from conformance.backends.capture import Recorder
from conformance.backends.modules import build
from conformance.backends.networks import PlainMLP, mlp, torchvision_mlp
from conformance.backends.torch_module import TorchModule
from conformance.inputs import make_inputs
from conformance.ops import OPS
from conformance.ops.networks import NETWORKS

ARGUMENTS = [
    {},
    {"norm_layer": nn.BatchNorm1d},
    {"norm_layer": nn.LayerNorm, "activation_layer": nn.Tanh},
    {"activation_layer": nn.ReLU, "inplace": True, "dropout": 0.3},
    {"bias": False, "dropout": 0.5},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@pytest.mark.parametrize("hidden", [[4], [8, 4], [8, 8, 8, 2]], ids=str)
def test_our_mlp_has_the_modules_of_torchvisions_in_the_same_order(arguments, hidden):
    theirs = torchvision_mlp()
    if theirs is None:
        pytest.skip("missing: torchvision")
    assert theirs.__module__.startswith("torchvision.")
    ours, reference = PlainMLP(6, hidden, **arguments), theirs(6, hidden, **arguments)
    assert [(name, repr(module)) for name, module in ours.named_children()] == [
        (name, repr(module)) for name, module in reference.named_children()
    ]
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == {
        name: tensor.shape for name, tensor in reference.state_dict().items()
    }


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("op", "channels"), [("BasicBlock", 4), ("Bottleneck", 16)])
def test_our_residual_blocks_compute_what_torchvisions_do_bit_for_bit(op, channels, stride):
    try:
        resnet = import_module("torchvision.models.resnet")
    except ImportError:
        pytest.skip("missing: torchvision")
    projection = stride == 2
    ours = getattr(networks, op)(channels, 4, stride, projection=projection)
    theirs = getattr(resnet, op)(channels, 4, stride, ours.downsample)
    assert [(name, repr(module)) for name, module in ours.named_children()] == [
        (name, repr(module)) for name, module in theirs.named_children()
    ]
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(x), theirs(x))


def test_the_class_of_torchvision_is_taken_where_there_is_one(monkeypatch):
    class Theirs(PlainMLP):
        pass

    monkeypatch.setattr(networks, "torchvision_mlp", lambda: Theirs)
    assert type(mlp(3, [4, 2], norm_layer="LayerNorm")) is Theirs
    monkeypatch.setattr(networks, "torchvision_mlp", lambda: None)
    assert type(mlp(3, [4, 2])) is PlainMLP


@pytest.mark.parametrize("op", [op.name for op in NETWORKS])
def test_the_modules_are_those_that_the_entry_names(op, case_of):
    case = case_of(op)
    module = build(case)
    for node in OPS[op].nodes(case.args):
        if node.op in OPS:
            assert type(module.get_submodule(node.name)).__name__ == node.op
    named = {node.name for node in OPS[op].nodes(case.args)}
    leaves = {name for name, inner in module.named_modules() if name and not list(inner.children())}
    assert leaves == named & leaves
    assert list(dict(module.named_parameters())) == list(OPS[op].parameters(case.args))
    assert list(dict(module.named_buffers())) == list(OPS[op].buffers(case.args))


def test_norms_keep_float32_beside_bfloat16(case_of):
    module = build(case_of("BasicBlock", dtype="bfloat16", param_dtype="float32"))
    dtypes = {name: tensor.dtype for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    assert dtypes["conv1.weight"] == torch.bfloat16
    assert dtypes["bn1.weight"] == dtypes["bn1.running_var"] == torch.float32


@pytest.mark.parametrize("op", [op.name for op in NETWORKS])
def test_a_step_shows_every_call_of_every_layer_and_changes_nothing_by_it(op, case_of):
    case = case_of(op, steps=("train", "eval"))
    inputs = make_inputs(case)
    observed = TorchModule("torch", "cpu").run(case, inputs)
    layers = [node for node in OPS[op].nodes(case.args) if node.op in OPS]
    assert len(observed.steps) == 2
    for step in observed.steps:
        assert sorted((call.name, call.call) for call in step.modules) == sorted((n.name, n.call) for n in layers)
        assert not [call for call in step.modules if call.unjudged]
    again = TorchModule("torch", "cpu").run(case, inputs)
    for one, other in zip(observed.steps, again.steps, strict=True):
        assert {name: array.tobytes() for name, array in one.arrays.items()} == {
            name: array.tobytes() for name, array in other.arrays.items()
        }


def test_a_layer_shows_no_modules(case_of):
    case = case_of("BatchNorm2d")
    steps = TorchModule("torch", "cpu").run(case, make_inputs(case)).steps
    assert [step.modules for step in steps] == [()] * len(case.steps)


def test_a_module_is_recorded_whole_where_it_is_named():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
            self.last = nn.Tanh()

        def forward(self, x):
            return self.last(self.inner(x))

    def recorded(names):
        module = Pair()
        with Recorder(module, names) as recorder:
            module(torch.ones(1, 2))
        return [call.name for call in recorder.captured()]

    assert recorded(()) == ["inner.0", "inner.1", "last"]
    assert recorded({"inner"}) == ["inner", "last"]
