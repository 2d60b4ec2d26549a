r"""Stochastic gradient descent (torch.optim.SGD, documentation of torch 2.13).

.. math::
    g' &= g + \lambda p \\
    b &\leftarrow \mu b + (1 - \tau) g', \qquad b \leftarrow g' \text{ at the first update} \\
    d &= g' + \mu b \text{ (nesterov)}, \quad b \text{ (momentum)}, \quad g' \text{ (neither)} \\
    p &\leftarrow p - \gamma d

with learning rate :math:`\gamma` (``lr``), momentum :math:`\mu`, dampening :math:`\tau` and weight decay
:math:`\lambda`.  Sutskever et al. (2013) and many textbooks put :math:`\gamma` into the buffer instead,
:math:`b \leftarrow \mu b - \gamma g`: the parameters then agree as long as :math:`\gamma` stays as it is, the buffers
never do.

Allowed errors, of one update of exactly these parameters and buffers, with U = K u of the compute format, t its floor,
and [q] = u |q| + eta for rounding q on store:

.. math::
    \delta g' &= \delta g + [g] + U(2|\lambda p| + |g'|) + [g'] + t \\
    \delta b &= |1 - \tau|\,\delta g' + U(2|\mu b_0| + 2|(1 - \tau) g'| + |b|) + [\mu b_0] + t \\
    \delta d &= \delta g' + |\mu| (\delta b + [b]) + U(2|\mu b| + |d|) + [d] + t \text{ (nesterov)},
    \quad \delta b + [b], \quad \delta g' \\
    \delta p &= \gamma\,\delta d + U(2|\gamma d| + |p|) + t

The gradient comes in the dtype of the parameters, and the optimizer is a row of operations on tensors of that dtype
(unless ``fused``), so g', :math:`\mu b_0` and d may be rounded to it in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from references.expected import Quantity
from references.rounding import FORMATS, Class, precision

Array = NDArray[Any]


class Updated(NamedTuple):
    """A parameter after an update, and its momentum buffer, which there is none of without momentum."""

    param: Quantity
    buffer: Quantity | None


@dataclass(frozen=True, slots=True)
class SGD:
    """The optimizer, for parameters that are stored in ``param_dtype``; the arguments are those of torch.optim.SGD."""

    lr: float
    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool
    param_dtype: str
    label: Class = "A"

    def update(self, param: Array, gradient: Quantity, buffer: Array | None) -> Updated:
        """One update of ``param``, any shape; ``buffer`` has the same shape, and is None before the first update.

        param and buffer are exact, as stored; the gradient brings its allowed error.  Where that is infinite, nothing
        is promised of the parameter and the buffer either.
        """
        with np.errstate(all="ignore"):
            return self._update(param, gradient, buffer)

    def _update(self, param: Array, gradient: Quantity, buffer: Array | None) -> Updated:
        p = precision(self.param_dtype, self.label)
        U, t, real = p.U, p.t, p.reference.type
        old, g = param.astype(p.reference), gradient.value.astype(p.reference)
        g, dg = self.decayed(old, g), gradient.scale + _on_store(g, self.param_dtype)
        if self.weight_decay:
            dg = dg + U * (2 * np.abs(real(self.weight_decay) * old) + np.abs(g)) + _on_store(g, self.param_dtype) + t
        direction, dd = g, dg
        after = None
        if self.momentum:
            before = None if buffer is None else buffer.astype(p.reference)
            b, db = self.moved(before, g), dg
            if before is not None:
                entered, kept = np.abs(real(1 - self.dampening) * g), np.abs(real(self.momentum) * before)
                db = abs(1 - self.dampening) * dg + U * (2 * kept + 2 * entered + np.abs(b)) + t
                db = db + _on_store(kept, self.param_dtype)
            after = self._quantity(b, db, gradient)
            direction, dd = self.direction(g, b), db + _on_store(b, self.param_dtype)
            if self.nesterov:
                dd = dg + self.momentum * dd + U * (2 * self.momentum * np.abs(b) + np.abs(direction)) + t
                dd = dd + _on_store(direction, self.param_dtype)
        new = self.stepped(old, direction)
        d = self.lr * dd + U * (2 * self.lr * np.abs(direction) + np.abs(new)) + t
        return Updated(self._quantity(new, d, gradient), after)

    def _quantity(self, value: Array, scale: Array, gradient: Quantity) -> Quantity:
        return Quantity(value, scale, self.param_dtype, gradient.undetermined, any_nonfinite=True)

    # ---- the formula, part by part ----------------------------------------------------------------------------------

    def decayed(self, param: Array, g: Array) -> Array:
        """The gradient with the weight decay in it."""
        return g + g.dtype.type(self.weight_decay) * param if self.weight_decay else g

    def moved(self, buffer: Array | None, g: Array) -> Array:
        """The momentum buffer after the update; the first gradient enters it undampened."""
        if buffer is None:
            return g
        return g.dtype.type(self.momentum) * buffer + g.dtype.type(1 - self.dampening) * g

    def direction(self, g: Array, buffer: Array) -> Array:
        """Where the parameter goes, the sign aside, when there is momentum."""
        return g + g.dtype.type(self.momentum) * buffer if self.nesterov else buffer

    def stepped(self, param: Array, direction: Array) -> Array:
        """The parameter after the update."""
        return param - param.dtype.type(self.lr) * direction


def _on_store(value: Array, stored: str) -> Array:
    storage = FORMATS[stored]
    rounding: Array = storage.u * np.abs(value) + storage.eta
    return rounding
