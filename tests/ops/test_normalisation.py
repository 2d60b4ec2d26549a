"""The ops say the same of a layer as torch does: arguments, defaults, parameters, buffers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch

from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
from conformance.reference import build_reference, reference_class

SHAPES = {
    "BatchNorm1d": [(4, 3), (4, 3, 5)],
    "BatchNorm2d": [(4, 3, 5, 6)],
    "BatchNorm3d": [(2, 3, 2, 3, 4)],
    "LayerNorm": [(7,), (4, 3), (4, 3, 5)],
    "RMSNorm": [(7,), (4, 3), (4, 3, 5)],
    "InstanceNorm1d": [(4, 3, 5), (3, 5)],
    "InstanceNorm2d": [(4, 3, 5, 6), (3, 5, 6)],
    "InstanceNorm3d": [(2, 3, 2, 3, 4), (3, 2, 3, 4)],
    "GroupNorm": [(4, 6), (4, 6, 5)],
    "LocalResponseNorm": [(4, 6, 5), (4, 6, 5, 2)],
}
EVERY = [(op, shape) for op, shapes in SHAPES.items() for shape in shapes]


def layer(op, args):
    """The torch layer; a list of sizes is a size in torch, and every op knows its own arguments alone."""
    return getattr(torch.nn, op)(**args)


def test_the_shapes_here_cover_every_op():
    assert set(SHAPES) == {op.name for op in NORMALISATION}
    assert all(set(OPS[op].ranks) >= {len(shape) for shape in shapes} for op, shapes in SHAPES.items())


@pytest.mark.parametrize("op", SHAPES)
def test_arguments_and_defaults_are_those_of_torch(op):
    signature = inspect.signature(getattr(torch.nn, op)).parameters
    theirs = {name: p.default for name, p in signature.items() if name not in {"device", "dtype", "args", "kwargs"}}
    ours = OPS[op].defaults()
    assert set(ours) - set(theirs) <= {"bias"}, "bias of BatchNorm and the like is younger than the oldest torch"
    for name, default in theirs.items():
        if default is inspect.Parameter.empty:
            continue
        assert ours[name] == default, name


@pytest.mark.parametrize(("op", "shape"), EVERY)
def test_parameters_and_buffers_have_the_names_and_shapes_of_torch(op, shape):
    entry = OPS[op]
    args = entry.complete(entry.defaults(), shape)
    for name in ("affine", "track_running_stats"):
        if name in args:
            args[name] = True
    built = layer(op, args)
    assert {n: tuple(p.shape) for n, p in built.named_parameters()} == entry.parameters(args)
    assert {n: tuple(b.shape) for n, b in built.named_buffers()} == entry.buffers(args)
    assert list(built.state_dict()) == [*entry.parameters(args), *entry.buffers(args)]
    assert tuple(built(torch.ones(shape) + torch.randn(shape)).shape) == shape


@pytest.mark.parametrize(
    ("op", "flag"),
    [
        ("BatchNorm2d", "affine"),
        ("LayerNorm", "elementwise_affine"),
        ("RMSNorm", "elementwise_affine"),
        ("GroupNorm", "affine"),
        ("InstanceNorm1d", "affine"),
    ],
)
def test_a_layer_that_is_not_affine_has_no_parameters(op, flag):
    entry = OPS[op]
    args = entry.complete(entry.defaults() | {flag: False}, SHAPES[op][-1])
    assert entry.parameters(args) == {}


@pytest.mark.parametrize("op", ["BatchNorm2d", "LayerNorm", "GroupNorm"])
def test_without_a_bias_the_weight_stays(op):
    entry = OPS[op]
    args = entry.complete(entry.defaults() | {"bias": False}, SHAPES[op][-1])
    assert list(entry.parameters(args)) == ["weight"]


def test_without_running_statistics_there_are_no_buffers():
    entry = OPS["BatchNorm1d"]
    assert entry.buffers(entry.complete(entry.defaults() | {"track_running_stats": False}, (4, 3))) == {}


@pytest.mark.parametrize(
    ("given", "expected"), [(5, [5]), ([3, 5], [3, 5]), ({"last": 1}, [5]), ({"last": 2}, [3, 5]), ({"last": 0}, [])]
)
def test_the_normalized_shape_may_be_said_in_three_ways(given, expected):
    entry = OPS["LayerNorm"]
    assert entry.complete(entry.defaults() | {"normalized_shape": given}, (4, 3, 5))["normalized_shape"] == expected


def test_channels_and_groups_follow_from_the_shape():
    entry = OPS["GroupNorm"]
    assert entry.complete(entry.defaults(), (4, 6, 5))["num_channels"] == 6
    assert entry.complete(entry.defaults() | {"num_groups": "channels"}, (4, 6, 5))["num_groups"] == 6
    assert OPS["InstanceNorm1d"].complete(OPS["InstanceNorm1d"].defaults(), (3, 5))["num_features"] == 3


@pytest.mark.parametrize(("op", "shape"), EVERY)
def test_the_facts_count_what_the_reference_counts(case_of, op, shape):
    case = case_of(op, shape)
    facts = OPS[op].facts(case.args, shape)
    assert facts["rank"] == len(shape)
    assert facts["elements"] == torch.ones(shape).numel()
    if op != "LocalResponseNorm":
        assert facts["normalised"] == build_reference(case).fold(shape).elements


@pytest.mark.parametrize("op", SHAPES)
def test_the_reference_that_an_op_names_exists(op):
    assert isinstance(reference_class(op), type)


def test_another_class_can_stand_in_for_the_reference(case_of):
    class Mistaken(reference_class("LayerNorm")):
        eps = 0.0

    case = case_of("LayerNorm", (3, 5))
    assert type(build_reference(case, of=Mistaken)) is Mistaken
    assert build_reference(case, of=Mistaken).eps == 0.0


def test_the_precision_class_reaches_the_reference_and_integers_are_judged_as_float32(case_of):
    assert build_reference(case_of("LayerNorm", (3, 5), "float16"), "B").precision.label == "B"
    assert build_reference(case_of("LayerNorm", (3, 5), "int64", param_dtype="float32")).dtype == "float32"


def test_the_ops_are_read_without_any_numerical_library():
    code = "import sys, conformance.ops; print(sorted({'numpy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    fresh = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert fresh.stdout.strip() == "[]"
