"""Mistakes in the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.apply import Layer, Pass
from conformance.calibration.mistakes_forward import accumulated

Array = NDArray[Any]


class _NoMeanTerm(Layer):
    def centred_gradient(self, p: Pass, g: Array, xh: Array, s1: Array, s2: Array) -> Array:
        return p.s * (g - xh * s2)


class _NoCorrelationTerm(Layer):
    def centred_gradient(self, p: Pass, g: Array, xh: Array, s1: Array, s2: Array) -> Array:
        return p.s * (g - s1)


class _Constants(Layer):
    def centred_gradient(self, p: Pass, g: Array, xh: Array, s1: Array, s2: Array) -> Array:
        return p.s * g


class _CorrelationTwice(Layer):
    def centred_gradient(self, p: Pass, g: Array, xh: Array, s1: Array, s2: Array) -> Array:
        return p.s * (g - s1 - self.real(2) * xh * s2)


class _OverOneLess(Layer):
    def backward_sums(self, g: Array, xh: Array) -> tuple[Array, Array]:
        s1, s2 = super().backward_sums(g, xh)
        factor = self.real(g.shape[1]) / self.real(max(1, g.shape[1] - 1))
        return s1 * factor, s2 * factor


class _NoEps(Layer):
    def input_gradient(self, p: Pass) -> Array:
        bare = self.real(1) / np.sqrt(p.v)
        return super().input_gradient(Pass(p.x, p.gy, p.m, p.v, bare, p.w, p.b, p.batch))


class _NoWeight(Layer):
    needs = ("weight",)

    def scaled_upstream(self, p: Pass) -> Array:
        return p.gy


class _ScaledTwice(Layer):
    def input_gradient(self, p: Pass) -> Array:
        return super().input_gradient(p) * p.s


class _EvalAsTraining(Layer):
    def input_gradient(self, p: Pass) -> Array:
        return super().input_gradient(Pass(p.x, p.gy, p.m, p.v, p.s, p.w, p.b, batch=True))


class _WeightUncentred(Layer):
    needs = ("weight",)

    def weight_gradient(self, p: Pass) -> Array:
        return self.gather(p.gy * (p.x * p.s))


class _WeightFromOutput(Layer):
    needs = ("weight",)

    def weight_gradient(self, p: Pass) -> Array:
        return self.gather(p.gy * self.output(p))


class _Weight(Layer):
    """Sums the weight's gradient in a way of its own."""

    needs = ("weight",)

    def reduced(self, terms: Array) -> Array:
        raise NotImplementedError

    def weight_gradient(self, p: Pass) -> Array:
        summed = self.reduced(self.terms(p.gy * self.normalised(p)))
        return summed.reshape([self.fold.shape[axis] for axis in self.fold.parameter_axes])


class _WeightRowDropped(_Weight):
    def reduced(self, terms: Array) -> Array:
        return self.total(terms[:, :-1]) if terms.shape[1] > 1 else np.zeros_like(terms)


class _WeightNarrow(_Weight):
    def reduced(self, terms: Array) -> Array:
        return accumulated(terms, self.case.dtype)


class _Bias(Layer):
    """Sums the bias's gradient in a way of its own."""

    needs = ("bias",)

    def reduced(self, terms: Array) -> Array:
        raise NotImplementedError

    def bias_gradient(self, p: Pass) -> Array:
        return self.reduced(self.terms(p.gy)).reshape([self.fold.shape[axis] for axis in self.fold.parameter_axes])


class _BiasMean(_Bias):
    def reduced(self, terms: Array) -> Array:
        return self.total(terms) / terms.shape[1]


class _BiasRowDropped(_Bias):
    def reduced(self, terms: Array) -> Array:
        return self.total(terms[:, :-1]) if terms.shape[1] > 1 else np.zeros_like(terms)


class _BiasNarrow(_Bias):
    def reduced(self, terms: Array) -> Array:
        return accumulated(terms, self.case.dtype)


BACKWARD: dict[str, type[Layer]] = {
    "grad-without-mean-term": _NoMeanTerm,
    "grad-without-correlation-term": _NoCorrelationTerm,
    "grad-through-constants": _Constants,
    "grad-correlation-doubled": _CorrelationTwice,
    "grad-over-n-minus-1": _OverOneLess,
    "grad-without-eps": _NoEps,
    "grad-without-weight": _NoWeight,
    "grad-scaled-twice": _ScaledTwice,
    "eval-grad-as-in-training": _EvalAsTraining,
    "grad-weight-uncentred": _WeightUncentred,
    "grad-weight-from-output": _WeightFromOutput,
    "grad-weight-row-dropped": _WeightRowDropped,
    "grad-weight-accumulated-in-storage-format": _WeightNarrow,
    "grad-bias-mean": _BiasMean,
    "grad-bias-row-dropped": _BiasRowDropped,
    "grad-bias-accumulated-in-storage-format": _BiasNarrow,
}
