"""The axes that a dynamic graph leaves open."""

from __future__ import annotations

import pytest

from conformance.backends.dynamic_axes import distinct_shape, dynamic_axes, example_shape, following_axes


@pytest.mark.parametrize(
    ("op", "shape", "args", "axes", "example"),
    [
        ("BatchNorm1d", (9, 3), {}, (0,), (4, 3)),
        ("BatchNorm2d", (2, 3, 8, 9), {}, (0, 2, 3), (4, 3, 6, 7)),
        ("InstanceNorm1d", (3, 5), {}, (1,), (3, 5)),
        ("InstanceNorm1d", (2, 3, 5), {}, (0, 2), (4, 3, 6)),
        ("GroupNorm", (2, 6, 5), {"num_groups": 3}, (0, 2), (4, 6, 6)),
        ("LocalResponseNorm", (2, 6, 5, 5), {}, (0, 2, 3), (4, 6, 6, 7)),
        ("LayerNorm", (2, 5, 6), {"normalized_shape": [6]}, (0, 1), (4, 5, 6)),
        ("LayerNorm", (2, 5, 6), {"normalized_shape": [2, 5, 6]}, (), (2, 5, 6)),
        ("RMSNorm", (7, 6), {"normalized_shape": [6]}, (0,), (4, 6)),
        ("Linear", (2, 3, 6), {}, (0, 1), (4, 5, 6)),
        ("Conv2d", (2, 3, 8, 9), {}, (0, 2, 3), (4, 3, 6, 7)),
    ],
)
def test_batch_and_space_are_open_and_what_parameters_fix_is_not(op, shape, args, axes, example, case_of):
    case = case_of(op, shape=shape, args=args)
    assert dynamic_axes(case) == axes
    assert example_shape(case) == example


def test_sizes_left_open_are_equal_to_no_other(case_of):
    """Of equal sizes a symbolic trace makes one symbol, which would tie the batch to the channels."""
    case = case_of("BatchNorm2d", shape=(2, 5, 4, 4))
    assert distinct_shape(case) == (4, 5, 6, 7)
    assert distinct_shape(case_of("LayerNorm", shape=(9, 9, 4))) == (5, 6, 4)


@pytest.mark.parametrize(
    ("op", "args", "axes"),
    [
        ("BatchNorm2d", {}, ()),
        ("Linear", {"out_features": 5}, ()),
        ("Conv2d", {"kernel_size": 3, "padding": 1}, ()),
        ("Conv2d", {"kernel_size": 3, "stride": 2}, (0, 2, 3)),
        ("MaxPool2d", {"kernel_size": 2}, (0, 2, 3)),
        ("Flatten", {}, (0, 1)),
    ],
)
def test_axes_of_the_output_that_are_not_those_of_the_input_follow_from_them(op, args, axes, case_of):
    assert following_axes(case_of(op, args=args)) == axes
