"""One configuration: every correct implementation and every planted mistake on the same arrays, judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.apply import FORMS, Layer
from conformance.calibration.draw import draw_case, draw_inputs, draw_powers
from conformance.calibration.mistakes import planted
from conformance.calibration.outcome import Kind, Outcome, Worst
from conformance.calibration.rivals import assert_close_passes, decided, ulps_pass
from conformance.calibration.stable import RECIPES
from conformance.calibration.visibility import Yardstick, judged
from conformance.calibration.window import WINDOW_FORMS, WindowLayer
from conformance.inputs.make import stored
from conformance.judge import Expectation, describe
from conformance.judge.allowance import storage_rounding
from conformance.judge.verdict import figures_of
from conformance.observation import Observation, StepObservation, Unsupported
from conformance.record import Figure
from conformance.suite.case import Case
from references.expected import Expected
from references.rounding import FORMATS, Class

Array = NDArray[Any]
Raw = list[dict[str, Array]]

#: the planted mistakes run on one configuration in so many
MISTAKES_EVERY = 6


def examine(seed: int, index: int) -> list[Outcome]:
    """Every execution on configuration ``index``."""
    return list(_Examination(draw_case(seed, index), seed, index).outcomes())


def implementations(case: Case, index: int) -> Iterator[tuple[str, str, Layer | WindowLayer]]:
    """Name, form and implementation; every recipe meets every form as the index goes on."""
    if case.op == "LocalResponseNorm":
        for window in WINDOW_FORMS:
            yield window.name, "", WindowLayer(case, window)
        return
    for number, recipe in enumerate(RECIPES):
        form = FORMS[(index + number) % len(FORMS)]
        yield recipe.name, str(form), Layer(case, recipe, form)


def stored_steps(case: Case, raw: Raw) -> Observation:
    """Rounded once, to the format in which the quantity is stored."""
    steps = []
    with np.errstate(all="ignore"):
        for quantities in raw:
            arrays = {}
            for name, array in quantities.items():
                if array.dtype.kind in "iu":
                    arrays[name] = array
                else:
                    own = name in ("output", "grad_input")
                    arrays[name] = stored(array, case.dtype if own else case.param_dtype)
            steps.append(StepObservation(arrays))
    return Observation(tuple(steps))


class _Examination:
    def __init__(self, case: Case, seed: int, index: int) -> None:
        self.case, self.index = case, index
        self.inputs = draw_inputs(case, seed, index)
        power, _ = draw_powers(case, seed, index)
        self.data = f"{case.data} times 2^{power}" if power else case.data
        self.expectation = Expectation(case, self.inputs)
        self.steps: Sequence[Expected] = self.expectation.steps()

    def outcomes(self) -> Iterator[Outcome]:
        runs = [(name, form, layer.run(self.inputs)) for name, form, layer in implementations(self.case, self.index)]
        yardstick = Yardstick(self.case, list(self.steps), (raw for _, _, raw in runs))
        for name, form, raw in runs:
            yield self._outcome("own", name, stored_steps(self.case, raw), yardstick, form=form)
        for kind, name, label, observation in self._frameworks():
            yield self._outcome(kind, name, observation, yardstick, label)
        if self.index % MISTAKES_EVERY == 0:
            for name, layer in planted(self.case):
                observation = stored_steps(self.case, layer.run(self.inputs))
                yield self._outcome("mistake", name, observation, yardstick)

    def _frameworks(self) -> Iterator[tuple[Kind, str, Class, Observation]]:
        narrow = self.case.dtype in ("bfloat16", "float16")
        torch, nodes, precision_of = _backends()
        with np.errstate(all="ignore"):
            if torch.unsupported(self.case) is None:
                try:
                    observation = torch.run(self.case, self.inputs)
                except Unsupported:
                    observation = None
                if observation is not None and observation.raised is None:
                    plain = Observation(tuple(StepObservation(step.arrays) for step in observation.steps))
                    yield "torch", f"torch {self.case.dtype}", "B" if narrow else "A", plain
            if nodes.unsupported(self.case) is None:
                try:
                    observation = nodes.run(self.case, self.inputs)
                except Unsupported:
                    return
                yield "onnxruntime", f"onnxruntime {self.case.dtype}", precision_of(self.case), observation

    def _outcome(
        self,
        kind: Kind,
        name: str,
        observation: Observation,
        yardstick: Yardstick,
        label: Class = "A",
        *,
        form: str = "",
    ) -> Outcome:
        case, got = self.case, [step.arrays for step in observation.steps]
        observes = ("output",) if kind == "onnxruntime" else ()
        figures = figures_of(case, self.expectation, observation, observes, label)
        bad = [figure for figure in figures if not figure.ok]
        place = ", ".join(part for part in (case.op, case.dtype, case.param_dtype, self.data, form) if part)
        top = figures[0]
        beyond_a: tuple[str, ...] = ()
        if label == "B":
            strict = figures_of(case, self.expectation, observation, observes, "A")
            beyond_a = tuple(figure.quantity for figure in strict if not figure.ok)
        close, ulps = self._rivals(got)
        return Outcome(
            kind,
            name,
            self.index,
            case.op,
            case.dtype,
            case.param_dtype,
            Worst(_budget(top), top.quantity, self.index, place),
            failed=bool(bad),
            visible=yardstick.visible(got) if kind == "mistake" or bad else False,
            close=close,
            ulps=ulps,
            narrow=label == "B",
            beyond_a=beyond_a,
            strains=() if kind == "mistake" else self._strains(got[0], label),
            carried=_carried(case, figures) if kind != "mistake" and len(got) > 1 else None,
            said=describe(bad[0]) if bad and kind != "mistake" else "",
        )

    def _strains(self, got: Mapping[str, Array], label: Class) -> tuple[tuple[str, float], ...]:
        """The largest (error - rounding on store) / d of each quantity of the first step, whose buffers are exact."""
        strains = []
        with np.errstate(all="ignore"):
            for name, quantity in judged(self.expectation.steps(label)[0]):
                if name in got:
                    error = np.abs(got[name].astype(quantity.value.dtype) - quantity.value)
                    beyond = error - storage_rounding(quantity.value, FORMATS[quantity.stored])
                    share = np.where(decided(quantity) & np.isfinite(error), beyond / quantity.scale, 0)
                    strains.append((name, float(np.nanmax(share, initial=0))))
        return tuple(strains)

    def _rivals(self, got: Sequence[Mapping[str, Array]]) -> tuple[bool, bool]:
        """Whether assert_close's defaults and the distance in ulps fail any quantity of any step."""
        close = ulps = False
        with np.errstate(all="ignore"):
            for expected, step in zip(self.steps, got, strict=True):
                for name, quantity in judged(expected):
                    if name in step:
                        close = close or not assert_close_passes(quantity, step[name])
                        ulps = ulps or not ulps_pass(quantity, step[name])
        return close, ulps


def _budget(figure: Figure) -> float:
    if figure.budget is None:
        return 0.0 if figure.ok else float("inf")
    return figure.budget


def _carried(case: Case, figures: Sequence[Figure]) -> tuple[float, float]:
    """The largest budgets after the first step: of buffers, and of everything else in eval steps."""
    buffers = evaluated = 0.0
    for figure in figures:
        for mode, budget in list(zip(case.steps, figure.budgets, strict=False))[1:]:
            if figure.quantity.startswith("buffer."):
                buffers = max(buffers, budget or 0.0)
            elif mode == "eval":
                evaluated = max(evaluated, budget or 0.0)
    return buffers, evaluated


@cache
def _backends() -> tuple[Any, Any, Any]:
    """Imported where they are used: a process that only draws the table needs neither torch nor onnxruntime."""
    from conformance.backends.onnx_nodes import OnnxNodes, precision_of
    from conformance.backends.torch_module import TorchModule

    return TorchModule("torch-cpu", "cpu"), OnnxNodes(), precision_of
