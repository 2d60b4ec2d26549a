r"""Maximum and average over windows (torch.nn.MaxPool2d and AvgPool2d, torch 2.13 documentation).

With :math:`x_{n,c}(i, k)` element k of window i (references.windows):

.. math::
    \text{max:}\quad y_{n,c,i} = \max_k x_{n,c}(i, k), \qquad
    \text{average:}\quad y_{n,c,i} = \frac{1}{D_i} \sum_k x_{n,c}(i, k)

The maximum is selected, not computed, so that the output is exact.  Its gradient goes to one element of each window:
of equal ones to the first in row-major order, of several NaN to the last (torch 2.13: ``val > max or isnan(val)``).
An element that several windows select sums what they give back, and this sum is rounded.

:math:`D_i` is ``divisor_override``, or the number of elements of the window: all that lie in the image and its padding
with ``count_include_pad``, those in the image without.  Where ``ceil_mode`` lets a window hang over the padding too,
what lies beyond the padding counts in neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from references.expected import Mode, Quantity
from references.layer import Layer
from references.windows import Axis, Windows, pair

Array = NDArray[Any]


class Pooling(Layer):
    """x: (N, C, H, W) or (C, H, W) and y alike; no parameters."""

    def outside(self) -> float:
        """What a window reads where there is no image."""
        return 0.0

    def terms(self, shape: tuple[int, ...]) -> int:
        height, width = pair(self.args["kernel_size"])
        return height * width

    def windows(self, shape: tuple[int, ...]) -> Windows:
        """The stride is that of the kernel where none is given.  Two pairs of padding, as ONNX has, may differ."""
        kernel, padding = pair(self.args["kernel_size"]), self.args["padding"]
        stride = kernel if self.args["stride"] is None else pair(self.args["stride"])
        dilation = pair(self.args.get("dilation", 1))
        ends = [pair(each) for each in padding] if _is_pairs(padding) else [(p, p) for p in pair(padding)]
        rows, columns = (
            Axis(shape[axis - 2], kernel[axis], stride[axis], *ends[axis], dilation[axis], bool(self.args["ceil_mode"]))
            for axis in (0, 1)
        )
        return Windows(rows, columns)

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        batch = x if x.ndim == 4 else x[None]
        over = self.windows(x.shape)
        upstream = gy.reshape(*batch.shape[:2], over.outputs)
        y, gx = self.pooled(over, over.gather(batch, self.outside()), upstream)
        return {"output": _shaped(y, gy.shape), "grad_input": _shaped(gx, x.shape)}

    def pooled(self, over: Windows, patches: Array, gy: Array) -> tuple[Quantity, Quantity]:
        """patches: (N, C, outputs, kernel); gy: (N, C, outputs).  Output like gy, input gradient (N, C, H, W)."""
        raise NotImplementedError


class MaxPool2d(Pooling):
    """The largest element of each window; padding is never the largest."""

    def outside(self) -> float:
        return -np.inf

    def best(self, patches: Array) -> Array:
        """The largest element of each window, NaN where there is one: (N, C, outputs)."""
        return np.asarray(patches.max(axis=-1))

    def selected(self, patches: Array, inside: Array) -> Array:
        """Which element of each window is taken: (N, C, outputs)."""
        first = np.argmax(inside & (patches == patches.max(axis=-1, keepdims=True)), axis=-1)
        unknown = np.isnan(patches)
        last = patches.shape[-1] - 1 - np.argmax(unknown[..., ::-1], axis=-1)
        return np.where(unknown.any(axis=-1), last, first)

    def gradient(self, chosen: Array, gy: Array) -> Array:
        """What goes back to each element of each window: (N, C, outputs, kernel)."""
        return np.where(chosen, gy[..., None], self.real(0))

    def collect(self, over: Windows, back: Array) -> Array:
        """The sum of what all windows give back: (N, C, H, W)."""
        return over.spread(back)

    def pooled(self, over: Windows, patches: Array, gy: Array) -> tuple[Quantity, Quantity]:
        selected = self.selected(patches, over.inside)[..., None]
        chosen = np.arange(over.kernel) == selected
        times = over.spread(chosen.astype(self.precision.reference))
        p = self.precision
        gx = self.collect(over, self.gradient(chosen, gy))
        sums = np.where(times > 1, over.spread(np.where(chosen, np.abs(gy)[..., None], 0)), self.real(0))
        most = int(times.max()) if times.size else 0
        return self.exact(self.best(patches)), self.rounded(
            gx, p.U * p.A(most) * sums + np.where(times > 1, most * p.t, 0)
        )


class AvgPool2d(Pooling):
    """The mean of each window, as ``count_include_pad`` and ``divisor_override`` count its elements."""

    def override(self) -> int | None:
        given = self.args["divisor_override"]
        return None if given is None else int(given)

    def divisor(self, over: Windows) -> Array:
        """D of each window: (outputs,)."""
        override = self.override()
        if override is not None:
            return np.full(over.outputs, override, self.precision.reference)
        return self.padded_size(over) if self.args["count_include_pad"] else self.image_size(over)

    def image_size(self, over: Windows) -> Array:
        """How many elements of each window lie in the image."""
        return over.inside.sum(axis=-1).astype(self.precision.reference)

    def padded_size(self, over: Windows) -> Array:
        """How many lie in the image or its padding."""
        rows, columns = ((axis.places < axis.length + axis.after).sum(axis=-1) for axis in (over.rows, over.columns))
        return np.asarray((rows[:, None] * columns).reshape(-1).astype(self.precision.reference))

    def mean(self, patches: Array, divisor: Array) -> Array:
        return np.asarray(patches.sum(axis=-1) / divisor)

    def gradient(self, gy: Array, divisor: Array, inside: Array) -> Array:
        """What goes back to each element of each window: (N, C, outputs, kernel)."""
        return np.where(inside, (gy / divisor)[..., None], self.real(0))

    def pooled(self, over: Windows, patches: Array, gy: Array) -> tuple[Quantity, Quantity]:
        divisor, inside = self.divisor(over), over.inside
        magnitudes = np.abs(patches).sum(axis=-1) / np.abs(divisor)
        back = over.spread(np.where(inside, np.abs(gy / divisor)[..., None], self.real(0)))
        # one more rounding for the division, and one for a multiplication by the rounded reciprocal instead
        y = self.summed(self.mean(patches, divisor), magnitudes, over.kernel + 2)
        return y, self.summed(over.spread(self.gradient(gy, divisor, inside)), back, over.most + 2)


def _shaped(q: Quantity, shape: tuple[int, ...]) -> Quantity:
    unknown = None if q.undetermined is None else q.undetermined.reshape(shape)
    return Quantity(q.value.reshape(shape), q.scale.reshape(shape), q.stored, unknown)


def _is_pairs(padding: Any) -> bool:
    return isinstance(padding, list | tuple) and isinstance(padding[0], list | tuple)
