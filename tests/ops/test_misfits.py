"""What is called a misfit torch refuses, and what it takes is none."""

from __future__ import annotations

import warnings

import pytest
import torch

from conformance.ops import OPS

MISFITS = [
    ("BatchNorm2d", (4, 3, 2, 2), {"num_features": 5}, "num_features is 5, and axis 1 of the shape has 3"),
    ("BatchNorm1d", (4, 3), {"num_features": 5, "affine": False}, "num_features is 5"),
    ("InstanceNorm2d", (4, 3, 2, 2), {"num_features": 5, "affine": True}, "num_features is 5, and axis 1"),
    ("InstanceNorm2d", (3, 2, 2), {"num_features": 5, "track_running_stats": True}, "num_features is 5, and axis 0"),
    ("LayerNorm", (2, 3), {"normalized_shape": [4]}, "normalized_shape is [4], and the last axes of the shape are [3]"),
    ("LayerNorm", (3,), {"normalized_shape": [2, 3]}, "the last axes of the shape are [3]"),
    ("LayerNorm", (3,), {"normalized_shape": []}, "normalized_shape is []"),
    ("RMSNorm", (4, 3), {"normalized_shape": [5]}, "normalized_shape is [5]"),
    ("GroupNorm", (4, 6, 2), {"num_groups": 4}, "num_groups is 4, which does not divide num_channels, 6"),
    ("GroupNorm", (4, 6, 2), {"num_groups": 2, "num_channels": 4}, "num_channels is 4, and axis 1 of the shape has 6"),
    ("Linear", (4, 3), {"in_features": 5, "out_features": 2}, "in_features is 5, and the last axis of the shape has 3"),
    ("Conv2d", (4, 3, 5, 5), {"in_channels": 2, "out_channels": 2}, "in_channels is 2, and axis 1"),
    ("Conv2d", (3, 5, 5), {"in_channels": 2, "out_channels": 2}, "in_channels is 2, and axis 0"),
    ("Conv2d", (4, 3, 5, 5), {"groups": 2}, "groups is 2, which does not divide in_channels, 3"),
    ("Conv2d", (4, 3, 5, 5), {"groups": 0}, "groups is 0; there is 1 at least"),
    ("Conv2d", (4, 3, 2, 2), {"kernel_size": 5}, "kernel_size is 5, too large for an image of [2, 2]"),
    ("Conv2d", (4, 3, 5, 5), {"stride": 0}, "stride is 0; it is 1 at least"),
    ("MaxPool2d", (4, 3, 2, 2), {"kernel_size": 5}, "kernel_size is 5, too large"),
    ("MaxPool2d", (4, 3, 2, 2), {"kernel_size": 0}, "kernel_size is 0; it is 1 at least"),
    ("MaxPool2d", (4, 3, 4, 4), {"padding": 2}, "padding is 2, more than half of the kernel_size, 2"),
    ("AvgPool2d", (4, 3, 2, 2), {"padding": -1}, "padding is -1; it is 0 at least"),
    ("Flatten", (4, 3), {"start_dim": 7}, "start_dim is 7, and the shape has 2 axes"),
    ("Flatten", (4, 3), {"start_dim": 1, "end_dim": 0}, "start_dim is 1, behind end_dim, 0"),
    ("Dropout", (4, 3), {"p": 1.5}, "p is 1.5; a probability is from 0 to 1"),
]
FITS = [
    ("BatchNorm2d", (4, 3, 2, 2), {"num_features": 5, "affine": False, "track_running_stats": False}),
    ("InstanceNorm2d", (4, 3, 2, 2), {"num_features": 5}),
    ("InstanceNorm1d", (3, 2), {"affine": True}),
    ("LayerNorm", (4, 2, 3), {"normalized_shape": [2, 3]}),
    ("GroupNorm", (4, 6), {"num_groups": 3}),
    ("Linear", (7,), {"in_features": 7}),
    ("Conv2d", (3, 5, 5), {"kernel_size": [5, 1], "padding": "same"}),
    ("MaxPool2d", (4, 3, 5, 5), {"kernel_size": 4, "padding": 2}),
    ("Flatten", (4, 3), {"start_dim": -2, "end_dim": 1}),
    ("Dropout", (4, 3), {"p": 1}),
]


def called(op, shape, args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(torch.nn, op)(**args)(torch.ones(shape))


def completed(op, shape, given):
    return OPS[op].complete(OPS[op].defaults() | given, shape)


@pytest.mark.parametrize(("op", "shape", "given", "told"), MISFITS)
def test_a_misfit_is_told_and_torch_raises(op, shape, given, told):
    args = completed(op, shape, given)
    assert told in OPS[op].misfit(args, shape)
    with pytest.raises((RuntimeError, ValueError, IndexError, ZeroDivisionError)):
        called(op, shape, args)


@pytest.mark.parametrize(("op", "shape", "given"), FITS)
def test_what_torch_takes_is_no_misfit(op, shape, given):
    args = completed(op, shape, given)
    assert not OPS[op].misfit(args, shape)
    called(op, shape, args)


@pytest.mark.parametrize(
    ("op", "shape", "given", "told"),
    [
        ("MLP", (4, 3), {"in_channels": 7}, "in_channels is 7, and axis 1 of the shape has 3"),
        ("LeNet", (4, 1, 20, 20), {"size": 28}, "size is 28, and axis 2 of the shape has 20"),
        ("BasicBlock", (4, 3, 4, 4), {"in_channels": 4}, "in_channels is 4"),
        ("FrozenTeacher", (4, 3, 2, 2), {"num_features": 4}, "num_features is 4"),
    ],
)
def test_networks_and_procedures_know_the_sizes_of_their_input(op, shape, given, told):
    assert told in OPS[op].misfit(completed(op, shape, given), shape)
    assert not OPS[op].misfit(completed(op, shape, {}), shape)
