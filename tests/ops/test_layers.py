"""The entries of the layers say the same as torch does: arguments, defaults, parameters, shapes of outputs."""

from __future__ import annotations

import inspect
from itertools import product

import pytest
import torch

from conformance.ops import OPS
from conformance.ops.layers import LAYERS
from conformance.reference import build_reference, reference_class
from references.windows import Axis

NAMES = [op.name for op in LAYERS]
#: arguments that change where a result is written, or what else is returned, and no number
LEFT_OUT = {"device", "dtype", "args", "kwargs", "inplace", "return_indices"}

SHAPES = {
    "Linear": [(7,), (4, 3), (2, 3, 2, 5), (0, 3)],
    "Conv2d": [(2, 4, 6, 7), (4, 6, 7), (0, 4, 6, 7)],
    "MaxPool2d": [(2, 4, 6, 7), (4, 6, 7)],
    "AvgPool2d": [(2, 4, 6, 7), (4, 6, 7)],
    "Flatten": [(7, 2), (4, 3, 5), (2, 3, 0, 5)],
    "ReLU": [(7,), (4, 3, 5)],
    "Sigmoid": [(7,), (4, 3, 5)],
    "Tanh": [(7,), (4, 3, 5)],
    "Dropout": [(7,), (4, 3, 5)],
    "Dropout1d": [(4, 3), (4, 3, 5)],
    "Dropout2d": [(4, 3, 5, 2)],
}
EVERY = [(op, shape) for op, shapes in SHAPES.items() for shape in shapes]


def built(op, args):
    with torch.random.fork_rng():
        return getattr(torch.nn, op)(**args)


def test_the_shapes_here_cover_every_layer():
    assert set(SHAPES) == set(NAMES)


@pytest.mark.parametrize("op", NAMES)
def test_arguments_and_defaults_are_those_of_torch(op):
    signature = inspect.signature(getattr(torch.nn, op)).parameters
    theirs = {name: p.default for name, p in signature.items() if name not in LEFT_OUT}
    ours = OPS[op].defaults()
    assert set(ours) == set(theirs)
    for name, default in theirs.items():
        if default is not inspect.Parameter.empty:
            assert ours[name] == default, name


@pytest.mark.parametrize(("op", "shape"), EVERY)
def test_parameters_buffers_and_output_have_the_names_and_shapes_of_torch(op, shape):
    entry = OPS[op]
    args = entry.complete(entry.defaults(), shape)
    layer = built(op, args)
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == entry.parameters(args)
    assert dict(layer.named_buffers()) == entry.buffers(args) == {}
    assert tuple(layer(torch.ones(shape)).shape) == entry.output_shape(args, shape)
    assert len(shape) in entry.ranks


@pytest.mark.parametrize("op", ["Linear", "Conv2d"])
def test_without_a_bias_the_weight_stays(op):
    entry = OPS[op]
    args = entry.complete(entry.defaults() | {"bias": False}, SHAPES[op][0])
    assert list(entry.parameters(args)) == ["weight"]


def test_features_and_channels_follow_from_the_shape():
    assert OPS["Linear"].complete(OPS["Linear"].defaults(), (2, 9))["out_features"] == 9
    assert OPS["Conv2d"].complete(OPS["Conv2d"].defaults(), (5, 8, 8))["in_channels"] == 5


GRID = [
    dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), values, strict=True))
    for values in product((2, 3, [3, 2]), (None, 1, [2, 3]), (0, 1, [1, 0]), (1, 2), (False, True))
]


@pytest.mark.parametrize("op", ["MaxPool2d", "AvgPool2d", "Conv2d"])
@pytest.mark.parametrize("size", [(7, 8), (9, 5), (6, 11)])
def test_windows_are_counted_as_torch_counts_them(op, size):
    """Three times: by torch, by the entry, by the reference."""
    entry, compared = OPS[op], 0
    for given in GRID:
        wanted = {name: value for name, value in given.items() if name in entry.defaults()}
        if op == "Conv2d" and wanted["stride"] is None:
            continue
        args = entry.complete(entry.defaults() | wanted, (1, 2, *size))
        theirs = tuple(built(op, args)(torch.zeros(1, 2, *size)).shape)
        assert entry.output_shape(args, (1, 2, *size)) == theirs, args
        over = build_reference_of(op, args).windows((1, 2, *size))
        assert (over.rows.count, over.columns.count) == theirs[2:], args
        compared += 1
    assert compared >= 72


def build_reference_of(op, args):
    from references.rounding import precision

    return reference_class(op)(args, "float32", "float32", precision("float32"))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, [4, 3]])
def test_padding_in_words_is_that_of_torch(padding, kernel):
    entry, shape = OPS["Conv2d"], (1, 2, 7, 8)
    for dilation in (1, 2):
        args = entry.complete(
            entry.defaults() | {"kernel_size": kernel, "padding": padding, "dilation": dilation}, shape
        )
        assert tuple(built("Conv2d", args)(torch.zeros(shape)).shape) == entry.output_shape(args, shape)


def test_an_axis_that_is_too_short_for_its_kernel_has_no_windows():
    assert Axis(2, 3).count == 0
    assert OPS["MaxPool2d"].output_shape(OPS["MaxPool2d"].defaults() | {"kernel_size": 3}, (1, 1, 2, 2)) == (1, 1, 0, 0)


@pytest.mark.parametrize("op", NAMES)
def test_the_reference_that_an_entry_names_exists_and_is_built(op, case_of):
    assert isinstance(build_reference(case_of(op, SHAPES[op][0])), reference_class(op))


@pytest.mark.parametrize(("op", "shape"), EVERY)
def test_the_facts_count_elements(op, shape, case_of):
    facts = OPS[op].facts(case_of(op, shape).args, shape)
    assert facts["rank"] == len(shape)
    assert facts["elements"] == torch.ones(shape).numel()


def test_only_what_draws_is_judged_by_its_law():
    assert {op.name for op in LAYERS if op.judged == "law"} == {"Dropout", "Dropout1d", "Dropout2d"}
