r"""Two-dimensional convolution, which is a cross-correlation (torch.nn.Conv2d, torch 2.13 documentation).

With :math:`x_{n,c,\cdot}(i, k)` element k of window i of channel c (references.windows), and for output channel o the
input channels :math:`c \in G(o)` of its group:

.. math::
    y_{n,o,i} = b_o + \sum_{c \in G(o)} \sum_k W_{o,c,k}\, x_{n,c}(i, k), \qquad
    \bar W_{o,c,k} = \sum_{n,i} \bar y_{n,o,i}\, x_{n,c}(i, k), \qquad \bar b_o = \sum_{n,i} \bar y_{n,o,i}

.. math::
    \bar x_{n,c}(j) = \sum_{o:\, c \in G(o)}\ \sum_{(i, k)\ \text{reads}\ j} W_{o,c,k}\, \bar y_{n,o,i}

Each is a sum of products, whose allowed error references.layer gives.  Winograd and FFT algorithms, which cuDNN may
choose, do not sum these products and are not bounded element by element like this; the libraries that torch uses on the
CPU do not take them by themselves.
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


class Conv2d(Layer):
    """x: (N, C, H, W) or (C, H, W) -> the same with out_channels; weight: (out, C / groups, kH, kW), bias: (out,)."""

    def terms(self, shape: tuple[int, ...]) -> int:
        height, width = pair(self.args["kernel_size"])
        return int(self.args["in_channels"]) // self.groups * height * width

    # ---- the definition ---------------------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        return int(self.args["groups"])

    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows above and below, columns left and right.

        'same' puts the odd one at the end.  Two pairs, as ONNX has them, are taken as they are.
        """
        given = self.args["padding"]
        if given == "valid":
            return (0, 0), (0, 0)
        if given == "same":
            steps = zip(pair(self.args["kernel_size"]), pair(self.args["dilation"]), strict=True)
            (height, width) = (dilation * (kernel - 1) for kernel, dilation in steps)
            return (height // 2, height - height // 2), (width // 2, width - width // 2)
        if isinstance(given, list | tuple) and isinstance(given[0], list | tuple):
            return pair(given[0]), pair(given[1])
        height, width = pair(given)
        return (height, height), (width, width)

    def windows(self, shape: tuple[int, ...]) -> Windows:
        kernel, stride, dilation = (pair(self.args[name]) for name in ("kernel_size", "stride", "dilation"))
        mode = str(self.args["padding_mode"])
        rows, columns = (
            Axis(shape[axis - 2], kernel[axis], stride[axis], *self.padding()[axis], dilation[axis], mode=mode)
            for axis in (0, 1)
        )
        return Windows(rows, columns)

    def grouped(self, patches: Array) -> Array:
        """Windows by group: (N, C, outputs, kernel) -> (N, groups, C / groups * kernel, outputs)."""
        n, c, outputs, kernel = patches.shape
        return patches.transpose(0, 1, 3, 2).reshape(n, self.groups, c // self.groups * kernel, outputs)

    def filters(self, w: Array) -> Array:
        """Filters by group: (out, C / groups, kH, kW) -> (groups, out / groups, C / groups * kernel)."""
        return w.reshape(self.groups, w.shape[0] // self.groups, w[0].size)

    def correlate(self, patches: Array, filters: Array) -> Array:
        """(N, groups, terms, outputs), (groups, out / groups, terms) -> (N, groups, out / groups, outputs)."""
        return filters @ patches

    def bias(self, b: Array) -> Array:
        """The bias beside the output of correlate."""
        return b.reshape(self.groups, -1, 1)

    def patch_gradient(self, gy: Array, filters: Array) -> Array:
        """What goes back to each element of each window: (N, groups, terms, outputs)."""
        return filters.transpose(0, 2, 1) @ gy

    def weight_gradient(self, patches: Array, gy: Array) -> Array:
        return np.asarray((gy @ patches.transpose(0, 1, 3, 2)).sum(axis=0))

    def bias_gradient(self, gy: Array) -> Array:
        return np.asarray(gy.sum(axis=(0, 3)))

    # ---- values and errors ------------------------------------------------------------------------------------------

    def quantities(self, x: Array, gy: Array, params: Mapping[str, Array], mode: Mode) -> dict[str, Quantity]:
        w = params["weight"]
        b = params.get("bias", np.zeros(w.shape[0], w.dtype))
        batch = x if x.ndim == 4 else x[None]
        over = self.windows(x.shape)
        patches, filters = self.grouped(over.gather(batch)), self.filters(w)
        upstream = gy.reshape(batch.shape[0], self.groups, w.shape[0] // self.groups, over.outputs)
        absx, absw, absgy = np.abs(patches), np.abs(filters), np.abs(upstream)

        def spread(terms: Array) -> Array:
            kernels = terms.reshape(*batch.shape[:2], over.kernel, over.outputs)
            return over.spread(kernels.transpose(0, 1, 3, 2)).reshape(x.shape)

        y = self.correlate(patches, filters) + self.bias(b)
        magnitudes = absw @ absx + np.abs(b).reshape(self.groups, -1, 1)
        m = batch.shape[0] * over.outputs
        found = {
            "output": self.summed(
                y.reshape(gy.shape), magnitudes.reshape(gy.shape), self.terms(x.shape) + ("bias" in params)
            ),
            "grad_input": self.summed(
                spread(self.patch_gradient(upstream, filters)),
                spread(absw.transpose(0, 2, 1) @ absgy),
                w.shape[0] // self.groups * over.most,
            ),
            "grad.weight": self.summed(
                self.weight_gradient(patches, upstream).reshape(w.shape),
                (absgy @ absx.transpose(0, 1, 3, 2)).sum(axis=0).reshape(w.shape),
                m,
                self.param_dtype,
            ),
        }
        if "bias" in params:
            found["grad.bias"] = self.summed(
                self.bias_gradient(upstream).reshape(-1), absgy.sum(axis=(0, 3)).reshape(-1), m, self.param_dtype
            )
        return found
