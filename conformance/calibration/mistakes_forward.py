"""Mistakes in the statistics, in the scale and in the affine map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.apply import Layer, Pass
from references.rounding import STORAGE

Array = NDArray[Any]


class _EpsOutside(Layer):
    def inverse_std(self, v: Array) -> Array:
        return self.real(1) / (np.sqrt(v) + self.eps)


class _EpsMissing(Layer):
    def inverse_std(self, v: Array) -> Array:
        return self.real(1) / np.sqrt(v)


class _EpsTimesTen(Layer):
    def inverse_std(self, v: Array) -> Array:
        return self.real(1) / np.sqrt(v + self.real(10) * self.eps)


class _EpsRounded(Layer):
    def inverse_std(self, v: Array) -> Array:
        return self.real(1) / np.sqrt(v + self.real(np.float16(self.eps)))


class _EpsAsFloor(Layer):
    def inverse_std(self, v: Array) -> Array:
        return self.real(1) / np.sqrt(np.maximum(v, self.eps))


class _Unbiased(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m, v = super().statistics(x)
        return m, v * (self.real(x.shape[1]) / self.real(x.shape[1] - 1)) if x.shape[1] > 1 else v

    def stored_variance(self, v: Array, n: int) -> Array:  # v is the unbiased one already
        return v


class _OnePass(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m = self.mean(x)
        return m, np.maximum(self.mean(x * x) - m * m, self.real(0))


class _MeanSquare(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        return self.mean(x), self.mean(x * x)


class _NotCentred(Layer):
    def normalised(self, p: Pass) -> Array:
        return p.x * p.s


class _Centred(Layer):
    """LayerNorm in place of RMSNorm."""

    def statistics(self, x: Array) -> tuple[Array, Array]:
        return self.recipe.moments(x)


class _Everything(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m, v = super().statistics(x.reshape(1, -1))
        return np.broadcast_to(m, (x.shape[0], 1)), np.broadcast_to(v, (x.shape[0], 1))


class _Neighbour(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m, v = super().statistics(x)
        return np.roll(m, 1, axis=0), v


class _TailDropped(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        return super().statistics(x[:, :-1] if x.shape[1] > 1 else x)


class _TailTwice(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        return super().statistics(np.concatenate([x, x[:, -1:]], axis=1))


class _PaddingCounted(Layer):
    def mean(self, terms: Array) -> Array:
        return self.total(terms) / (-(-terms.shape[1] // 8) * 8)

    def statistics(self, x: Array) -> tuple[Array, Array]:
        if not self.rules.centred:
            return np.zeros((x.shape[0], 1), x.dtype), self.mean(x * x)
        m = self.mean(x)
        xc = x - m
        return m, self.mean(xc * xc)


class _AccumulatedNarrow(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        n = x.shape[1]
        m = accumulated(x, self.case.dtype) / n if self.rules.centred else np.zeros((x.shape[0], 1), x.dtype)
        xc = x - m
        return m, accumulated(xc * xc, self.case.dtype) / n


class _StoredNarrow(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m, v = super().statistics(x)
        return self.as_stored(m), v

    def inverse_std(self, v: Array) -> Array:
        return self.as_stored(super().inverse_std(v))


class _RoundedBeforeAffine(Layer):
    needs = ("weight",)

    def affine(self, xh: Array, p: Pass) -> Array:
        return super().affine(self.as_stored(xh), p)


class _CoarseRoot(Layer):
    def inverse_std(self, v: Array) -> Array:
        return cut(super().inverse_std(v), 12)


class _Tf32(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        return super().statistics(cut(x, 10))

    def normalised(self, p: Pass) -> Array:
        return (cut(p.x, 10) - p.m) * p.s


class _Float32Inside(Layer):
    def statistics(self, x: Array) -> tuple[Array, Array]:
        m, v = super().statistics(x.astype(np.float32))
        return m.astype(self.compute), v.astype(self.compute)


class _BiasFirst(Layer):
    needs = ("weight", "bias")

    def affine(self, xh: Array, p: Pass) -> Array:
        return xh if p.w is None or p.b is None else p.w * (xh + p.b)


class _WeightPlusOne(Layer):
    needs = ("weight",)

    def affine(self, xh: Array, p: Pass) -> Array:
        return super().affine(xh, p) + xh


class _WeightOfNeighbour(Layer):
    needs = ("weight",)

    def affine(self, xh: Array, p: Pass) -> Array:
        shifted = self.fold.parameter_axes[-1]
        weight = None if p.w is None else self.fold.fold(np.roll(self.fold.unfold(p.w), 1, axis=shifted))
        y = xh if weight is None else xh * weight
        return y if p.b is None else y + p.b


class _BiasIgnored(Layer):
    needs = ("bias",)

    def affine(self, xh: Array, p: Pass) -> Array:
        return xh if p.w is None else xh * p.w


def accumulated(x: Array, dtype: str) -> Array:
    """The sum from left to right, rounded to the storage format at every addition: (rows, n) -> (rows, 1)."""
    narrow = STORAGE[dtype]
    if x.shape[1] <= 1:
        return x.astype(narrow).astype(x.dtype)
    total = np.zeros(x.shape[0], narrow)
    for term in np.ascontiguousarray(x.astype(narrow).T):
        total = total + term
    return total.astype(x.dtype)[:, None]


def cut(x: Array, bits: int) -> Array:
    """Rounded to this many bits after the leading one."""
    fraction, exponent = np.frexp(x)
    rounded: Array = np.ldexp(np.rint(np.ldexp(fraction, bits + 1)), exponent - bits - 1).astype(x.dtype)
    return rounded


FORWARD: dict[str, type[Layer]] = {
    "eps-outside-sqrt": _EpsOutside,
    "eps-missing": _EpsMissing,
    "eps-times-ten": _EpsTimesTen,
    "eps-rounded-to-float16": _EpsRounded,
    "eps-as-floor": _EpsAsFloor,
    "unbiased-variance": _Unbiased,
    "one-pass-variance": _OnePass,
    "mean-square-for-variance": _MeanSquare,
    "mean-not-subtracted": _NotCentred,
    "mean-subtracted": _Centred,
    "statistics-over-everything": _Everything,
    "mean-of-the-neighbour": _Neighbour,
    "tail-dropped": _TailDropped,
    "tail-counted-twice": _TailTwice,
    "padding-counted": _PaddingCounted,
    "statistics-accumulated-in-storage-format": _AccumulatedNarrow,
    "statistics-stored-in-storage-format": _StoredNarrow,
    "normalised-rounded-before-affine": _RoundedBeforeAffine,
    "coarse-reciprocal-root": _CoarseRoot,
    "tf32-inputs": _Tf32,
    "float32-inside": _Float32Inside,
    "bias-before-scale": _BiasFirst,
    "weight-plus-one": _WeightPlusOne,
    "weight-of-the-neighbour": _WeightOfNeighbour,
    "bias-ignored": _BiasIgnored,
}
