"""The likely cause in words."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.record import Cause, Record, Suspicion

FACTS_SHOWN = 6


def lines_of(cause: Cause) -> Iterator[str]:
    """A few lines: each mistake with its sentence, how much they explain, and what else is known."""
    where = f"{cause.op} on {cause.backend}"
    if cause.mistakes:
        yield f"likely cause of {where}"
        for entry in cause.mistakes:
            for place, name in enumerate(entry):
                before = "or " if place else "   " * (len(entry) > 1)
                yield f"   {before}{name}: {cause.says.get(name, '')}"
        yield f"   {extent(cause)}"
    else:
        yield f"likely cause of {where}: none of the known mistakes"
    for fact in cause.facts[:FACTS_SHOWN]:
        yield f"   {fact}"
    for limit in cause.limits:
        yield f"   not all was searched: {limit}"


def extent(cause: Cause) -> str:
    """How much is explained."""
    values = f"reproduces {cause.values:,} of {cause.wrong:,} values" if cause.wrong else "no values are wrong"
    if cause.wrong and cause.values == cause.wrong:
        values = f"reproduces all {cause.wrong:,} values"
    cases = f"all {cause.failing:,}" if cause.cases == cause.failing else f"{cause.cases:,} of {cause.failing:,}"
    return f"{values}; explains {cases} failing case{'' if cause.failing == 1 else 's'}"


def likely(record: Record, causes: tuple[Cause, ...]) -> str:
    """One line for one failure; empty where nothing is known."""
    suspicion = record.suspicion
    if suspicion is None:
        return ""
    cause = next((each for each in causes if (each.op, each.backend) == (record.op, record.backend)), None)
    if cause is None:
        return ""
    members = {name for entry in cause.mistakes for name in entry}
    names = [name for name in _of(suspicion, members) if name]
    if names:
        values = f" (reproduces {_values(suspicion, members)})" if suspicion.values else ""
        return f"likely cause: {', '.join(names)}{values}"
    if cause.facts:
        return f"no known mistake explains it; {cause.facts[0]}"
    return ""


def _of(suspicion: Suspicion, members: set[str]) -> list[str]:
    fitting = [each for each in suspicion.explanations if set(each.mistakes) <= members]
    names = list(max(fitting, key=lambda each: each.values).mistakes) if fitting else []
    return [*names, *suspicion.faults]


def _values(suspicion: Suspicion, members: set[str]) -> str:
    best = max((each.values for each in suspicion.explanations if set(each.mistakes) <= members), default=0)
    return (
        f"all {suspicion.values:,} values" if best == suspicion.values else f"{best:,} of {suspicion.values:,} values"
    )
