"""Facts that failing cases have in common, and what sets them apart from the cases that pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from conformance.ops import OPS
from conformance.record import Fact, Record
from conformance.suite.case import Case

#: multiples that kernels work in
_BLOCKS = (256, 128, 64, 32, 16, 8, 4)


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
    return (*_apart(bad, good), *_shown(failing))


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


def _features(case: Case) -> dict[str, Any]:
    """What may set a case apart, by the name under which it is told."""
    told: dict[str, Any] = {
        "dtype": case.dtype,
        "parameters in": case.param_dtype,
        "layout": case.layout,
        "gradient layout": case.grad_layout,
        "input requires grad": case.requires_grad,
        "parameters": case.params,
        "buffers": case.buffers,
        "rank": len(case.shape),
        "data": case.data,
    }
    told |= {name: str(value) for name, value in case.args.items() if not isinstance(value, list)}
    for mode in ("train", "eval"):
        told[f"a step in {mode}"] = mode in case.steps
    return told


def _apart(bad: Sequence[Case], good: Sequence[Case]) -> Iterator[str]:
    """What all failing cases have and no passing one."""
    if not bad or not good:
        return
    mine, others = [_features(case) for case in bad], [_features(case) for case in good]
    for name in mine[0]:
        values = {repr(each.get(name)) for each in mine}
        elsewhere = {repr(each.get(name)) for each in others}
        if values & elsewhere or len(values) > len(elsewhere) or len(values) > 2:
            continue
        shown = " or ".join(sorted(value.strip("'") for value in values))
        yield f"fails only with {name} {shown} ({len(bad)} cases), passes with every other ({len(good)} cases)"
    yield from _by_size(bad, good)


def _counts(case: Case) -> dict[str, int]:
    facts = OPS[case.op].facts(case.args, case.shape)
    pixels = 1
    for size in case.shape[2:]:
        pixels *= size
    told = {"the number of values": facts.get("elements", 0), "C": facts.get("channels", 0), "H*W": pixels}
    told["N*H*W"] = facts.get("values_per_channel", 0) if "values_per_channel" in facts else pixels * case.shape[0]
    told["the number of values per slice"] = facts.get("normalised", 0)
    told["the last axis"] = case.shape[-1] if case.shape else 0
    return told


def _by_size(bad: Sequence[Case], good: Sequence[Case]) -> Iterator[str]:
    """A size beyond which, or a multiple off which, everything fails."""
    mine, others = [_counts(case) for case in bad], [_counts(case) for case in good]
    for name in mine[0]:
        fails, passes = {each[name] for each in mine}, {each[name] for each in others}
        if min(fails) > max(passes) > 1 and len(passes) > 2:
            yield f"fails only where {name} is {min(fails):,} or more, passes up to {max(passes):,}"
            return
        for block in _BLOCKS:
            if all(size % block for size in fails) and not any(size % block for size in passes) and len(passes) > 1:
                yield f"fails only where {name} is not a multiple of {block}, passes where it is"
                return
