"""What is compared as text."""

from __future__ import annotations

import pytest

from conformance.backends.modules import build
from conformance.judge.structure import compare_structure, expected_structure


def test_a_correct_layer_keeps_dtype_shape_and_input_and_lists_its_state(case_of):
    assert expected_structure(case_of("BatchNorm2d", (4, 3, 5, 6), "bfloat16")) == {
        "dtype": "bfloat16",
        "shape": "4x3x5x6",
        "input_modified": "no",
        "state_dict": "weight,bias,running_mean,running_var,num_batches_tracked",
        "memory_format": "contiguous",
    }


@pytest.mark.parametrize(
    ("op", "shape"),
    [("FrozenTeacher", (4, 3, 5, 6)), ("LeNet", (2, 1, 28, 28)), ("MLP", (4, 8)), ("BasicBlock", (2, 4, 6, 6))],
)
def test_the_state_of_what_has_modules_inside_is_listed_as_torch_lists_it(case_of, op, shape):
    case = case_of(op, shape)
    module = build(case)
    assert expected_structure(case)["state_dict"] == ",".join(module.state_dict())


@pytest.mark.parametrize(
    ("op", "layout", "promised"),
    [
        ("BatchNorm2d", "contiguous", "contiguous"),
        ("BatchNorm2d", "channels_last", "channels_last"),
        ("GroupNorm", "contiguous", "contiguous"),
        ("GroupNorm", "channels_last", None),
        ("BatchNorm2d", "strided", None),
        ("BatchNorm2d", "transposed", None),
    ],
)
def test_a_memory_format_is_expected_only_where_the_op_promises_one(case_of, op, layout, promised):
    assert expected_structure(case_of(op, (4, 3, 5, 6), layout=layout)).get("memory_format") == promised


def test_only_what_the_backend_saw_is_compared(case_of):
    expected = expected_structure(case_of("LayerNorm", (4, 3)))
    figures = compare_structure(expected, {"dtype": "float32", "shape": "4x4", "unheard_of": "x"}, 2)
    assert [(f.quantity, f.step, f.ok, f.got, f.expected) for f in figures] == [
        ("dtype", 2, True, "float32", "float32"),
        ("shape", 2, False, "4x4", "4x3"),
    ]
