"""A small case in which a mistake shows, found by computing candidates; the numbers of its page are taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np

from conformance.errors import ConformanceError
from conformance.explain.experiment import Experiment, defined, seen_by
from conformance.inputs import make_inputs
from conformance.judge.allowance import allowance
from conformance.observation import Array, Observation, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case, Mode, Origin
from references.expected import Expected, Quantity
from references.mistakes import Mistake

ENOUGH = 10.0  # times the allowed error
_PLAIN = 0.05  # a difference that is seen in the first digits
_LARGEST = 20_000  # elements, of cases of the suite

#: family -> op, shape, arguments; the small ones first
_LAYERS: dict[str, tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...]] = {
    "batch_norm": (
        ("BatchNorm2d", (3, 2, 2, 1), {}),
        ("BatchNorm2d", (3, 2, 2, 2), {"momentum": None}),
        ("BatchNorm2d", (3, 2, 2, 2), {"momentum": 0.0}),
        ("BatchNorm2d", (3, 2, 2, 2), {"track_running_stats": False}),
    ),
    "instance_norm": (
        ("InstanceNorm2d", (2, 3, 2, 2), {"affine": True, "track_running_stats": True}),
        ("InstanceNorm2d", (2, 3, 2, 2), {"affine": True, "track_running_stats": True, "momentum": 0.0}),
        ("InstanceNorm2d", (2, 3, 2, 2), {"affine": True}),
    ),
    "layer_norm": (("LayerNorm", (3, 5), {}), ("LayerNorm", (2, 3, 2), {"normalized_shape": [3, 2]})),
    "rms_norm": (
        ("RMSNorm", (3, 5), {"eps": 1e-5}),
        ("RMSNorm", (2, 3, 2), {"eps": 1e-5, "normalized_shape": [3, 2]}),
    ),
    "group_norm": (("GroupNorm", (2, 4, 2), {"num_groups": 2}),),
    "local_response_norm": (
        ("LocalResponseNorm", (1, 4, 2), {"size": 3, "alpha": 0.5, "k": 2.0}),
        ("LocalResponseNorm", (1, 5, 2), {"size": 2, "alpha": 0.5}),
    ),
}
#: for what needs many values: sums in low precision
_LONG: dict[str, tuple[tuple[str, tuple[int, ...], dict[str, Any]], ...]] = {
    "batch_norm": (("BatchNorm1d", (1024, 2), {}),),
    "instance_norm": (("InstanceNorm1d", (2, 2, 1024), {"affine": True}),),
    "layer_norm": (("LayerNorm", (2, 1024), {}), ("LayerNorm", (1024, 3), {})),
    "rms_norm": (("RMSNorm", (2, 1024), {"eps": 1e-5}), ("RMSNorm", (1024, 3), {"eps": 1e-5})),
    "group_norm": (("GroupNorm", (2, 4, 512), {"num_groups": 2}),),
}
_DATA = ("scaled", "f1-eps", "f12-buffers", "f5-slices", "f3-offset", "f4-tail")
_LONG_DATA = ("f6-long-positive", "f7-stagnation", "f3-offset", "f8-f16-range")
_STEPS: tuple[tuple[Mode, ...], ...] = (("train",), ("train", "train"), ("train", "eval"), ("eval",))


@dataclass(frozen=True, slots=True)
class Showing:
    """Where a mistake shows: the element of a quantity that differs most, in units of the allowed error."""

    experiment: Experiment
    quantity: str
    step: int
    index: tuple[int, ...]
    ratio: float
    share: float  # |wrong - right| / |right|
    meant: bool  # beyond rounding, in the quantity in which the mistake shows first

    @property
    def worth(self) -> tuple[bool, bool, float]:
        return self.meant, self.share > _PLAIN, self.ratio


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    experiment: Experiment
    right: list[Expected]
    seen: Observation


def showing(mistake: Mistake) -> Showing | None:
    """The first small case in which anybody sees a mistake, else the one that shows it best.

    The quantity is that in which the mistake shows first.  None where no case does, which the power lint would have
    said.
    """
    best: Showing | None = None
    for cases in (_designed(mistake), _shipped(mistake)):
        for case in cases:
            prepared = _prepare(case)
            found = None if prepared is None else _shown(prepared, mistake)
            if found is not None and (best is None or found.worth > best.worth):
                best = found
            if best is not None and best.meant and best.share > _PLAIN:
                return best
        if best is not None and best.meant:
            return best
    return best


def _designed(mistake: Mistake) -> Iterator[Case]:
    dtypes = [dtype for dtype in ("float32", "bfloat16", "float16", "float64") if dtype in mistake.dtypes]
    for family, dtype in product(mistake.families, dtypes[:1]):
        half = dtype in ("bfloat16", "float16")
        layers = _LONG.get(family, ()) if half else _LAYERS.get(family, ())
        stateful = family in ("batch_norm", "instance_norm")
        for (op, shape, args), data, steps in product(
            layers, _LONG_DATA if half else _DATA, _STEPS if stateful and not half else _STEPS[:1]
        ):
            yield _case(op, shape, args, dtype, data, steps)


def _case(
    op: str, shape: tuple[int, ...], args: dict[str, Any], dtype: Any, data: str, steps: tuple[Mode, ...]
) -> Case:
    return Case(
        id=f"explain::{op}",
        key=f"explain-{op}-{shape}-{sorted(args.items())}-{dtype}-{data}-{steps}",
        op=op,
        args=OPS[op].complete(OPS[op].defaults() | args, shape),
        shape=shape,
        dtype=dtype,
        param_dtype="float32" if dtype in ("bfloat16", "float16") else dtype,
        data=data,
        steps=steps,
        origin=Origin("explain", 1, 1),
    )


def _shipped(mistake: Mistake) -> Iterator[Case]:
    """The cases of the suite that could show it, small ones first: for what the designed ones do not reach."""
    from conformance.suite.loader import load_suite

    cases = [
        case
        for case in load_suite(None).cases
        if OPS[case.op].family in mistake.families
        and case.dtype in mistake.dtypes
        and case.raises is None
        and 0 < prod(case.shape) * len(case.steps) <= _LARGEST
    ]
    yield from sorted(cases, key=lambda case: (prod(case.shape) * len(case.steps), case.id))


_PREPARED: dict[str, _Prepared | None] = {}  # by key; what one mistake needed serves the next


def _prepare(case: Case) -> _Prepared | None:
    """The case with what is expected and what torch gives; None where torch refuses it."""
    if case.key not in _PREPARED:
        experiment = Experiment(case, make_inputs(case))
        try:
            _PREPARED[case.key] = _Prepared(experiment, defined(experiment), seen_by(experiment))
        except (ConformanceError, Unsupported):
            _PREPARED[case.key] = None
    return _PREPARED[case.key]


def _shown(prepared: _Prepared, mistake: Mistake) -> Showing | None:
    """The element that differs most, among the quantities in which the mistake shows first if any of them is enough."""
    found = []
    wrong = defined(prepared.experiment, mistake.id)
    for step, (right, mistaken, seen) in enumerate(zip(prepared.right, wrong, prepared.seen.steps, strict=True)):
        for name, quantity in right.quantities.items():
            if name not in seen.arrays or not quantity.value.size or name not in mistaken.quantities:
                continue
            ratios = _ratios(quantity, mistaken.quantities[name], seen.arrays[name])
            index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratios)), ratios.shape))
            if ratios[index] > 0:
                ratio, value = float(ratios[index]), float(quantity.value[index])
                share = abs(float(mistaken.quantities[name].value[index]) - value) / (abs(value) or 1.0)
                meant = name.startswith(mistake.shows) and ratio >= ENOUGH
                found.append(Showing(prepared.experiment, name, step, index, ratio, share, meant))
    return max(found, key=lambda each: each.worth, default=None)


def _ratios(right: Quantity, wrong: Quantity, seen: Array) -> Array:
    """|wrong - right| / allowed where both are finite and torch agrees with the right one, else 0."""
    if right.stored == "int64":
        return np.where((right.value != wrong.value) & (seen == right.value), np.inf, 0.0)
    with np.errstate(all="ignore"):
        allowed = allowance(right, "A").allowed
        usable = np.isfinite(allowed) & np.isfinite(right.value) & np.isfinite(wrong.value)
        if right.undetermined is not None:
            usable &= ~right.undetermined
        usable &= np.abs(seen.astype(np.float64) - right.value) <= allowed
        return np.where(usable, np.abs(wrong.value - right.value) / allowed, 0.0).astype(np.float64)
