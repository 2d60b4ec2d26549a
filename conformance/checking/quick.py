"""The quick set: few cases in which every value of every axis occurs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from conformance.ops.derived import derived_arguments
from conformance.suite.case import Case

Feature = tuple[str, str]
_FIELDS = (
    "op", "dtype", "param_dtype", "layout", "grad_layout", "requires_grad", "data", "params", "buffers", "steps",
    "robustness", "group", "resets", "optimizer",
)  # fmt: skip


def quick_set(cases: Sequence[Case]) -> tuple[Case, ...]:
    """A cover of all single values, chosen greedily and always alike, in the order of ``cases``.

    Of cases that show as much that is new, the smaller is taken.
    """
    features = {case.key: features_of(case) for case in cases}
    missing = frozenset[Feature]().union(*features.values())
    left = list(cases)
    chosen = set()
    while missing:
        best = max(left, key=lambda case: (len(features[case.key] & missing), -_cost(case)))
        chosen.add(best.key)
        missing -= features[best.key]
        left.remove(best)
    return tuple(case for case in cases if case.key in chosen)


def features_of(case: Case) -> frozenset[Feature]:
    """The values of a case, axis by axis; sizes that follow from the shape are no axes of their own."""
    found = {(name, str(getattr(case, name, None))) for name in _FIELDS}
    found |= {("shape", str(case.shape)), ("raises", str(case.raises is not None))}
    return frozenset(found | {(f"args.{name}", repr(value)) for name, value in free_arguments(case).items()})


def free_arguments(case: Case) -> dict[str, Any]:
    """The arguments that do not merely repeat sizes of the shape."""
    derived = derived_arguments(case.op)
    return {name: value for name, value in case.args.items() if name not in derived}


def _cost(case: Case) -> int:
    return prod(case.shape) * len(case.steps)
