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
2nd ed., sections 3.1, 4.2 and 1.9).  U, A and t are explained in references.rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    constant: bool  # m and v come from running buffers
    # allowed errors
    dm: Array
    dv: Array
    dc: Array
    rho: Array  # relative error of s
    dxh: Array
    sigma: Array  # s (|x| + |m|): what a fused y = x (w s) + (b - m w s) rounds
    dy: Array
    # slices about which less, or nothing, can be said; (slices, 1) or, with constant statistics, by element
    poisoned: Array  # NaN or inf in the slice, or, with constant statistics, at the element
    undetermined: Array  # the allowed error of v swamps v + eps
    out_of_range: Array  # a sum may overflow in the compute format


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
        if x.shape[1] == 0:
            nothing = np.zeros((x.shape[0], 1), x.dtype)
            return nothing, nothing
        m = x.mean(axis=1, keepdims=True)
        m = m + (x - m).mean(axis=1, keepdims=True)
        xc = x - m
        xc = xc - xc.mean(axis=1, keepdims=True)
        return m, (xc * xc).mean(axis=1, keepdims=True)

    def centre(self, x: Array, m: Array, *, constant: bool) -> Array:
        """x - m; re-centred where m is the mean of x itself."""
        xc = x - m
        if not constant and x.shape[1]:
            xc = xc - xc.mean(axis=1, keepdims=True)
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
        if g.shape[1] == 0:
            nothing = np.zeros((g.shape[0], 1), g.dtype)
            return nothing, nothing
        s1 = g.mean(axis=1, keepdims=True) if self.centred else np.zeros((g.shape[0], 1), g.dtype)
        return s1, (g * xh).mean(axis=1, keepdims=True)

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
        for name, buffer in after.items():
            quantities[f"buffer.{name}"] = buffer
        determined = ~(f.undetermined | f.out_of_range) if f.s.size else np.ones(1, bool)
        return Expected(
            quantities,
            {name: buffer if buffer is state[name] else _as_state(buffer) for name, buffer in after.items()},
            n=f.fold.elements,
            kappa=_conditioning(f),
            undetermined_slices=float(1 - determined.mean()),
        )

    def _forward(self, x: Array, params: Mapping[str, Array], state: Mapping[str, Quantity], mode: Mode) -> Forward:
        p, real = self.precision, self.real
        U, t, fold = p.U, p.t, self.fold(x.shape)
        n = fold.elements
        A = p.A(n)
        X = fold.fold(self.read(x))
        w = fold.spread(params["weight"].astype(p.reference)) if "weight" in params else np.ones_like(X[:1, :1])
        b = fold.spread(params["bias"].astype(p.reference)) if "bias" in params else np.zeros_like(X[:1, :1])
        if not X.size:
            w, b = np.ones_like(X), np.zeros_like(X)
        absx = np.abs(X)
        mean_absx = _mean(absx)

        running = self.running_statistics(fold, state, mode)
        constant = running is not None
        if running is not None:
            m, v = running[0].value, running[1].value
            dm = running[0].scale + U * np.abs(m)
            dv = running[1].scale + U * np.abs(v)
            xc = self.centre(X, m, constant=True)
        else:
            m, v = self.statistics(X, fold)
            xc = self.centre(X, m, constant=False)
            if self.centred:
                dm = U * (A * mean_absx + np.abs(m)) + t
                dv = U * ((A + 2) * v + 2 * A * _mean(np.abs(xc) * (absx + np.abs(m)))) + dm**2 + t
            else:
                dm = np.zeros_like(m)
                dv = U * (A + 2) * v + t

        finite = np.isfinite(X)
        if not constant:  # the statistics spread a NaN over its slice; constants leave every element to itself
            finite = finite.all(axis=1, keepdims=True)
        poisoned = ~finite | ~np.isfinite(m) | ~np.isfinite(v)
        q = v + real(self.eps)
        s = self.inverse_std(v)
        h = (dv + U * q) / q  # relative error of v + eps
        undetermined = ~((h < 0.5) & np.isfinite(dm)) & ~poisoned
        rho = np.where(undetermined | poisoned, 0, np.expm1(-0.5 * np.log1p(-np.where(h < 0.5, h, 0)))) + 2 * U

        xh = self.normalise(xc, s)
        uncentred = self.centred or constant
        dc = dm + U * (absx + np.abs(m) + np.abs(xc)) if uncentred else np.zeros_like(xc)
        sigma = s * (absx + np.abs(m)) if uncentred else np.zeros_like(xc)
        dxh = s * dc * (1 + rho) + np.abs(xh) * (rho + 2 * U) + t
        y = self.affine(xh, w, b)
        dy = np.abs(w) * dxh + U * (2 * np.abs(w * xh) + np.abs(b) + np.abs(y)) + t

        out_of_range = np.zeros_like(undetermined)
        if running is None and n:
            largest = np.maximum(np.maximum(mean_absx, v), _mean(X * X))
            out_of_range = (n * largest > p.reach.max / 8) & ~poisoned
        if p.narrow:
            out_of_range |= ((s > p.stored.max / 8) | (np.abs(m) > p.stored.max / 8)) & ~poisoned
        clear = ~poisoned  # a poisoned slice is decided by its class (NaN or not), and rounds its finite values once
        return Forward(
            fold, X, m, v, xc, s, xh, w, b, y, constant,
            dm=dm, dv=dv,
            dc=np.where(clear, dc, 0), rho=rho, dxh=np.where(clear, dxh, 0), sigma=np.where(clear, sigma, 0),
            dy=np.where(clear, dy, 4 * U * np.abs(y)),
            poisoned=poisoned, undetermined=undetermined, out_of_range=out_of_range,
        )  # fmt: skip

    def _output(self, f: Forward) -> Quantity:
        """y; where the slice is undetermined, what still holds: y is finite and near b, since |xh| <= sqrt(n)."""
        unknown = f.undetermined | f.out_of_range
        value, scale = f.y, f.dy
        if unknown.any():
            u = FORMATS[self.dtype].u
            if self.eps > 0 and not f.constant:
                widest = np.sqrt(self.real(f.fold.elements)) + 2 * f.dc / np.sqrt(self.real(self.eps))
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
        g = gy * f.w
        absg, absxh = np.abs(g), np.abs(f.xh)
        if f.constant:
            gx = self.constant_input_gradient(f, gy)
            dgx = np.abs(gx) * (f.rho + 3 * U) + f.s * t + t
        else:
            A = p.A(n)
            S1, S2 = self.backward_sums(g, f.xh)
            dS1 = U * (A * _mean(absg) + np.abs(S1)) + t if self.centred else np.zeros_like(S1)
            dS2 = U * (A * _mean(absg * (absxh + f.sigma)) + np.abs(S2)) + _mean(absg * f.s * f.dc) + t
            gx = self.input_gradient(f, gy, S1, S2)
            reach = np.abs(S2) + dS2
            br = (
                U * (2 * absg + np.abs(S1) + (2 * absxh + f.sigma) * reach) + dS1 + absxh * dS2 + f.s * f.dc * reach + t
            )
            dgx = (
                f.s * (1 + f.rho) * br + f.rho * f.s * (np.abs(g - S1) + 3 * np.abs(f.xh * S2)) + 2 * U * np.abs(gx) + t
            )
        unknown = f.undetermined | f.out_of_range
        if not f.constant and n:
            sums = n * np.maximum(_mean(absg), _mean(absg * absxh)) > p.reach.max / 8
            cube_root = float(p.reach.max) ** (1 / 3) / 8, 8 * float(p.reach.tiny) ** (1 / 3)
            unknown = unknown | ((sums | (f.s > cube_root[0]) | (f.s < cube_root[1])) & ~f.poisoned)
        dgx = np.where(f.poisoned, 4 * U * np.abs(gx), dgx)
        quantities = {"grad_input": self._whole(f.fold, gx, np.where(unknown, real(np.inf), dgx), unknown)}
        if "weight" in params:
            m_p = f.fold.terms
            sums_of = U * p.A(m_p) * np.abs(gy) * (np.where(f.poisoned, 0, absxh) + f.sigma)
            dgw = f.fold.gather(sums_of + np.abs(gy) * f.dxh) + m_p * t
            lost = f.fold.gather_any(unknown)
            quantities["grad.weight"] = Quantity(
                self.weight_gradient(f, gy),
                np.where(lost, real(np.inf), dgw),
                self.param_dtype,
                lost if lost.any() else None,
            )
            if "bias" in params:
                dgb = U * p.A(m_p) * f.fold.gather(np.abs(gy)) + m_p * t
                quantities["grad.bias"] = Quantity(self.bias_gradient(f, gy), dgb, self.param_dtype)
        return quantities

    def _whole(self, fold: Fold, value: Array, scale: Array, unknown: Array) -> Quantity:
        mask = fold.unfold(unknown) if unknown.any() else None
        return Quantity(fold.unfold(value), fold.unfold(scale), self.dtype, mask)


def _mean(x: Array) -> Array:
    """The mean over each slice, 0 for an empty one: (slices, n) -> (slices, 1)."""
    mean: Array = x.mean(axis=1, keepdims=True) if x.shape[1] else np.zeros((x.shape[0], 1), x.dtype)
    return mean


def _stored(reference: Normalisation, *, exact: bool) -> str:
    return "int64" if exact else reference.param_dtype


def _as_state(buffer: Quantity) -> Quantity:
    """A buffer as the next step finds it: its error includes the rounding on store, and all bounds are off beyond range."""
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
    with np.errstate(all="ignore"):
        kappa = np.sqrt(_mean(f.x * f.x) / np.where(f.v > 0, f.v, np.nan))
    return float(np.nanmax(kappa)) if np.isfinite(kappa).any() else None
