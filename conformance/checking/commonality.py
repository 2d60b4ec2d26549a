"""What the failing cases have in common that the passing ones do not: a fact about the cases, no guess at the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

from conformance.checking.quick import free_arguments
from conformance.ops import OPS
from conformance.suite.case import Case

BLOCKS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_FEW = 2  # failing cases of which something can be common
_OTHERS = 3  # passing cases without which everything seems to set the failing ones apart


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that a case may meet."""

    says: str
    holds: Callable[[Case], bool]


def common(failing: Sequence[Case], passing: Sequence[Case]) -> str:
    """What holds for every failing case and for no, or few, passing ones: ``all where dtype is float16``.

    Empty where nothing simple does, or where too few cases fail to speak of anything common.
    """
    if len(failing) < _FEW or len(passing) < _OTHERS:
        return ""
    conditions = [c for c in _conditions([*failing, *passing]) if all(map(c.holds, failing))]
    if not conditions:
        return ""
    spared = {c.says: sum(map(c.holds, passing)) for c in conditions}
    best = min(conditions, key=lambda c: spared[c.says])
    if not spared[best.says]:
        return f"all where {best.says}, and no other case fails so"
    pair = next(
        (
            (one, other)
            for one, other in combinations(conditions, 2)
            if not any(one.holds(case) and other.holds(case) for case in passing)
        ),
        None,
    )
    if pair is not None:
        return f"all where {pair[0].says} and {pair[1].says}, and no other case fails so"
    if spared[best.says] <= min(len(failing), len(passing) // 2):
        return f"all where {best.says}, as also in {spared[best.says]:,} of the {len(passing):,} that do not fail so"
    return ""


def _conditions(cases: Sequence[Case]) -> Iterator[Condition]:
    """Every simple condition, the plainer ones first."""
    yield from _equalities(cases)
    yield Condition("a size is 0", lambda case: 0 in case.shape)
    numbers = sorted({name for case in cases for name in numbers_of(case)})
    for name in numbers:
        yield from _about(name, cases)


def _equalities(cases: Sequence[Case]) -> Iterator[Condition]:
    seen: dict[str, list[Any]] = {}
    for case in cases:
        for name, value in values_of(case).items():
            if value not in seen.setdefault(name, []):
                seen[name].append(value)
    for name, values in seen.items():
        if len(values) < 2:
            continue
        for value in values:
            yield Condition(_shown(name, value), _equals(name, value))
        if len(values) > 2:
            for value in values:
                same = _equals(name, value)
                yield Condition(f"{name} is not {value}", lambda case, same=same: not same(case))  # type: ignore[misc]


def _equals(name: str, value: Any) -> Callable[[Case], bool]:
    return lambda case: values_of(case).get(name) == value


def _about(name: str, cases: Sequence[Case]) -> Iterator[Condition]:
    for block in BLOCKS:
        says = f"{name} is odd" if block == 2 else f"{name} is not a multiple of {block}"
        yield Condition(says, lambda case, block=block: numbers_of(case).get(name, 0) % block != 0)  # type: ignore[misc]
    for limit in sorted({numbers_of(case).get(name, 0) for case in cases}):
        yield Condition(f"{name} > {limit}", lambda case, limit=limit: numbers_of(case).get(name, 0) > limit)  # type: ignore[misc]
        yield Condition(f"{name} < {limit}", lambda case, limit=limit: numbers_of(case).get(name, 0) < limit)  # type: ignore[misc]


def values_of(case: Case) -> dict[str, Any]:
    """The settings of a case that are no numbers of its size."""
    found: dict[str, Any] = {
        "dtype": case.dtype,
        "param_dtype": case.param_dtype,
        "layout": case.layout,
        "grad_layout": case.grad_layout,
        "requires_grad": case.requires_grad,
        "data": case.data,
        "params": case.params,
        "buffers": case.buffers,
        "the number of steps": len(case.steps),
        "train step": "train" in case.steps,
        "eval step": "eval" in case.steps,
    }
    return found | {f"args.{name}": _hashable(value) for name, value in free_arguments(case).items()}


def numbers_of(case: Case) -> dict[str, int]:
    """The sizes of a case, by the names of the op's facts, and those of its axes."""
    facts = OPS[case.op].facts(case.args, case.shape)
    return {**facts, "elements": prod(case.shape)}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _shown(name: str, value: Any) -> str:
    if name in ("train step", "eval step"):
        return f"there is {'a' if name[0] == 't' else 'an'} {name}" if value else f"there is no {name}"
    return f"{name} is {value}"
