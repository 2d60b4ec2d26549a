"""From figures to a verdict."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec
import numpy as np

from conformance.judge.allowance import tolerance_for
from conformance.judge.compare import Compared, Pair, compare_all
from conformance.judge.expectation import Expectation
from conformance.judge.law import mask_figures
from conformance.judge.network import is_judged, is_local, network_figures, worst_of_each
from conformance.judge.structure import compare_structure, expected_structure
from conformance.judge.words import describe
from conformance.observation import Observation, Raised
from conformance.ops import OPS
from conformance.record import Figure, Verdict
from conformance.suite.case import Case, Divergence, Raises
from references.rounding import Class

#: A case of which more than this fraction is undetermined tests nothing, unless it says that robustness is its subject.
UNDETERMINED_LIMIT = 0.2


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, one sentence that a person can act on, and the worst figure of each quantity, worst first."""

    verdict: Verdict
    reason: str = ""
    figures: tuple[Figure, ...] = ()
    divergence: str = ""


def judge(
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...] = (),
    divergences: Sequence[Divergence] = (),
) -> Judgement:
    """The verdict of one observation.

    observes: the prefixes of the quantities that the backend can show; empty means all.
    divergences: those whose conditions hold for this case, this backend and its versions.
    """
    if case.raises is not None:
        return _judge_refusal(case.raises, observation.raised, divergences)
    if observation.raised is not None:
        return _judge_exception(observation.raised, divergences)
    if not case.robustness and (share := expectation.undetermined()) > UNDETERMINED_LIMIT:
        return Judgement(
            "error",
            f"bad case: {share:.0%} of its slices are undetermined; change its data, or mark it `robustness: true`",
        )
    figures = figures_of(case, expectation, observation, observes, "A")
    bad = [figure for figure in figures if not figure.ok]
    if not bad and OPS[case.op].judged == "network" and not is_judged(case, observation):
        why = "in narrow formats, and with dropout, networks can be judged module by module alone"
        return Judgement("unsupported", f"{why}, and this backend does not show its modules", figures)
    if not bad:
        return _judge_agreement(figures, divergences)
    return _judge_deviation(case, expectation, observation, observes, figures, divergences)


def figures_of(
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...],
    label: Class,
    variant: str = "",
) -> tuple[Figure, ...]:
    """The worst figure of each quantity over all steps, worst first; every step's budget is kept beside it.

    variant: the definition to compare with, where it is not the op's own.
    """
    if OPS[case.op].judged == "network":
        return _figures_of_network(case, expectation, observation, observes, label)
    found: list[Pair | Figure] = []
    structure = expected_structure(case)
    steps = expectation.steps_for(observation, label, variant)
    for number, (expected, seen) in enumerate(zip(steps, observation.steps, strict=True)):
        for name, quantity in expected.quantities.items():
            if not expectation.wanted(name) or (observes and not name.startswith(observes)):
                continue
            if name in seen.arrays:
                tolerance = tolerance_for(case, name)
                found.append(Pair(name, quantity, np.asarray(seen.arrays[name]), number, expected, label, tolerance))
            else:
                found.append(_nothing(name, number))
        found += compare_structure(structure, seen.structure, number)
    if OPS[case.op].judged == "law":
        found += mask_figures(case, expectation.inputs, observation)
    by_name: dict[str, list[Figure | Compared]] = {}
    for compared in compare_all(found):
        by_name.setdefault(compared.quantity, []).append(compared)
    worst = [_worst(steps) for steps in by_name.values()]
    return tuple(sorted(worst, key=_badness, reverse=True))


def _figures_of_network(
    case: Case, expectation: Expectation, observation: Observation, observes: tuple[str, ...], label: Class
) -> tuple[Figure, ...]:
    by_name: dict[str, list[Figure]] = {}
    structure = expected_structure(case)
    for figure in network_figures(case, expectation, observation, observes, label):
        by_name.setdefault(figure.quantity, []).append(figure)
    for number, seen in enumerate(observation.steps):
        for figure in compare_structure(structure, seen.structure, number):
            by_name.setdefault(figure.quantity, []).append(figure)
    return tuple(worst_of_each(sorted(map(_worst, by_name.values()), key=_network_badness, reverse=True)))


def _network_badness(figure: Figure) -> tuple[bool, bool, float]:
    """Failing modules before what follows from them further on."""
    bad, budget = _badness(figure)
    return bad, bad and is_local(figure), budget


def _nothing(quantity: str, step: int) -> Figure:
    return Figure(
        quantity=quantity, step=step, budget=None, got="nothing", expected="an array", source="structure", ok=False
    )


def _badness(figure: Figure | Compared) -> tuple[bool, float]:
    return not figure.ok, float("inf") if figure.budget is None and not figure.ok else figure.budget or 0.0


def _worst(steps: Sequence[Figure | Compared]) -> Figure:
    if len(steps) == 1:
        return _drawn_up(steps[0])
    worst = _drawn_up(max(steps, key=_badness))
    over = [_drawn_up(step).relative for step in steps if not step.ok]
    relative = _largest(over) if over else worst.relative
    return msgspec.structs.replace(
        worst, budgets=tuple(step.budget for step in steps) if len(steps) > 1 else (), relative=relative
    )


def _drawn_up(step: Figure | Compared) -> Figure:
    return step if isinstance(step, Figure) else step.figure()


def _largest(sizes: list[float | None]) -> float | None:
    """The largest size; None stands for infinite."""
    finite = [size for size in sizes if size is not None]
    return max(finite) if len(finite) == len(sizes) else None


# ---- exceptions -----------------------------------------------------------------------------------------------------


def _is(raised: Raised, raises: Raises) -> bool:
    return raised.type == raises.type and re.search(raises.match, raised.message) is not None


def _at(raised: Raised) -> str:
    return "construction" if raised.step < 0 else f"step {raised.step}"


def _judge_refusal(raises: Raises, raised: Raised | None, divergences: Sequence[Divergence]) -> Judgement:
    wanted = f"{raises.type} matching {raises.match!r}"
    if raised is not None and _is(raised, raises):
        return Judgement("pass")
    got = f"{raised.type} in {_at(raised)}: {_first_line(raised.message)}" if raised else "no exception"
    for divergence in divergences:
        expected = divergence.raises
        silent = raised is None and expected is None and not _speaks_of_values(divergence)
        if silent or (expected and raised and _is(raised, expected)):
            return Judgement("known", f"{divergence.why} (got {got})", divergence=divergence.id)
    return Judgement("fail", f"expected {wanted}, got {got}")


def _speaks_of_values(divergence: Divergence) -> bool:
    """Whether it declares how values deviate, which says nothing of a refusal that does not come."""
    return bool(divergence.size or divergence.precision or divergence.reference or divergence.quantities)


def _judge_exception(raised: Raised, divergences: Sequence[Divergence]) -> Judgement:
    got = f"{raised.type} in {_at(raised)}: {_first_line(raised.message)}"
    for divergence in divergences:
        if divergence.raises is not None and _is(raised, divergence.raises):
            return Judgement("known", f"{divergence.why} (got {got})", divergence=divergence.id)
    return Judgement("error", f"{got}; the definition has a value here")


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "(no message)"


# ---- values ---------------------------------------------------------------------------------------------------------


def _judge_agreement(figures: tuple[Figure, ...], divergences: Sequence[Divergence]) -> Judgement:
    for divergence in divergences:
        if divergence.always:
            where = f"divergence {divergence.id} ({divergence.origin})"
            reason = f"{where} is no longer seen here: delete it or narrow its range"
            return Judgement("fixed", reason, figures, divergence.id)
    # the others may agree by luck of the data; the report says so of those that no case of a run shows
    return Judgement("pass", "", figures, ",".join(divergence.id for divergence in divergences))


def _judge_deviation(
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...],
    figures: tuple[Figure, ...],
    divergences: Sequence[Divergence],
) -> Judgement:
    """Known where every deviating quantity is explained by a declared divergence within its size; else a failure."""
    notes, used = [], []
    for figure in (figure for figure in figures if not figure.ok):
        explained, note = False, ""
        for divergence in divergences:
            explained, said = _explains(divergence, figure, case, expectation, observation, observes)
            note = note or said
            if explained:
                used.append(divergence)
                break
        if not explained:
            notes.append(describe(figure) + (f"; {note}" if note else ""))
    if notes:
        return Judgement("fail", notes[0], figures)
    names = list(dict.fromkeys(divergence.id for divergence in used))
    met = "".join(
        _met(divergence, case, expectation, observation, observes) for divergence in used[:1] if divergence.reference
    )
    return Judgement("known", used[0].why + met, figures, ",".join(names))


def _met(
    divergence: Divergence, case: Case, expectation: Expectation, observation: Observation, observes: tuple[str, ...]
) -> str:
    """How well a definition is met that a divergence puts in the place of the op's own."""
    again = _by_claim(divergence, case, expectation, observation, observes)
    worst = next((figure for figure in again if figure.budget is not None), None)
    if worst is None:
        return ""
    at = f"step {worst.step} {worst.quantity}"
    return f" (meets the {divergence.reference} definition: at worst {worst.budget:.3g} x allowed, {at})"


def _by_claim(
    divergence: Divergence, case: Case, expectation: Expectation, observation: Observation, observes: tuple[str, ...]
) -> tuple[Figure, ...]:
    """The figures that a divergence speaks for, by the precision class and the definition that it claims."""
    label, variant = divergence.precision or "A", divergence.reference
    return tuple(
        figure
        for figure in figures_of(case, expectation, observation, observes, label, variant)
        if figure.source != "structure" and (not divergence.quantities or _names(divergence, figure))
    )


def _names(divergence: Divergence, figure: Figure) -> bool:
    """Quantities may hold wildcards, as in networks, where they name modules: ``* (LayerNorm) grad.*``."""
    return any(fnmatchcase(figure.quantity, pattern) for pattern in divergence.quantities)


def _explains(
    divergence: Divergence,
    figure: Figure,
    case: Case,
    expectation: Expectation,
    observation: Observation,
    observes: tuple[str, ...],
) -> tuple[bool, str]:
    """Whether a divergence accounts for a figure that is over its allowance, and if nearly, what is in the way."""
    where = f"divergence {divergence.id} ({divergence.origin})"
    bounds = next((each for pattern, each in divergence.size.items() if fnmatchcase(figure.quantity, pattern)), None)
    if bounds is not None:
        low, high = bounds
        size = float("inf") if figure.relative is None else figure.relative
        if size > high:
            return False, f"{where} allows {high:g} of the data, this is {size:.3g}"
        if size < low:
            return False, f"{where} declares at least {low:g} of the data, this is {size:.3g}: narrow its range"
        if divergence.precision is None:
            return True, ""
    covered = not divergence.quantities or _names(divergence, figure)
    if covered and figure.source != "structure" and (divergence.precision is not None or divergence.reference):
        again = _by_claim(divergence, case, expectation, observation, observes)
        # a class excuses one quantity by itself, a definition is met as a whole or not at all
        asked = again if divergence.reference else [other for other in again if other.quantity == figure.quantity]
        beyond = next((other for other in asked if not other.ok), None)
        if beyond is None:
            return True, ""
        claim = f"the {divergence.reference} definition" if divergence.reference else f"class {divergence.precision}"
        rest = f": {describe(beyond)}" if divergence.reference else ""
        return False, f"{where} claims {claim}, which this exceeds{rest}"
    return _names(divergence, figure) and figure.source in ("structure", "exact", "law"), ""
