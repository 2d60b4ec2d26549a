"""The page of a mistake: two formulas, and the numbers that they give where it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.explain.chapters.chapter import Chapter
from conformance.explain.page import Drawing
from conformance.explain.pages import GROUPS, MISTAKE_PAGES, MistakePage
from conformance.explain.small import Showing, showing
from conformance.explain.trial import Trial
from conformance.ops import OPS
from conformance.reference import build_reference
from references.mistakes import MISTAKES, Mistake

_SHOWN_VALUES = 8  # of a slice; more are not read


def mistake_chapter(name: str) -> Chapter:
    mistake = MISTAKES[name]
    page = MISTAKE_PAGES.get(name, MistakePage("the definition", mistake.says, ""))
    parts: list[str | Drawing | Trial] = [f"{mistake.says[0].upper()}{mistake.says[1:]}."]
    found = showing(mistake)
    if found is None:
        parts.append("No small case shows it.")
    else:
        parts.append(
            Trial(
                found.experiment,
                found.quantity,
                found.index,
                _what(found),
                (page.right, ""),
                {name: ""},
                step=found.step,
                others=lambda: _elsewhere(mistake, page),
            )
        )
        if lines := _slice(found):
            parts.append(Drawing(tuple(lines)))
        if np.isfinite(found.ratio):
            parts.append(f"The two are {found.ratio:.3g} times as far apart as rounding can explain.")
    if page.met:
        parts.append(page.met)
    families = sorted({op.name for op in OPS.values() if op.family in mistake.families})
    parts.append(f"It can be made in {', '.join(families)}; it shows first in {mistake.shows}.")
    return Chapter(tuple(parts), tuple(_neighbours(name)))


def _elsewhere(mistake: Mistake, page: MistakePage) -> Iterator[Trial]:
    """Where it shows in each family of layers."""
    for family in mistake.families:
        found = showing(replace(mistake, families=(family,)))
        if found is not None:
            formulas = (page.right, ""), {mistake.id: ""}
            yield Trial(found.experiment, found.quantity, found.index, _what(found), *formulas, step=found.step)


def _what(found: Showing) -> str:
    case = found.experiment.case
    at = f"[{', '.join(map(str, found.index))}]" if found.index else ""
    args = {
        name: value
        for name, value in case.args.items()
        if value != OPS[case.op].defaults().get(name) and name not in ("num_features", "num_channels")
    }
    given = ", ".join(f"{name}={value}" for name, value in args.items())
    step = f", step {found.step} of {', '.join(case.steps)}" if len(case.steps) > 1 else f", {case.steps[0]}"
    quantity = found.quantity.removeprefix("buffer.")
    return f"{quantity}{at} of {case.op}({given}), {case.dtype}, input {list(case.shape)}{step}"


def _slice(found: Showing) -> list[str]:
    """The values that are normalised together with the one that is shown, where they are few."""
    reference: Any = build_reference(found.experiment.case)
    x = found.experiment.inputs.steps[found.step].x
    if not hasattr(reference, "fold") or found.quantity not in ("output", "grad_input"):
        return []
    fold = reference.fold(x.shape)
    if not 0 < fold.elements <= _SHOWN_VALUES:
        return []
    places = fold.fold(np.arange(x.size).reshape(x.shape))
    row = int(np.argwhere(places == np.ravel_multi_index(found.index, x.shape))[0][0])
    values = fold.fold(x.astype(np.float64))[row]
    shown = "  ".join(f"{value:.5g}" for value in values)
    mean, variance = float(values.mean()), float(values.var())
    return [
        f"x in its slice: {shown}",
        f"mean {mean:.5g}   variance {variance:.5g}   mean square {float((values**2).mean()):.5g}",
    ]


def _neighbours(name: str) -> list[str]:
    """The topic that is nearest, and mistakes like this one."""
    for title, group in GROUPS.items():
        if name in group:
            others = [each for each in group if each != name]
            place = list(group).index(name)
            return [*_TOPIC_OF.get(title, ()), *(others[place : place + 2] or others[-2:])]
    return []


_TOPIC_OF = {
    "mean, variance and eps": ("eps",),
    "the affine map": ("affine",),
    "what is normalised together": ("axes",),
    "too little precision": ("low-precision-accumulation",),
    "gradients": ("train-step-order",),
    "running buffers": ("running-mean",),
}
