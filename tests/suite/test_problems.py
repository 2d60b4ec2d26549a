"""What is meant by a name that nothing bears."""

from __future__ import annotations

import pytest

from conformance.suite.problems import did_you_mean, unknown

NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LayerNorm")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ("LayerNrom", "; did you mean 'LayerNorm'?"),
        ("BatchNrm2d", "; did you mean 'BatchNorm2d'?"),
        ("BatchNorm", "; did you mean 'BatchNorm1d' or 'BatchNorm2d' or 'BatchNorm3d'?"),
        ("Softmax", ""),
        (3, ""),
        ("L" * 101, ""),
    ],
)
def test_the_nearest_is_named_and_all_that_are_as_near(found: object, meant: str) -> None:
    assert did_you_mean(found, NORMS) == meant


def test_where_nothing_is_near_there_is_the_list() -> None:
    assert unknown("op", "Softmax", NORMS) == f"'Softmax' is not an op; expected one of {', '.join(NORMS)}"
