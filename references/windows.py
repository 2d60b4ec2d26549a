r"""Windows that slide over the two axes of an image: where each of their elements lies, and how to gather and spread.

Along one axis of length L, with p elements of padding before it, element k of window i lies at :math:`i s + k d - p`
(Dumoulin and Visin 2016, relationships 6 and 15).  A window that reaches beyond the image reads what the padding mode
says; position L stands for padding that has no place in the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """The windows along one axis.  before, after: the padding.  mode: as Conv2d's ``padding_mode``."""

    length: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil_mode: bool = False
    mode: str = "zeros"

    @property
    def count(self) -> int:
        """How many windows there are.

        With ``ceil_mode`` the last one may hang over, but none starts beyond the image and the padding before it
        (torch.nn.MaxPool2d, torch 2.13 documentation).
        """
        free = self.length + self.before + self.after - self.dilation * (self.kernel - 1) - 1
        if not self.ceil_mode:
            return max(free // self.stride + 1, 0)
        count = -(-free // self.stride) + 1
        return max(count - ((count - 1) * self.stride >= self.length + self.before), 0)

    @property
    def places(self) -> Array:
        """Where each element lies on the padded axis, from the image's first element on: (count, kernel)."""
        starts = np.arange(self.count)[:, None] * self.stride
        return starts + np.arange(self.kernel) * self.dilation - self.before

    @property
    def positions(self) -> Array:
        """The element of the image that each element of a window reads, ``length`` for none: (count, kernel)."""
        places, last = self.places, self.length - 1
        if self.mode == "reflect":
            places = np.abs(places)
            places = np.where(places > last, 2 * last - places, places)
        elif self.mode == "replicate":
            places = places.clip(0, last)
        elif self.mode == "circular":
            places = places % self.length
        return np.where((places < 0) | (places > last), self.length, places)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows over an image of ``rows.length`` by ``columns.length``."""

    rows: Axis
    columns: Axis

    @property
    def kernel(self) -> int:
        return self.rows.kernel * self.columns.kernel

    @property
    def outputs(self) -> int:
        return self.rows.count * self.columns.count

    @property
    def flat(self) -> Array:
        """For every window and element of it, the place in an image with one row and one column of padding at its end.

        (outputs, kernel); elements of a window in row-major order.
        """
        place = self.rows.positions[:, None, :, None] * (self.columns.length + 1) + self.columns.positions[:, None, :]
        return place.reshape(self.outputs, self.kernel)

    @property
    def inside(self) -> Array:
        """Which elements of the windows lie in the image: (outputs, kernel)."""
        rows = self.rows.positions < self.rows.length
        columns = self.columns.positions < self.columns.length
        return (rows[:, None, :, None] & columns[:, None, :]).reshape(self.outputs, self.kernel)

    def gather(self, x: Array, outside: float = 0.0) -> Array:
        """Every window's elements: (N, C, H, W) -> (N, C, outputs, kernel)."""
        n, c, height, width = x.shape
        padded = np.full((n, c, height + 1, width + 1), outside, x.dtype)
        padded[:, :, :-1, :-1] = x
        return padded.reshape(n, c, (height + 1) * (width + 1))[:, :, self.flat]

    def spread(self, terms: Array) -> Array:
        """The transpose of gather, sums of all that windows give back: (N, C, outputs, kernel) -> (N, C, H, W)."""
        n, c = terms.shape[:2]
        height, width = self.rows.length + 1, self.columns.length + 1
        total = np.zeros(n * c * height * width, terms.dtype)
        image = (np.arange(n * c) * (height * width))[:, None]
        np.add.at(total, (image + self.flat.reshape(1, -1)).reshape(-1), terms.reshape(-1))
        return total.reshape(n, c, height, width)[:, :, :-1, :-1]

    @property
    def most(self) -> int:
        """In how many places of windows an element of the image occurs at most."""
        reads = self.spread(np.ones((1, 1, self.outputs, self.kernel)))
        return int(reads.max()) if reads.size else 0


def pair(value: Any) -> tuple[int, int]:
    """An argument that torch takes as one number for both axes or as two."""
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)
