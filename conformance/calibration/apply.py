r"""A whole normalisation layer in one floating-point format, with the forms that kernels give its formulas.

Everything is computed in float32 (float64 for float64) and rounded once on store.  Which elements belong together and
which mode uses which statistics is taken from the reference; what is measured here is arithmetic.

Forward: *centred* :math:`w\,((x - m)\,s) + b`; *fused* :math:`x\,(w s) + (b - m\,(w s))`.

Backward: *centred* :math:`s\,(g - S_1 - \hat x S_2)`; *scaled*
:math:`\frac{s}{n}\,(n g - \sum g - \hat x \sum g \hat x)` (layer normalisation on CUDA); *products*
:math:`s g + c_2 x + c_3` with :math:`c_2 = (m \sum g - \sum g x)\,s^3/n` and :math:`c_3 = -c_2 m - s \sum g / n`
(group normalisation in torch).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from conformance.calibration.stable import Recipe
from conformance.inputs import Inputs, StepInputs
from conformance.reference import build_reference
from conformance.suite.case import Case
from references.expected import Mode
from references.normalisation import Normalisation
from references.rounding import STORAGE
from references.running import Running

Array = NDArray[Any]
Raw = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Form:
    """Which of the equivalent formulas an implementation uses."""

    forward: Literal["centred", "fused"]
    backward: Literal["centred", "scaled", "products"]
    update: Literal["weighted", "towards"]  # (1 - mu) r + mu b, or r + mu (b - r)
    root: Literal["rounded", "two ulps off"] = "rounded"  # CUDA promises two ulps for its reciprocal square root

    def __str__(self) -> str:
        return f"{self.forward} forward, {self.backward} backward, {self.update} update, 1/std {self.root}"


FORMS: tuple[Form, ...] = (
    Form("centred", "centred", "weighted"),
    Form("fused", "centred", "towards"),
    Form("centred", "scaled", "towards", "two ulps off"),
    Form("fused", "scaled", "weighted"),
    Form("centred", "products", "weighted"),
    Form("fused", "products", "towards", "two ulps off"),
)
PLAIN = FORMS[0]


@dataclass(slots=True)
class Pass:
    """One step of all slices: x, gy: (slices, n); m, v, s: (slices, 1); w, b: (slices, n) or None."""

    x: Array
    gy: Array
    m: Array
    v: Array
    s: Array
    w: Array | None
    b: Array | None
    batch: bool  # the statistics are those of x


class Layer:
    """One implementation of the layer of a case; a planted mistake is a subclass that overrides one formula."""

    needs: tuple[str, ...] = ()  # parameters without which a mistake cannot be made

    def __init__(self, case: Case, recipe: Recipe, form: Form) -> None:
        rules = build_reference(case)
        assert isinstance(rules, Normalisation)
        self.case, self.recipe, self.form = case, recipe, form
        self.rules = rules
        self.fold = rules.fold(case.shape)
        self.compute = np.dtype(np.float64 if case.dtype == "float64" else np.float32)
        self.real = self.compute.type
        self.eps = self.real(rules.eps)

    # ---- one formula a method -----------------------------------------------------------------------------------

    def total(self, terms: Array) -> Array:
        return self.recipe.total(terms)

    def as_stored(self, x: Array) -> Array:
        """Rounded to the storage format and back: what a mistake does in the middle of a computation."""
        return x.astype(STORAGE[self.case.dtype]).astype(self.compute)

    def mean(self, terms: Array) -> Array:
        return self.total(terms) / terms.shape[1]

    def statistics(self, x: Array) -> tuple[Array, Array]:
        if self.rules.centred:
            return self.recipe.moments(x)
        return np.zeros((x.shape[0], 1), x.dtype), self.mean(x * x)

    def inverse_std(self, v: Array) -> Array:
        s = self.real(1) / np.sqrt(v + self.eps)
        if self.form.root == "rounded":
            return s
        above = self.real(np.inf)
        return np.where(s > 0, np.nextafter(np.nextafter(s, above), above), s)  # 1 / inf is 0 on every machine

    def normalised(self, p: Pass) -> Array:
        return (p.x - p.m) * p.s

    def output(self, p: Pass) -> Array:
        if self.form.forward == "fused":
            scale = p.s if p.w is None else p.w * p.s
            shift = -p.m * scale if p.b is None else p.b - p.m * scale
            return p.x * scale + shift
        return self.affine(self.normalised(p), p)

    def affine(self, xh: Array, p: Pass) -> Array:
        y = xh if p.w is None else xh * p.w
        return y if p.b is None else y + p.b

    def scaled_upstream(self, p: Pass) -> Array:
        return p.gy if p.w is None else p.gy * p.w

    def input_gradient(self, p: Pass) -> Array:
        g = self.scaled_upstream(p)
        if not p.batch:
            return g * p.s
        if self.form.backward == "products":
            return self._by_products(p, g)
        xh = self.normalised(p)
        if self.form.backward == "scaled":
            n = self.real(p.x.shape[1])
            s1 = self.total(g) if self.rules.centred else self.real(0)
            return p.s / n * (n * g - s1 - xh * self.total(g * xh))
        return self.centred_gradient(p, g, xh, *self.backward_sums(g, xh))

    def backward_sums(self, g: Array, xh: Array) -> tuple[Array, Array]:
        s1 = self.mean(g) if self.rules.centred else np.zeros((g.shape[0], 1), g.dtype)
        return s1, self.mean(g * xh)

    def centred_gradient(self, p: Pass, g: Array, xh: Array, s1: Array, s2: Array) -> Array:
        return p.s * (g - s1 - xh * s2)

    def _by_products(self, p: Pass, g: Array) -> Array:
        n = self.real(p.x.shape[1])
        products = self.total(g * p.x)
        sums = self.total(g) if self.rules.centred else np.zeros_like(products)
        c2 = (sums * p.m - products) * p.s * p.s * p.s / n
        c3 = -c2 * p.m - sums * p.s / n
        return g * p.s + c2 * p.x + c3

    def weight_gradient(self, p: Pass) -> Array:
        if self.form.backward == "products":
            return self.gather(p.gy * p.x * p.s) - self.gather(p.gy * (p.m * p.s))
        return self.gather(p.gy * self.normalised(p))

    def bias_gradient(self, p: Pass) -> Array:
        return self.gather(p.gy)

    def moved(self, old: Array, new: Array, momentum: float) -> Array:
        mu = self.real(momentum)
        return old + mu * (new - old) if self.form.update == "towards" else (self.real(1) - mu) * old + mu * new

    def stored_variance(self, v: Array, n: int) -> Array:
        return v * (self.real(n) / self.real(n - 1))

    # ---- one step after the other ---------------------------------------------------------------------------------

    def terms(self, folded: Array) -> Array:
        """(slices, n) -> (entries of a parameter, elements that share one)."""
        axes = self.fold.parameter_axes
        others = [axis for axis in range(len(self.fold.shape)) if axis not in axes]
        whole = self.fold.unfold(folded).transpose(*axes, *others)
        return whole.reshape(-1, self.fold.terms)

    def gather(self, folded: Array) -> Array:
        """The sum over everything that shares one entry of a parameter, in the parameter's shape."""
        return self.gathered(self.terms(folded)).reshape([self.fold.shape[axis] for axis in self.fold.parameter_axes])

    def gathered(self, terms: Array) -> Array:
        return self.total(terms)

    def uses_batch(self, mode: Mode) -> bool:
        return not isinstance(self.rules, Running) or self.rules.uses_batch(mode)

    def updates(self, mode: Mode) -> bool:
        return isinstance(self.rules, Running) and self.rules.tracks and mode == "train"

    def run(self, inputs: Inputs) -> list[Raw]:
        """Every quantity of every step, before it is rounded on store; the buffers are stored between steps."""
        params = {name: array.astype(self.compute) for name, array in inputs.params.items()}
        buffers = dict(inputs.buffers)
        results = []
        with np.errstate(all="ignore"):
            for mode, given in zip(self.case.steps, inputs.steps, strict=True):
                results.append(self._step(given, params, buffers, mode))
                buffers = {
                    name: results[-1][f"buffer.{name}"].astype(array.dtype) for name, array in inputs.buffers.items()
                }
        return results

    def _step(self, given: StepInputs, params: Mapping[str, Array], buffers: Mapping[str, Array], mode: Mode) -> Raw:
        x, gy = (self.fold.fold(array.astype(self.compute)) for array in (given.x, given.grad_output))
        w, b = (self.fold.spread(params[name]) if name in params else None for name in ("weight", "bias"))
        batch = self.uses_batch(mode)
        m, v = self.statistics(x) if batch else self._running(buffers)
        p = Pass(x, gy, m, v, self.inverse_std(v), w, b, batch)
        raw = {
            "output": self.fold.unfold(self.output(p)),
            "grad_input": self.fold.unfold(self.input_gradient(p)),
        }
        if "weight" in params:
            raw["grad.weight"] = self.weight_gradient(p)
        if "bias" in params:
            raw["grad.bias"] = self.bias_gradient(p)
        after = self.updated(x, p, buffers) if self.updates(mode) else buffers
        return raw | {f"buffer.{name}": array for name, array in after.items()}

    def _running(self, buffers: Mapping[str, Array]) -> tuple[Array, Array]:
        mean, variance = (buffers[name].astype(self.compute) for name in ("running_mean", "running_var"))
        copies = self.fold.slices // mean.size
        return np.tile(mean, copies)[:, None], np.tile(variance, copies)[:, None]

    def updated(self, x: Array, p: Pass, buffers: Mapping[str, Array]) -> dict[str, Array]:
        """The running buffers after a training step, in the compute format."""
        assert isinstance(self.rules, Running)
        count = buffers["num_batches_tracked"] + int(self.rules.counts_batches)
        momentum = self.rules.momentum(int(count))
        m, v = (p.m, p.v) if p.batch else self.statistics(x)
        channels = int(self.case.args["num_features"])
        samples = self.fold.slices // channels
        after = {"num_batches_tracked": count}
        for name, values in (("running_mean", m), ("running_var", self.stored_variance(v, x.shape[1]))):
            new = values.reshape(samples, channels)
            new = self.mean(np.ascontiguousarray(new.T))[:, 0] if samples > 1 else new[0]
            after[name] = self.moved(buffers[name].astype(self.compute), new, momentum)
        return after
