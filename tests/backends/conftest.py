"""Hand-built cases: the backends are tested without the loader of case files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.ops import OPS
from conformance.suite.case import Case, Origin

SHAPES = {
    "BatchNorm1d": (4, 3, 5),
    "BatchNorm2d": (4, 3, 5, 6),
    "BatchNorm3d": (4, 3, 2, 3, 5),
    "InstanceNorm1d": (4, 3, 5),
    "InstanceNorm2d": (4, 3, 5, 6),
    "InstanceNorm3d": (4, 3, 2, 3, 5),
    "LayerNorm": (4, 3, 6),
    "RMSNorm": (4, 3, 6),
    "GroupNorm": (4, 6, 5),
    "LocalResponseNorm": (4, 6, 5, 3),
    "Linear": (4, 3, 6),
    "ReLU": (4, 3, 6),
    "Sigmoid": (4, 3, 6),
    "Tanh": (4, 3, 6),
    "Conv2d": (4, 3, 5, 6),
    "MaxPool2d": (4, 3, 5, 6),
    "AvgPool2d": (4, 3, 5, 6),
    "Flatten": (4, 3, 5, 6),
    "Dropout": (4, 3, 6),
    "Dropout1d": (4, 3, 6),
    "Dropout2d": (4, 3, 5, 6),
    "MLP": (4, 6),
    "LeNet": (3, 1, 16, 16),
    "BasicBlock": (3, 4, 5, 6),
    "Bottleneck": (3, 16, 5, 6),
    "DenseBlock": (3, 4, 5, 6),
    "FrozenTeacher": (4, 3, 5, 6),
}


@pytest.fixture
def case_of() -> Callable[..., Case]:
    """``case_of(op, shape=..., args={...}, **fields)``: a case with the op's default arguments filled in."""

    def make(
        op: str, *, shape: tuple[int, ...] | None = None, args: dict[str, Any] | None = None, **fields: Any
    ) -> Case:
        where = SHAPES[op] if shape is None else shape
        complete = OPS[op].complete(OPS[op].defaults() | (args or {}), where)
        return Case(
            id=f"{op}::hand_built",
            key="0123456789ab",
            op=op,
            args=complete,
            shape=where,
            origin=Origin("x.yaml", 1, 1),
            **fields,
        )

    return make
