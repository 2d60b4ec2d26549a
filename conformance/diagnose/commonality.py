"""What failing cases have in common that passing ones do not: facts about the cases, no guess at the cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any

from conformance.ops import OPS
from conformance.ops.derived import derived_arguments
from conformance.record import Fact, Record
from conformance.suite.case import Case

#: multiples that kernels work in; of those that fit, the largest says most about the cases that pass
BLOCKS = (1024, 512, 256, 128, 64, 32, 16, 8, 4, 2)
_FEW = 2  # failing cases of which something can be common
_OTHERS = 3  # passing cases without which everything seems to set the failing ones apart
_PAIRED = 60  # conditions of which pairs are tried, those that fewest passing cases meet


@dataclass(frozen=True, slots=True)
class Apart:
    """A condition that every failing case meets; ``spared`` of the passing ones meet it too."""

    says: str
    spared: int = 0


def set_apart(failing: Sequence[Case], passing: Sequence[Case]) -> Apart | None:
    """The plainest condition that all failing cases meet and no, or few, passing ones: ``dtype is float16``.

    None where nothing simple is so, or where too few cases pass to speak of anything that they have not.
    """
    if not failing or len(passing) < _OTHERS:
        return None
    found = [
        (says, frozenset(place for place, met in enumerate(holds[len(failing) :]) if met))
        for says, holds in _conditions([*failing, *passing])
        if all(holds[: len(failing)])
    ]
    if not found:
        return None
    found.sort(key=lambda one: len(one[1]))  # stable: of equals the plainer one
    says, spared = found[0]
    if not spared:
        return Apart(says)
    if len(failing) < _FEW:  # two conditions single out any case
        return None
    for (one, ones), (other, others) in combinations(found[:_PAIRED], 2):
        if not ones & others:
            return Apart(f"{one} and {other}")
    return Apart(says, len(spared)) if len(spared) <= min(len(failing), len(passing) // 2) else None


def common(failing: Sequence[Case], passing: Sequence[Case]) -> str:
    """The same for failures of one kind: ``all where dtype is float16, and no other case fails so``."""
    found = set_apart(failing, passing) if len(failing) >= _FEW else None
    if found is None:
        return ""
    if not found.spared:
        return f"all where {found.says}, and no other case fails so"
    return f"all where {found.says}, as also in {found.spared:,} of the {len(passing):,} that do not fail so"


def facts_in_common(
    failing: Sequence[Record], group: Sequence[Record], cases: Mapping[str, Case], *, alone: bool = True
) -> tuple[str, ...]:
    """Sentences; first what sets the failing cases apart, then what all of them show.

    alone: whether these are all the failing cases; else nothing sets them apart from those that pass.
    """
    if not alone:
        return tuple(_shown(failing))
    bad = [cases[record.key] for record in failing if record.key in cases]
    good = [cases[record.key] for record in group if record.verdict == "pass" and record.key in cases]
    found = set_apart(bad, good)
    if found is None:
        return tuple(_shown(failing))
    where = f"fails only where {found.says} ({len(bad):,} case{'' if len(bad) == 1 else 's'})"
    spared = f", as also in {found.spared:,} of the {len(good):,} that pass"
    return (where + (spared if found.spared else f", passes in all {len(good):,} others"), *_shown(failing))


def _shown(failing: Sequence[Record]) -> Iterator[str]:
    quantities = [{figure.quantity for figure in record.figures if not figure.ok} for record in failing]
    seen: dict[tuple[str, str], list[Fact]] = {}
    for record in failing:
        for fact in record.suspicion.facts if record.suspicion is not None else ():
            seen.setdefault((fact.quantity, fact.kind), []).append(fact)
    for (quantity, _), alike in seen.items():
        concerned = sum(1 for wrong in quantities if not quantity or quantity in wrong)
        if len(alike) < concerned:
            continue
        same = len({fact.says for fact in alike}) == 1
        where = "" if len(alike) == 1 else f" (in all {len(alike)} cases)"
        yield alike[0].says + (where if same else f" (the like in all {len(alike)} cases)")


# ---- conditions ------------------------------------------------------------------------------------------------------

Met = list[bool]  # by which of the cases


def _conditions(cases: Sequence[Case]) -> Iterator[tuple[str, Met]]:
    """Every simple condition and which cases meet it, the plainer ones first."""
    yield from _equalities([values_of(case) for case in cases])
    yield "a size is 0", [0 in case.shape for case in cases]
    sizes = [numbers_of(case) for case in cases]
    for name in dict.fromkeys(name for each in sizes for name in each):
        yield from _about(name, [each.get(name, 0) for each in sizes])


def _equalities(settings: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Met]]:
    for name in dict.fromkeys(name for each in settings for name in each):
        column = [each.get(name) for each in settings]
        values = list(dict.fromkeys(column))
        if len(values) < 2:
            continue
        for value in values:
            yield _worded(name, value), [each == value for each in column]
        for value in values if len(values) > 2 else ():
            yield f"{name} is not {value}", [each != value for each in column]
        for one, other in combinations(values, 2) if len(values) > 3 else ():
            yield f"{name} is {one} or {other}", [each in (one, other) for each in column]


def _about(name: str, column: Sequence[int]) -> Iterator[tuple[str, Met]]:
    for block in BLOCKS:
        says = f"{name} is odd" if block == 2 else f"{name} is not a multiple of {block}"
        yield says, [number % block != 0 for number in column]
    for limit in sorted(set(column)):
        yield f"{name} > {limit}", [number > limit for number in column]
        yield f"{name} < {limit}", [number < limit for number in column]


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
    derived = derived_arguments(case.op)
    return found | {f"args.{name}": _hashable(value) for name, value in case.args.items() if name not in derived}


#: facts of an op in words; others are told by their own names
_WORDS = {
    "batch": "the batch size",
    "channels": "the number of channels",
    "elements": "the number of values",
    "normalised": "the number of values per slice",
    "values_per_channel": "the number of values per channel (N*H*W)",
}


def numbers_of(case: Case) -> dict[str, int]:
    """The sizes of a case, by the op's facts in words, and that of its last axis."""
    facts = {**OPS[case.op].facts(case.args, case.shape), "elements": prod(case.shape)}
    if facts.get("normalised") in (facts.get("values_per_channel"), facts.get("channels")):
        facts.pop("normalised")  # the same by another name
    told = {_WORDS.get(name, name): number for name, number in sorted(facts.items())}
    return told | {"the last axis": case.shape[-1] if case.shape else 0}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _worded(name: str, value: Any) -> str:
    if name in ("train step", "eval step"):
        return f"there is {'a' if name[0] == 't' else 'an'} {name}" if value else f"there is no {name}"
    return f"{name} is {value}"
