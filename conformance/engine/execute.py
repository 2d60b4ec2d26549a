"""One case on one backend, in this process: the decision that every front end shares."""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec

from conformance.backends.contract import Backend
from conformance.backends.failure import Failure, Investigator
from conformance.engine.plan import plain_record
from conformance.inputs import Inputs
from conformance.observation import Array, Observation, Unsupported
from conformance.record import BAD, Figure, Record, Suspicion, Verdict
from conformance.suite.case import Case, Divergence

DETAIL_LIMIT = 8_000  # characters of somebody else's text that a record keeps


class Judged(Protocol):
    """What a judge says."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def reason(self) -> str: ...
    @property
    def figures(self) -> tuple[Figure, ...]: ...
    @property
    def divergence(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts of the harness that execute a case, named so that tests can put others in their place.

    ``judge(case, expectation, observation, observes, divergences)`` is the verdict with its figures.
    ``rounded(expectation)`` is what is expected of each step, by quantity, as it would be stored.
    ``suspects(case, expectation, observation, observes, figures, backend)`` is what a failure says about its cause.
    """

    load: Callable[[str], Backend]
    make_inputs: Callable[[Case], Inputs]
    expect: Callable[[Case, Inputs], Any]
    judge: Callable[[Case, Any, Observation, tuple[str, ...], Sequence[Divergence]], Judged]
    devices: Callable[[], dict[str, str]]
    rounded: Callable[[Any], tuple[dict[str, Array], ...]] = lambda expectation: ()  # noqa: ARG005 - where nothing is expected
    suspects: Callable[[Case, Any, Observation, tuple[str, ...], Sequence[Figure], str], Suspicion | None] = (
        lambda case, expectation, observation, observes, figures, backend: None  # noqa: ARG005 - where nobody asks
    )


def tools_from(name: str) -> Tools:
    """The tools that the function ``module:function`` returns."""
    module, _, function = name.partition(":")
    tools = getattr(importlib.import_module(module), function)()
    assert isinstance(tools, Tools)
    return tools


@dataclass(frozen=True, slots=True)
class Seat:
    """A backend as it was found here: either usable, or missing with the reason."""

    name: str
    backend: Backend | None
    missing: str
    versions: Mapping[str, str]


def take_seat(name: str, tools: Tools) -> Seat:
    """Load a backend and ask whether it can run here; a package that is not installed makes it missing."""
    try:
        backend = tools.load(name)
    except ImportError as error:
        return Seat(name, None, f"{error}", {})
    missing = backend.available()
    return Seat(name, backend if missing is None else None, missing or "", dict(backend.versions()))


class SharedCase:
    """A case with what all its backends share: the inputs and the expectation, computed when first needed."""

    def __init__(self, case: Case, tools: Tools) -> None:
        self.case = case
        self._tools = tools

    @cached_property
    def inputs(self) -> Inputs:
        return self._tools.make_inputs(self.case)

    @cached_property
    def expectation(self) -> Any:
        return self._tools.expect(self.case, self.inputs)


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def execute(
    shared: SharedCase,
    seat: Seat,
    tools: Tools,
    divergences: Mapping[str, Divergence],
    evidence: Path | None = None,
) -> Record:
    """The record of one case on one backend; never raises but for KeyboardInterrupt and the like.

    divergences: by id, those that can hold on this backend.
    evidence: the folder in which a backend may keep what shows a failure.
    """
    case = shared.case
    if seat.backend is None:
        return plain_record(case, seat.name, "missing", seat.missing)
    started = time.perf_counter()
    try:
        record = _run(shared, seat, seat.backend, tools, divergences, evidence)
    except Exception as error:  # noqa: BLE001 - whatever our own code raises is the verdict of this pair alone
        text = f"conformance itself failed: {type(error).__name__}: {first_line(str(error))}"
        detail = traceback.format_exc()[-DETAIL_LIMIT:]
        record = plain_record(case, seat.name, "error", text, detail=detail)
    return msgspec.structs.replace(record, seconds=round(time.perf_counter() - started, 6))


def _run(
    shared: SharedCase,
    seat: Seat,
    backend: Backend,
    tools: Tools,
    divergences: Mapping[str, Divergence],
    evidence: Path | None,
) -> Record:
    case = shared.case
    why_not = backend.unsupported(case)
    if why_not is not None:
        return plain_record(case, seat.name, "unsupported", why_not)
    try:
        observation: Observation = backend.run(case, shared.inputs)
    except Unsupported as words:
        text = str(words)
        reason = first_line(text)
        return plain_record(
            case, seat.name, "unsupported", reason, detail="" if text.strip() == reason else text[:DETAIL_LIMIT]
        )
    declared = [divergences[name] for name in case.divergences if name in divergences]
    judged = tools.judge(case, shared.expectation, observation, tuple(backend.observes), declared)
    detail = ""
    if judged.verdict == "fail" and isinstance(backend, Investigator):

        def agrees(other: Observation) -> bool:
            return tools.judge(case, shared.expectation, other, tuple(backend.observes), declared).verdict not in BAD

        step = judged.figures[0].step if judged.figures else 0
        folder = None if evidence is None else evidence / f"{case.key}-{seat.name}"
        expected = tools.rounded(shared.expectation)
        detail = _investigated(backend, Failure(case, shared.inputs, observation, step, expected, agrees, folder))
    suspicion = None
    if judged.verdict in BAD:
        suspicion = _suspected(shared, seat, tuple(backend.observes), observation, judged.figures, tools)
    return msgspec.structs.replace(
        plain_record(case, seat.name, judged.verdict, judged.reason, detail=detail),
        figures=tuple(judged.figures),
        divergence=judged.divergence or "",
        suspicion=suspicion,
    )


def _suspected(
    shared: SharedCase,
    seat: Seat,
    observes: tuple[str, ...],
    observation: Observation,
    figures: Sequence[Figure],
    tools: Tools,
) -> Suspicion | None:
    """What the failure says about its cause; that the search for it failed is said where the cause would be."""
    try:
        return tools.suspects(shared.case, shared.expectation, observation, observes, figures, seat.name)
    except Exception as error:  # noqa: BLE001 - the verdict stands, whatever happens here
        return Suspicion(limit=f"the search failed: {type(error).__name__}: {first_line(str(error))}")


def _investigated(backend: Investigator, failure: Failure) -> str:
    """What the backend finds out; that it cannot is worth a line and no more."""
    try:
        return backend.investigate(failure)[:DETAIL_LIMIT]
    except Exception as error:  # noqa: BLE001 - the verdict stands, whatever happens here
        return f"the failure could not be looked into: {type(error).__name__}: {first_line(str(error))}"
