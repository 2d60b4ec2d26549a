"""Mistakes in the running statistics, and in when they are used."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from conformance.calibration.apply import Layer
from references.expected import Mode
from references.running import Running

Array = NDArray[Any]


class _Swapped(Layer):
    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        return super().moved(new, old, momentum)


class _Additive(Layer):
    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        return old + self.real(momentum) * new


class _NeverMoved(Layer):
    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        return old


class _MovedTwice(Layer):
    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        return super().moved(super().moved(old, new, momentum), new, momentum)


class _MovedInEval(Layer):
    def updates(self, mode: Mode) -> bool:
        return isinstance(self.rules, Running) and self.rules.tracks


class _RoundedMomentum(Layer):
    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        return super().moved(old, new, float(ml_dtypes.bfloat16(momentum)))


class _BiasedVariance(Layer):
    def stored_variance(self, v: Array, n: int) -> Array:
        return v


class _WithEps(Layer):
    def stored_variance(self, v: Array, n: int) -> Array:
        return super().stored_variance(v + self.eps, n)


class _StandardDeviation(Layer):
    def stored_variance(self, v: Array, n: int) -> Array:
        return np.sqrt(super().stored_variance(v, n))


class _AlwaysBatch(Layer):
    def uses_batch(self, mode: Mode) -> bool:
        return True


class _NeverBatch(Layer):
    def uses_batch(self, mode: Mode) -> bool:
        return False


BUFFERS: dict[str, type[Layer]] = {
    "momentum-swapped": _Swapped,
    "momentum-additive": _Additive,
    "buffers-not-updated": _NeverMoved,
    "buffers-updated-twice": _MovedTwice,
    "buffers-updated-in-eval": _MovedInEval,
    "momentum-rounded-to-bfloat16": _RoundedMomentum,
    "running-var-biased": _BiasedVariance,
    "running-var-with-eps": _WithEps,
    "running-std": _StandardDeviation,
    "batch-statistics-in-eval": _AlwaysBatch,
    "running-statistics-in-training": _NeverBatch,
}
