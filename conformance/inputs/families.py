"""The generators behind the names in conformance.suite.data_families.

Each takes a Draw and returns x as (slices, elements) in float64; it is rounded to the case's dtype once, afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.inputs import bits
from references.fold import Fold
from references.rounding import FORMATS

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Draw:
    """What a generator may know: the geometry, the dtype, eps, and the noise of this step."""

    key: str
    fold: Fold
    dtype: str
    eps: float
    z: Array  # standard normal, (slices, elements)

    def per_slice(self, name: str) -> Array:
        """One uniform number in (0, 1) for each slice: (slices, 1)."""
        return bits.uniform(f"{self.key}/{name}", (self.fold.slices, 1))

    @property
    def scale(self) -> Array:
        """Distinct scales in 0.3..6, more of them small."""
        u = self.per_slice("scale")
        return 0.3 + 5.7 * u * u

    @property
    def centre(self) -> Array:
        """Distinct means in -2..2, in units of the scale."""
        return 4.0 * self.per_slice("centre") - 2.0

    @property
    def scaled(self) -> Array:
        return self.scale * (self.z + self.centre)

    @property
    def chosen(self) -> int:
        """The slice that is special, where only one is."""
        return self.fold.slices // 2


def _shifted(d: Draw, kappa: float) -> Array:
    sign = np.where(d.per_slice("sign") < 0.5, -1.0, 1.0)
    return d.scale * (d.z + kappa * sign)


def _constant_slice(d: Draw) -> Array:
    x = d.scaled
    if x.size:
        x[d.chosen] = x[d.chosen, 0]
    return x


def _eps(d: Draw) -> Array:
    variance = (0.25 + 3.75 * d.per_slice("variance")) * (d.eps or 1e-5)
    return np.sqrt(variance) * (d.z + 0.7)


def _tail(d: Draw) -> Array:
    z = d.z + d.centre
    if z.shape[1]:
        z[:, 0] = -4.0
        z[:, -1] = 5.0
    return d.scale * z


def _per_sample_and_channel(d: Draw) -> Array:
    shape = d.fold.shape
    blocks = (*shape[:2], *(1 for _ in shape[2:]))
    u = d.fold.fold(np.broadcast_to(bits.uniform(f"{d.key}/block", blocks), shape))
    v = d.fold.fold(np.broadcast_to(bits.uniform(f"{d.key}/block-mean", blocks), shape))
    return (0.3 + 5.7 * u * u) * d.z + 6.0 * v - 3.0


def _ulp_jitter(d: Draw) -> Array:
    ulp = 2.0 * FORMATS[d.dtype].u  # of numbers in 1..2
    return 1.5 + ulp * (bits.uniform(f"{d.key}/jitter", d.z.shape) < 1 / 24)


def _wide_range(d: Draw) -> Array:
    reach = 8 if d.dtype == "float16" else 20
    power = (bits.uniform(f"{d.key}/power", d.z.shape) * (2 * reach + 1)).astype(np.int64) - reach
    return np.ldexp(d.z, power)


def _absorb(d: Draw) -> Array:
    small, large = {"float16": (1e-3, 30.0), "bfloat16": (1e-3, 1e3)}.get(d.dtype, (1e-3, 1e6))
    x = small * (1.0 + 0.1 * d.z)
    if x.shape[1]:
        x[:, 0] = large
    return x


def _with_one(d: Draw, value: float) -> Array:
    x = d.scaled
    if x.size:
        x[d.chosen, x.shape[1] // 2] = value
    return x


def _large_n(d: Draw) -> Array:
    z = d.z + d.centre
    if z.shape[1]:
        z[:, 0] = z[:, -1] = sqrt(z.shape[1])
    return d.scale * z


def _buffers(d: Draw) -> Array:
    scale = d.scale
    if scale.size:
        scale[d.chosen] = sqrt(d.eps or 1e-5)
    return scale * (d.z + d.centre)


def _nonzero(d: Draw) -> Array:
    return d.scale * (0.5 + bits.uniform(f"{d.key}/size", d.z.shape)) * np.where(d.z < 0, -1.0, 1.0)


def _special(d: Draw) -> Array:
    stored = FORMATS[d.dtype]
    sizes = [0.0, 1.0, np.inf, stored.max, stored.tiny, stored.eta, stored.u, 20.0, 100.0]
    numbers = np.array([*sizes, *(-size for size in sizes), np.nan])
    chosen: Array = numbers[(bits.uniform(f"{d.key}/special", d.z.shape) * numbers.size).astype(np.int64)]
    return chosen


def _shift_of(dtype: str) -> float:
    return {"bfloat16": 20.0, "float16": 100.0, "float32": 3e3}.get(dtype, 1e7)


GENERATORS: dict[str, Callable[[Draw], Array]] = {
    "normal": lambda d: d.z,
    "scaled": lambda d: d.scaled,
    "shifted-1e1": lambda d: _shifted(d, 1e1),
    "shifted-1e3": lambda d: _shifted(d, 1e3),
    "shifted-1e5": lambda d: _shifted(d, 1e5),
    "tiny-variance": lambda d: 1e-3 * sqrt(d.eps or 1e-5) * (d.z + d.centre),
    "constant-slice": _constant_slice,
    "f1-eps": _eps,
    "f2-small-n": lambda d: d.scaled,
    "f3-offset": lambda d: _shifted(d, _shift_of(d.dtype)),
    "f4-tail": _tail,
    "f5-slices": _per_sample_and_channel,
    "f6-long-positive": lambda d: d.scale * (d.z + 3.0),
    "f7-stagnation": lambda d: d.scaled,
    "f8-f16-range": lambda d: 300.0 * d.z,
    "f9-ulp-jitter": _ulp_jitter,
    "f10-constant": lambda d: np.broadcast_to(d.scale * (1.0 + d.centre), d.z.shape).copy(),
    "f10-denormal": lambda d: d.z * 40.0 * FORMATS[d.dtype].eta,
    "f10-heavy-tail": lambda d: d.scale * d.z * d.z * d.z,
    "f10-wide-range": _wide_range,
    "f10-absorb": _absorb,
    "f10-nan": lambda d: _with_one(d, np.nan),
    "f10-inf": lambda d: _with_one(d, np.inf),
    "f11-large-n": _large_n,
    "f12-buffers": _buffers,
    "whole": lambda d: np.rint(2.0 * d.z),
    "nonzero": _nonzero,
    "special": _special,
}
