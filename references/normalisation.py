r"""What every normalisation layer has in common: statistics, scaling, affine map, and their gradients.

For one slice :math:`x_1, \dots, x_n`, upstream gradient :math:`\bar y` and :math:`g = \bar y\, w`:

.. math::
    m = \frac1n \sum x_i, \quad v = \frac1n \sum (x_i - m)^2, \quad s = \frac{1}{\sqrt{v + \epsilon}}, \quad
    \hat x_i = s\,(x_i - m), \quad y_i = w_i \hat x_i + b_i

.. math::
    \bar x_i = s\,(g_i - S_1 - \hat x_i S_2), \quad S_1 = \frac1n \sum g_i, \quad S_2 = \frac1n \sum g_i \hat x_i, \quad
    \bar w = \sum \bar y\, \hat x, \quad \bar b = \sum \bar y

(Ioffe and Szegedy 2015, section 3; Ba, Kiros and Hinton 2016, equation 3.)  RMSNorm has m = 0 and S1 = 0 (Zhang and
Sennrich 2019, equation 4).  Where m and v come from running buffers they are constants and S1 = S2 = 0.

Beside each value stands the absolute error d(.) that a stable implementation may make in it: every use of every input
may be perturbed by A(n) U, and every intermediate is rounded (Higham, Accuracy and Stability of Numerical Algorithms,
2nd ed., sections 3.1, 4.2 and 1.9).  U, A and t are explained in references.rounding; rho is the relative error of s,
and sigma = s (|x| + |m|) what kernels round that never form x - m.  With batch statistics

.. math::
    d(\bar x) = s (1 + \rho) \beta + s \rho\, (|g - S_1| + 3 |\hat x S_2|) + 2 U |\bar x| + t, \qquad
    R = |S_2| + d(S_2)

.. math::
    \beta = U (2 |g| + |S_1| + (2 |\hat x| + \sigma) R) + d(S_1) + |\hat x|\, d(S_2) + s\, d(x - m)\, R + t
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Expected, Mode, Quantity
from references.fold import Fold
from references.rounding import FORMATS, Format, Precision

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Forward:
    """The forward pass of all slices; arrays are (slices, elements), per-slice values (slices, 1)."""

    fold: Fold
    x: Array
    m: Array
    v: Array
    xc: Array  # x - m
    s: Array  # 1 / sqrt(v + eps)
    xh: Array
    w: Array
    b: Array
    y: Array
    absw: Array
    absxh: Array
    constant: bool  # m and v come from running buffers
    # allowed errors
    dm: Array
    dv: Array
    sdc: Array  # s times the error of x - m
    rho: Array  # relative error of s
    dxh: Array
    sigma: Array  # s (|x| + |m|): what a fused y = x (w s) + (b - m w s) rounds
    dy: Array
    # slices about which less, or nothing, can be said; (slices, 1) or, with constant statistics, by element
    poisoned: Array  # NaN or inf in the slice, or, with constant statistics, at the element
    spoiled: bool  # whether any is poisoned
    undetermined: Array  # the allowed error of v swamps v + eps
    out_of_range: Array  # a sum may overflow in the compute format
    unknown: Array  # either of the two


class Normalisation:
    """The reference of a layer whose slices are normalised independently.

    args: the constructor arguments, complete, under torch's names.
    dtype: storage format of input and output; param_dtype: of parameters and buffers.
    precision: how a backend may compute.
    """

    centred = True

    def __init__(self, args: Mapping[str, Any], dtype: str, param_dtype: str, precision: Precision) -> None:
        self.args = args
        self.dtype = dtype
        self.param_dtype = param_dtype
        self.precision = precision
        self.real = precision.reference.type
        self.nothing = np.zeros((1, 1), precision.reference)  # the error of what a layer does not compute

    # ---- the definition, one method a formula; a mistake (references.mistakes) replaces one of them ----------------

    def fold(self, shape: tuple[int, ...]) -> Fold:
        """Which elements are normalised together, and where the parameters lie."""
        raise NotImplementedError

    def read(self, x: Array) -> Array:
        """The input as the layer takes it in: exactly."""
        return x.astype(self.precision.reference)

    @property
    def eps(self) -> float:
        return float(self.args["eps"])

    def statistics(self, x: Array, fold: Fold) -> tuple[Array, Array]:
        """Mean and biased variance of each slice; re-centred once, so that the mean's rounding does not matter."""
        m = _mean(x)
        m = m + _mean(x - m)
        xc = x - m
        xc -= _mean(xc)
        return m, _mean(xc * xc)

    def centre(self, x: Array, m: Array, *, constant: bool) -> Array:
        """x - m; re-centred where m is the mean of x itself."""
        xc = x - m
        if not constant:
            xc -= _mean(xc)
        return xc

    def inverse_std(self, v: Array) -> Array:
        inverse: Array = 1 / np.sqrt(v + self.real(self.eps))
        return inverse

    def normalise(self, xc: Array, s: Array) -> Array:
        return xc * s

    def affine(self, xh: Array, w: Array, b: Array) -> Array:
        return w * xh + b

    def backward_sums(self, g: Array, xh: Array) -> tuple[Array, Array]:
        """S1 = mean g and S2 = mean g xh."""
        s1 = _mean(g) if self.centred else np.zeros((g.shape[0], 1), g.dtype)
        return s1, _mean(g * xh)

    def input_gradient(self, f: Forward, gy: Array, S1: Array, S2: Array) -> Array:
        return f.s * (gy * f.w - S1 - f.xh * S2)

    def constant_input_gradient(self, f: Forward, gy: Array) -> Array:
        """The statistics come from running buffers and do not depend on x."""
        return f.s * (gy * f.w)

    def weight_gradient(self, f: Forward, gy: Array) -> Array:
        return f.fold.gather(gy * f.xh)

    def bias_gradient(self, f: Forward, gy: Array) -> Array:
        return f.fold.gather(gy)

    # ---- running buffers: the layers that have them override these --------------------------------------------------

    def running_statistics(
        self, fold: Fold, state: Mapping[str, Quantity], mode: Mode
    ) -> tuple[Quantity, Quantity] | None:
        """Mean and variance to normalise with, shaped (slices, 1), or None where the batch's own are used."""
        return None

    def update(self, f: Forward, state: Mapping[str, Quantity], mode: Mode) -> dict[str, Quantity]:
        """The buffers after the step, with the error scale of this step and what it inherits."""
        return {}

    # ---- one step: values and, beside them, their allowed errors ----------------------------------------------------

    def initial(self, buffers: Mapping[str, Array]) -> dict[str, Quantity]:
        """The state before the first step: the buffers as given, without error."""
        state = {}
        for name, buffer in buffers.items():
            exact = buffer.dtype.kind in "iu"
            value = buffer.copy() if exact else buffer.astype(self.precision.reference)
            state[name] = Quantity(value, np.zeros(value.shape, self.precision.reference), _stored(self, exact=exact))
        return state

    def step(
        self, x: Array, grad_output: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode
    ) -> Expected:
        """One forward and backward.

        x, grad_output: the layer's input shape.  params: ``weight`` and ``bias`` or neither.
        """
        with np.errstate(all="ignore"):
            f = self._forward(x, params, state, mode)
            quantities = {"output": self._output(f)}
            quantities |= self._backward(f, grad_output, params)
            after = self.update(f, state, mode)
            kappa = _conditioning(f)
        for name, buffer in after.items():
            quantities[f"buffer.{name}"] = buffer
        unknown = f.unknown
        return Expected(
            quantities,
            {name: buffer if buffer is state[name] else _as_state(buffer) for name, buffer in after.items()},
            n=f.fold.elements,
            kappa=kappa,
            undetermined_slices=float(np.count_nonzero(unknown) / unknown.size) if unknown.size else 0.0,
        )

    def _forward(self, x: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode) -> Forward:
        p, fold = self.precision, self.fold(x.shape)
        U, t, n = p.U, p.t, fold.elements
        A = p.A(n)
        X = fold.fold(self.read(x))
        w, b = self._spread(params, "weight", 1, X, fold), self._spread(params, "bias", 0, X, fold)
        absx = np.abs(X)
        running = self.running_statistics(fold, state, mode)
        constant = running is not None
        m, v = (running[0].value, running[1].value) if running is not None else self.statistics(X, fold)
        xc = self.centre(X, m, constant=constant)
        absm, mean_absx = np.abs(m), _mean(absx)
        subtracts = self.centred or constant
        if subtracts:
            reach, absxc = absx + absm, np.abs(xc)
        if running is not None:
            dm = running[0].scale + U * absm
            dv = running[1].scale + U * np.abs(v)
        elif self.centred:
            dm = U * (A * mean_absx + absm) + t
            dv = U * ((A + 2) * v + 2 * A * _mean(absxc * reach)) + dm**2 + t
        else:
            dm = self.nothing
            dv = U * (A + 2) * v + t

        broken = ~np.isfinite(m + v)  # the batch's statistics spread a NaN over its slice,
        poisoned = broken | ~np.isfinite(X) if constant else broken  # constants leave every element to itself
        s = self.inverse_std(v)
        h = dv / (v + self.real(self.eps)) + U  # relative error of v + eps
        undetermined = ~((h < 0.5) & np.isfinite(dm)) & ~broken
        rho = np.expm1(-0.5 * np.log1p(-np.where(h < 0.5, h, 0))) + 2 * U

        xh = self.normalise(xc, s)
        absxh, absw = np.abs(xh), np.abs(w)
        dxh = absxh * (rho + 2 * U) + t
        sdc = sigma = self.nothing
        if subtracts:
            sdc, sigma = s * (dm + U * (reach + absxc)), s * reach
            dxh = dxh + sdc * (1 + rho)
        y = self.affine(xh, w, b)
        absy = np.abs(y)
        dy = absw * (dxh + 2 * U * absxh) + U * (np.abs(b) + absy) + t

        largest = n * np.maximum(mean_absx, v + m * m)  # v + m^2 = mean x^2
        out_of_range = np.zeros_like(undetermined) if constant else largest > p.reach.max / 8
        if p.narrow:
            out_of_range = out_of_range | (np.maximum(s, absm) > p.stored.max / 8)
        spoiled = bool(poisoned.any())
        if spoiled:  # decided by its class, NaN or not, and rounds its finite values once
            dxh = np.where(poisoned, self.nothing, dxh)
            if subtracts:
                sdc, sigma = np.where(poisoned, self.nothing, sdc), np.where(poisoned, self.nothing, sigma)
            # an infinity that constant statistics leave is exact: 4 U |y| would allow anything in its place
            dy = np.where(poisoned, 4 * U * np.where(np.isinf(absy), 0, absy), dy)
            out_of_range = out_of_range & ~broken
        return Forward(
            fold, X, m, v, xc, s, xh, w, b, y, absw, absxh, constant,
            dm=dm, dv=dv, sdc=sdc, rho=rho, dxh=dxh, sigma=sigma, dy=dy,
            poisoned=poisoned, spoiled=spoiled, undetermined=undetermined, out_of_range=out_of_range,
            unknown=undetermined | out_of_range,
        )  # fmt: skip

    def _spread(self, params: Mapping[str, Array], name: str, absent: float, X: Array, fold: Fold) -> Array:
        """A parameter at every element, or the number that stands for it where there is none."""
        if name not in params or not X.size:
            return np.full((1, 1), absent, self.precision.reference)
        return fold.spread(params[name].astype(self.precision.reference))

    def _output(self, f: Forward) -> Quantity:
        """y; where the slice is undetermined, what still holds: y is finite and near b, since |xh| <= sqrt(n)."""
        value, scale, unknown = f.y, f.dy, f.unknown
        if not unknown.any():
            return self._whole(f.fold, value, scale)
        u = FORMATS[self.dtype].u
        if self.eps > 0 and not f.constant:
            widest = np.sqrt(self.real(f.fold.elements)) + 2 * f.sdc / f.s / np.sqrt(self.real(self.eps))
            limit = np.abs(f.w) * widest * (1 + 4 * u) + 4 * u * np.abs(f.b)
        else:
            limit = np.full_like(f.dy, np.inf)
        limit = np.where(f.out_of_range, np.inf, limit)
        value, scale = np.where(unknown, f.b, value), np.where(unknown, limit, scale)
        return self._whole(f.fold, value, scale, unknown)

    def _backward(self, f: Forward, grad_output: Array, params: Mapping[str, Array]) -> dict[str, Quantity]:
        p = self.precision
        U, t, n, real = p.U, p.t, f.fold.elements, self.real
        gy = f.fold.fold(grad_output.astype(p.reference))
        g, absgy = gy * f.w, np.abs(gy)
        absg = absgy * f.absw
        fused = f.absxh if f.sigma is self.nothing else f.absxh + f.sigma
        unknown = f.unknown
        if f.constant:
            gx = self.constant_input_gradient(f, gy)
            dgx = np.abs(gx) * (f.rho + 3 * U) + f.s * t + t
        else:
            A = p.A(n)
            mean_absg = _mean(absg)
            S1, S2 = self.backward_sums(g, f.xh)
            absS2 = np.abs(S2)
            dS2 = _mean(absg * (U * A * fused + f.sdc if self.centred else U * A * fused)) + U * absS2 + t
            gx = self.input_gradient(f, gy, S1, S2)
            # d(gx) of the docstring, term by term of what varies within a slice
            reach, of_bracket, of_s = absS2 + dS2, f.s * (1 + f.rho), f.s * f.rho
            dgx = f.absxh * (of_bracket * (2 * U * reach + dS2) + 3 * of_s * absS2) + np.abs(gx) * (2 * U)
            if self.centred:
                absS1 = np.abs(S1)
                dS1 = U * (A * mean_absg + absS1) + t
                dgx = dgx + absg * (2 * U * of_bracket) + np.abs(g - S1) * of_s
                dgx = dgx + (U * f.sigma + f.sdc) * (of_bracket * reach) + (of_bracket * (U * absS1 + dS1 + t) + t)
            else:
                dgx = dgx + absg * (2 * U * of_bracket + of_s) + (of_bracket * t + t)
            unknown = unknown | (self._gradient_out_of_range(f, absg, mean_absg) & ~f.poisoned)
        lost = bool(unknown.any())
        if f.spoiled and not f.constant:  # with constant statistics gx does not depend on x, whatever x holds
            dgx = np.where(f.poisoned, 4 * U * np.abs(gx), dgx)
        if lost:
            dgx = np.where(unknown, real(np.inf), dgx)
        quantities = {"grad_input": self._whole(f.fold, gx, dgx, unknown if lost else None)}
        if "weight" in params:
            m_p = f.fold.terms
            if f.spoiled:
                fused = np.where(f.poisoned, 0, fused)
            dgw = f.fold.gather(absgy * (U * p.A(m_p) * fused + f.dxh)) + m_p * t
            sums_over = f.fold.gather_any(unknown) if lost else None
            if sums_over is not None:
                dgw = np.where(sums_over, real(np.inf), dgw)
            quantities["grad.weight"] = Quantity(self.weight_gradient(f, gy), dgw, self.param_dtype, sums_over)
            if "bias" in params:
                dgb = U * p.A(m_p) * f.fold.gather(absgy) + m_p * t
                quantities["grad.bias"] = Quantity(self.bias_gradient(f, gy), dgb, self.param_dtype)
        return quantities

    def _gradient_out_of_range(self, f: Forward, absg: Array, mean_absg: Array) -> Array:
        """Slices whose sums of gradients, or whose s^3, leave the range in which a backend computes."""
        n, reach = f.fold.elements, self.precision.reach
        small, large = 8 * float(reach.tiny) ** (1 / 3), float(reach.max) ** (1 / 3) / 8
        beyond: Array = (f.s > large) | (f.s < small)
        sums = n * mean_absg
        if (sums * sqrt(n) > reach.max / 8).any():  # else sum |g xh| is small enough too, since |xh| <= sqrt(n)
            beyond |= np.maximum(sums, n * _mean(absg * f.absxh)) > reach.max / 8
        return beyond & bool(n)

    def _whole(self, fold: Fold, value: Array, scale: Array, unknown: Array | None = None) -> Quantity:
        mask = None if unknown is None else fold.unfold(unknown)
        return Quantity(fold.unfold(value), fold.unfold(scale), self.dtype, mask)


def _mean(x: Array) -> Array:
    """The mean over each slice, 0 for an empty one: (slices, n) -> (slices, 1)."""
    total: Array = np.add.reduce(x, axis=1, keepdims=True)
    return total / x.shape[1] if x.shape[1] else total


def _stored(reference: Normalisation, *, exact: bool) -> str:
    return "int64" if exact else reference.param_dtype


def _as_state(buffer: Quantity) -> Quantity:
    """A buffer as the next step finds it: its error includes rounding on store, and no bound holds beyond the range."""
    if buffer.stored == "int64":
        return buffer
    storage: Format = FORMATS[buffer.stored]
    size = np.abs(buffer.value) + buffer.scale
    error = np.where(size < storage.max, buffer.scale + storage.u * np.abs(buffer.value) + storage.eta, np.inf)
    return replace(buffer, scale=np.where(np.isnan(size), buffer.scale, error))


def _conditioning(f: Forward) -> float | None:
    """rms(x) / std(x) of the worst slice whose variance is not zero."""
    if not f.x.size or f.constant:
        return None
    kappa = np.sqrt((f.v + f.m * f.m) / f.v)  # v + m^2 = mean x^2
    kappa = kappa[np.isfinite(kappa)]
    return float(kappa.max()) if kappa.size else None
