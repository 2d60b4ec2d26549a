"""The short texts by which a case id tells one value of an axis from another."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_UNFIT = re.compile(r"[^A-Za-z0-9._+=-]+")


def label_of(axis: str, value: Any) -> str:
    """A label for a value that the case file gives none: ``no-affine``, ``momentum=0.5``, ``4x3x5x6``, ``tte``."""
    name = short(axis)
    match value:
        case bool():
            label = name if value else f"no-{name}"
        case None:
            label = f"{name}=null"
        case int() | float():
            label = f"{name}={value!r}"
        case list() if axis == "steps":
            label = "".join(str(step)[:1] for step in value)
        case list():
            label = "x".join(map(str, value)) or f"{name}=empty"
        case dict():
            label = "-".join(f"{key}{part}" for key, part in value.items())
        case _:
            label = str(value) or f"{name}=empty"
    return _UNFIT.sub("-", label)


def short(axis: str) -> str:
    """``momentum`` of ``args.momentum``."""
    return axis.rpartition(".")[2]


def distinct(axes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The labels of every axis, where one that an earlier axis has too is qualified: ``grad_layout=strided``.

    Only the later one is renamed, so an axis that is added at the end renames nothing.
    """
    taken: set[str] = set()
    result: dict[str, list[str]] = {}
    for axis, labels in axes.items():
        chosen = [label if label not in taken else f"{short(axis)}={label}" for label in labels]
        chosen = [label if label not in taken else f"{axis}={label}" for label in chosen]
        taken.update(chosen)
        result[axis] = chosen
    return result
