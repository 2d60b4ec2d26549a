from __future__ import annotations

import pytest

from conformance.suite.labels import distinct, label_of


@pytest.mark.parametrize(
    ("axis", "value", "label"),
    [
        ("args.affine", True, "affine"),
        ("args.affine", False, "no-affine"),
        ("args.momentum", 0.5, "momentum=0.5"),
        ("args.momentum", None, "momentum=null"),
        ("args.eps", 1e-5, "eps=1e-05"),
        ("seed", 3, "seed=3"),
        ("dtype", "bfloat16", "bfloat16"),
        ("shape", [4, 3, 5, 6], "4x3x5x6"),
        ("shape", [], "shape=empty"),
        ("steps", ["train", "train", "eval"], "tte"),
        ("args.normalized_shape", {"last": 2}, "last2"),
    ],
)
def test_a_value_without_a_label_gets_a_short_readable_one(axis: str, value: object, label: str) -> None:
    assert label_of(axis, value) == label


def test_a_label_of_two_axes_is_qualified_in_the_later_one_alone() -> None:
    assert distinct({"layout": ["contiguous", "strided"], "grad_layout": ["strided"]}) == {
        "layout": ["contiguous", "strided"],
        "grad_layout": ["grad_layout=strided"],
    }
