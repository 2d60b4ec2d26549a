"""A small sample of cases for exporters that take about a second per case."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any

from conformance.ops import OPS
from conformance.suite.case import Case

Feature = tuple[str, Hashable]
Pairs = frozenset[tuple[Feature, Feature]]


def export_sample(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Cases in which, op by op, every pair of values that occurs together in ``cases`` occurs together.

    The axes are what decides the exported graph: arguments, dtypes, the rank and the modes of the steps.  Data, seed
    and layout do not change a graph, and what must raise has none, so those cases are not taken.  Chosen greedily and
    always alike, in the order of ``cases``.
    """
    by_op: dict[str, list[Case]] = {}
    for case in cases:
        if case.raises is None and case.dtype != "int64" and case.layout == "contiguous":
            by_op.setdefault(case.op, []).append(case)
    chosen = {case.key for candidates in by_op.values() for case in _cover(candidates)}
    return tuple(case for case in cases if case.key in chosen)


def _cover(candidates: Sequence[Case]) -> Iterable[Case]:
    """Greedy: always the case with most pairs that are still missing, the earliest of equals."""
    gains = [(pairs_of(case), case) for case in candidates]
    missing = frozenset().union(*(pairs for pairs, _ in gains))
    while missing:
        best, case = max(gains, key=lambda gain: len(gain[0] & missing))
        yield case
        missing -= best


def pairs_of(case: Case) -> Pairs:
    """The pairs of values of two axes that a case shows."""
    return frozenset(combinations(_features(case), 2))


def _features(case: Case) -> list[Feature]:
    derived = _derived_arguments(case.op)
    features: list[Feature] = [
        ("dtype", case.dtype),
        ("param_dtype", case.param_dtype),
        ("rank", len(case.shape)),
        ("empty", 0 in case.shape),
        ("modes", tuple(sorted(set(case.steps)))),
        ("dynamic", case.export.dynamic),
        ("opset", case.export.opset),
        ("optimisation", case.export.optimisation),
    ]
    features += [(f"args.{name}", _kind(value)) for name, value in case.args.items() if name not in derived]
    return features


def _kind(value: Any) -> Hashable:
    return ("axes", len(value)) if isinstance(value, list) else (type(value).__name__, value)


_DERIVED: dict[str, frozenset[str]] = {}


def _derived_arguments(op: str) -> frozenset[str]:
    """The arguments that only repeat a size of the shape."""
    if op not in _DERIVED:
        _DERIVED[op] = frozenset(
            argument.name
            for argument in OPS[op].arguments
            if argument.default is None and "int" in argument.kinds and "float" not in argument.kinds
        )
    return _DERIVED[op]
