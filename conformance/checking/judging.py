"""How candidates are judged: their numbers like everybody's, the manners of torch as remarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from conformance.backends.candidate.spec import TOLD
from conformance.checking.remarks import MANNERS, REMARK, USAGE, decisive
from conformance.checking.trials import TRIAL
from conformance.diagnose import Searches
from conformance.engine.execute import Judged, Tools
from conformance.engine.tools import standard
from conformance.judge.structure import expected_structure
from conformance.judge.verdict import Judgement
from conformance.observation import Observation
from conformance.record import Figure, Suspicion
from conformance.suite.case import Case, Divergence

QUICK_SEARCH = 2.0  # CPU seconds in each process
QUICK_ELEMENTS = 20_000  # of a case whose cause is looked for


def tools(searches: Searches | None = None) -> Tools:
    """The tools of a real run, with a judge that asks a candidate for its numbers and not for torch's manners.

    What torch refuses, a candidate may refuse in its own words; that it does not is a remark.  So are the memory format
    of the output, the names in the state_dict, and a count of batches that is not kept.
    """
    usual = standard()
    search = usual.suspects if searches is None else searches

    def judge(
        case: Case, expectation: Any, seen: Observation, observes: tuple[str, ...], divergences: Sequence[Divergence]
    ) -> Judged:
        remarks = _remarks(case, seen)
        if seen.raised is not None and seen.raised.type == "UsageError":
            figure = Figure(quantity="use", step=0, budget=None, got=seen.raised.message, ok=False, source=USAGE)
            return Judgement("error", seen.raised.message.splitlines()[0], (figure,))
        if case.raises is not None:
            if seen.raised is None:
                wanted = f"{case.raises.type} matching {case.raises.match!r}"
                remarks.append(_remark("refusal", "no exception", wanted))
            return Judgement("pass", "", tuple(remarks))
        judged = usual.judge(case, expectation, _without_manners(seen, expectation), observes, divergences)
        assert isinstance(judged, Judgement)
        return replace(judged, figures=(*judged.figures, *remarks))

    def suspects(
        case: Case, expectation: Any, seen: Observation, observes: tuple[str, ...], figures: Sequence[Figure], name: str
    ) -> Suspicion | None:
        if case.group == TRIAL or any(figure.source == USAGE for figure in figures):  # or it was not run
            return None
        return search(case, expectation, seen, observes, decisive(figures), name)

    return replace(usual, judge=judge, suspects=suspects)


def quick_tools() -> Tools:
    """The same, with little time for the search for the cause: who asks for few cases wants to know soon."""
    return tools(searches=Searches(QUICK_SEARCH, QUICK_ELEMENTS))


def trial_tools() -> Tools:
    """The same, without asking what is wrong."""
    return replace(tools(), suspects=lambda *_: None)


def _remark(quantity: str, got: str, expected: str = "") -> Figure:
    return Figure(quantity=quantity, step=0, budget=None, got=got, expected=expected, source=REMARK)


def _remarks(case: Case, seen: Observation) -> list[Figure]:
    """What the first step tells of the candidate, and where it lacks torch's manners."""
    if not seen.steps:
        return []
    told = seen.steps[0].structure
    expected = expected_structure(case)
    found = [_remark(TOLD, told[TOLD])] if TOLD in told else []
    for step in seen.steps:
        name = "memory_format"
        if name in expected and name in step.structure and step.structure[name] != expected[name]:
            return [*found, _remark(name, step.structure[name], expected[name])]
    return found


def _without_manners(seen: Observation, expectation: Any) -> Observation:
    """The observation without what only makes a remark; a count that is not kept is taken for right."""
    steps = []
    for number, step in enumerate(seen.steps):
        structure = {name: value for name, value in step.structure.items() if name not in MANNERS}
        arrays = dict(step.arrays)
        for name in filter(None, structure.pop("not_kept", "").split(",")):
            quantity = f"buffer.{name}"
            expected = expectation.steps()[number].quantities.get(quantity)
            if quantity not in arrays and expected is not None and expected.stored == "int64":
                arrays[quantity] = expected.value
        steps.append(replace(step, arrays=arrays, structure=structure))
    return replace(seen, steps=tuple(steps))
