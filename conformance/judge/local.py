"""Judging a whole network one call at a time, each from the tensors that the backend itself put in.

What goes into a module is taken as exact, whatever happened before it, so no error is carried from module to module
and a kink (ReLU, max pooling) cannot blow one up.  Where every call agrees with its reference and every tensor between
them is the one that came out of the call before, the whole network is right, by induction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Literal

import msgspec
import numpy as np

from conformance.captured import Captured
from conformance.judge.between import between
from conformance.judge.compare import compare
from conformance.judge.words import describe
from conformance.observation import Array
from conformance.record import Figure
from references.dropout import Dropout
from references.expected import Expected, Reference
from references.rounding import FORMATS, Class, precision

Outcome = Literal["fail", "pass", "not judged", "information"]
_ORDER: tuple[Outcome, ...] = ("fail", "not judged", "pass", "information")


@dataclass(frozen=True, slots=True)
class LocalFinding:
    """What is found about one call: the outcome, one sentence, and its figures, worst first."""

    name: str
    kind: str
    call: int
    outcome: Outcome
    reason: str = ""
    figures: tuple[Figure, ...] = ()

    @property
    def budget(self) -> float:
        """The worst error / allowed of its quantities; inf where something is wrong that has no number."""
        return _badness(self.figures[0])[1] if self.figures else 0.0

    def __str__(self) -> str:
        where = f"{self.name} ({self.kind}{f', call {self.call}' if self.call else ''})"
        return f"{where}: {self.outcome}{f': {self.reason}' if self.reason else ''}"


def judge_locally(captured: Sequence[Captured], labels: Mapping[str, Class] | None = None) -> tuple[LocalFinding, ...]:
    """Every call judged, and what happened between them: failures first and worst first, nothing left out.

    captured: in the order of the calls.
    labels: precision classes by dotted name, which may hold wildcards ("encoder.*.norm"); the first that fits counts.
    """
    seams = tuple(
        LocalFinding(seam.after.name, seam.after.kind, seam.after.call, "information", seam.sentence)
        for seam in between(captured)
    )
    return _worst_first((*judge_calls(captured, labels), *seams))


def judge_calls(captured: Sequence[Captured], labels: Mapping[str, Class] | None = None) -> tuple[LocalFinding, ...]:
    """Every call judged by itself, where a tensor between two calls cannot have changed, as in a graph."""
    return _worst_first([_judge_call(call, _label(call, labels or {})) for call in captured])


def call_figures(call: Captured, label: Class, step: int) -> tuple[Figure, ...]:
    """The figures of one call in one step, named by it; one that says why, where it cannot be judged."""
    why = call.unjudged or _obstacle(call)
    if why:
        return (Figure(quantity=f"{call}", step=step, budget=None, got="not judged", expected=why, source="structure"),)
    figures = _figures(call, _expected(call, label), label)
    return tuple(msgspec.structs.replace(each, quantity=f"{call} {each.quantity}", step=step) for each in figures)


def _worst_first(findings: Sequence[LocalFinding]) -> tuple[LocalFinding, ...]:
    return tuple(sorted(findings, key=lambda finding: (_ORDER.index(finding.outcome), -finding.budget)))


def _label(call: Captured, labels: Mapping[str, Class]) -> Class:
    return next((label for pattern, label in labels.items() if fnmatchcase(call.name, pattern)), call.label)


def _judge_call(call: Captured, label: Class) -> LocalFinding:
    why = call.unjudged or _obstacle(call)
    if why:
        return LocalFinding(call.name, call.kind, call.call, "not judged", why)
    expected = _expected(call, label)
    figures = _figures(call, expected, label)
    notes = [f"{name} not judged: {why}" for name, why in call.absent.items() if name in expected.quantities]
    if expected.undetermined_slices:
        notes.append(f"{expected.undetermined_slices:.0%} of its slices are undetermined")
    bad = bool(figures) and not figures[0].ok
    if bad:
        notes.insert(0, describe(figures[0]).removeprefix(f"step {figures[0].step} "))
        if label == "A" and _narrow(call) and all(figure.ok for figure in _figures(call, _expected(call, "B"), "B")):
            notes.insert(1, "agrees in class B, where intermediates are rounded as the input is")
    return LocalFinding(call.name, call.kind, call.call, "fail" if bad else "pass", "; ".join(notes), figures)


def _figures(call: Captured, expected: Expected, label: Class) -> tuple[Figure, ...]:
    """One figure per quantity that the backend can show and need not be missing, worst first."""
    figures = []
    for name, quantity in expected.quantities.items():
        if call.observes and not name.startswith(call.observes):
            continue
        if name in call.arrays:
            figures.append(compare(name, quantity, call.arrays[name], call.call, expected, label, None))
        elif name not in call.absent:
            figures.append(_nothing(name, call.call))
    return tuple(sorted(figures, key=_badness, reverse=True))


def _narrow(call: Captured) -> bool:
    return call.x is not None and call.x.dtype.name in ("bfloat16", "float16")


def _obstacle(call: Captured) -> str:
    """Why a reference cannot say anything about this call."""
    if not call.reference:
        return f"no reference for {call.kind}"
    if call.x is None:
        return "its input was not captured"
    if call.x.dtype.name not in FORMATS:
        return f"its input is {call.x.dtype.name}, which no reference takes"
    dtypes = sorted({array.dtype.name for array in _parameters(call)})
    if len(dtypes) > 1:
        return f"its parameters and buffers mix {' and '.join(dtypes)}; references take one dtype"
    return ""


def _parameters(call: Captured) -> list[Array]:
    """Parameters and buffers that hold real numbers."""
    return [array for array in (*call.params.values(), *call.buffers.values()) if array.dtype.kind not in "iu"]


def _expected(call: Captured, label: Class) -> Expected:
    assert call.x is not None
    dtype = call.x.dtype.name
    stored = next((array.dtype.name for array in _parameters(call)), dtype)
    module, _, name = call.reference.partition(":")
    reference: Reference = getattr(import_module(module), name)(call.args, dtype, stored, precision(dtype, label))
    upstream = call.grad_output if call.grad_output is not None else np.zeros_like(call.arrays.get("output", call.x))
    if isinstance(reference, Dropout) and "output" in call.arrays:
        return reference.given(call.x, upstream, call.arrays, call.mode)  # by the mask that its output shows
    return reference.step(call.x, upstream, call.params, reference.initial(call.buffers), call.mode)


def _nothing(name: str, step: int) -> Figure:
    return Figure(
        quantity=name, step=step, budget=None, got="nothing", expected="an array", source="structure", ok=False
    )


def _badness(figure: Figure) -> tuple[bool, float]:
    return not figure.ok, float("inf") if figure.budget is None and not figure.ok else figure.budget or 0.0
