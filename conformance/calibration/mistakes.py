"""Planted mistakes: whole implementations in float32 or float64 with one formula wrong in each.

Their names are those of ``references.mistakes``, which has the same mistakes as variants of the reference; here they
round like a kernel does, so that what is measured is whether the judge tells them from rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

from conformance.calibration.apply import PLAIN, Layer
from conformance.calibration.mistakes_backward import BACKWARD
from conformance.calibration.mistakes_buffers import BUFFERS
from conformance.calibration.mistakes_forward import FORWARD
from conformance.calibration.mistakes_window import WINDOW
from conformance.calibration.stable import RECIPES
from conformance.calibration.window import WINDOW_FORMS, WindowLayer
from conformance.ops import OPS
from conformance.suite.case import Case
from references.mistakes import MISTAKES

PLANTED: dict[str, type[Layer]] = FORWARD | BACKWARD | BUFFERS
PLANTED_IN_WINDOW: dict[str, type[WindowLayer]] = WINDOW
_RECIPE = next(recipe for recipe in RECIPES if recipe.name == "two-pass, pairwise")


def planted(case: Case) -> Iterator[tuple[str, Layer | WindowLayer]]:
    """Every mistake that can be made in the layer of a case, and is one in its format."""
    family = OPS[case.op].family
    params = OPS[case.op].parameters(case.args)
    tracks = bool(case.args.get("track_running_stats"))
    if family == "local_response_norm":
        for name, window in PLANTED_IN_WINDOW.items():
            yield name, window(case, WINDOW_FORMS[0])
        return
    for name, layer in PLANTED.items():
        entry = MISTAKES[name]
        if family not in entry.families or case.dtype not in entry.dtypes:
            continue
        if (name in BUFFERS and not tracks) or any(needed not in params for needed in layer.needs):
            continue
        yield name, layer(case, _RECIPE, PLAIN)
