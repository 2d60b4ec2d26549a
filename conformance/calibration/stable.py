r"""Ways to sum and to take statistics that a correct implementation may choose, in plain NumPy.

All of them work on (rows, n) and keep the dtype of their input, so that every addition rounds as it would in a kernel
of that format.  ``np.add.accumulate`` adds strictly from left to right; ``np.add.reduce`` does not and is not used.

Sources: Chan, Golub and LeVeque 1983 (two-pass, corrected two-pass, pairwise updates); Welford 1962; Kahan 1965.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sum = Callable[[Array], Array]  # (rows, n) -> (rows, 1)
Moments = Callable[[Array], tuple[Array, Array]]  # (rows, n) -> mean and biased variance, (rows, 1) each


# ---- sums -----------------------------------------------------------------------------------------------------------


def sequential(x: Array) -> Array:
    """From left to right in one accumulator."""
    return np.add.accumulate(x, axis=1)[:, -1:]


def lanes(x: Array, count: int) -> Array:
    """``count`` accumulators in turn, as vector registers or GPU threads have them, joined from left to right."""
    columns = _split(x, count)
    return sequential(np.add.accumulate(columns, axis=1)[:, -1, :])


def blocked(x: Array, length: int) -> Array:
    """Blocks of ``length`` neighbours, each from left to right, joined from left to right."""
    blocks = _split(x, length)
    return sequential(np.add.accumulate(blocks, axis=2)[:, :, -1])


def pairwise(x: Array) -> Array:
    """A balanced binary tree over neighbours."""
    while x.shape[1] > 1:
        even = _padded(x, 2)
        x = even[:, ::2] + even[:, 1::2]
    return x


def compensated(x: Array) -> Array:
    """Kahan's: the rounding of each addition is taken off the next term."""
    total = np.zeros(x.shape[0], x.dtype)
    lost = np.zeros_like(total)
    for term in np.ascontiguousarray(x.T):
        corrected = term - lost
        larger = total + corrected
        lost = np.where(np.isfinite(larger), (larger - total) - corrected, 0)  # inf - inf is no correction
        total = larger
    return total[:, None]


def widened(x: Array) -> Array:
    """In the next wider format, rounded once at the end."""
    return sequential(x.astype(wider(x.dtype))).astype(x.dtype)


def wider(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """float64 for float32, extended precision (where the machine has it) for float64."""
    return np.dtype(np.longdouble) if dtype == np.float64 else np.dtype(np.float64)


def _padded(x: Array, multiple: int) -> Array:
    """Zeros at the end, which change no sum."""
    missing = -x.shape[1] % multiple
    return np.pad(x, ((0, 0), (0, missing))) if missing else x


def _split(x: Array, length: int) -> Array:
    """(rows, n) -> (rows, ceil(n / length), length)."""
    return _padded(x, length).reshape(x.shape[0], -1, length)


# ---- mean and variance ----------------------------------------------------------------------------------------------


def two_pass(x: Array, total: Sum) -> tuple[Array, Array]:
    """The mean first, then the mean square of what is left."""
    m = total(x) / x.shape[1]
    xc = x - m
    return m, total(xc * xc) / x.shape[1]


def two_pass_reciprocal(x: Array, total: Sum) -> tuple[Array, Array]:
    """Two passes; multiplies by 1/n where others divide by n."""
    share = x.dtype.type(1) / x.dtype.type(x.shape[1])
    m = total(x) * share
    xc = x - m
    return m, total(xc * xc) * share


def corrected_two_pass(x: Array, total: Sum) -> tuple[Array, Array]:
    """Two passes, less the square of what the centred values still sum to."""
    n = x.shape[1]
    m = total(x) / n
    xc = x - m
    left = total(xc)
    return m, np.maximum((total(xc * xc) - left * left / n) / n, x.dtype.type(0))


def widened_two_pass(x: Array) -> tuple[Array, Array]:
    """Two passes in the next wider format, rounded once at the end."""
    m, v = two_pass(x.astype(wider(x.dtype)), sequential)
    return m.astype(x.dtype), v.astype(x.dtype)


def welford(x: Array) -> tuple[Array, Array]:
    """One value after the other into a mean and a sum of squares about it."""
    mean, square = _welford(np.ascontiguousarray(x.T))
    return mean[:, None], square[:, None] / x.shape[1]


def _welford(columns: Array) -> tuple[Array, Array]:
    """(n, ...) -> mean and sum of squares about it, (...)."""
    mean = np.zeros(columns.shape[1:], columns.dtype)
    square = np.zeros_like(mean)
    for count, value in enumerate(columns, start=1):
        delta = value - mean
        mean = mean + delta / count
        square = square + delta * (value - mean)
    return mean, square


def strided_welford(x: Array, count: int) -> tuple[Array, Array]:
    """``count`` threads with Welford's update each, merged in a tree: the way of GPU kernels."""
    n = x.shape[1]
    whole = n - n % count
    mean, square = _welford(x[:, :whole].reshape(x.shape[0], -1, count).swapaxes(0, 1))
    sizes = np.full((1, count), whole // count, x.dtype)
    rest = x[:, whole:]
    ones = np.ones((1, rest.shape[1]), x.dtype)
    return _merged(
        np.concatenate([np.broadcast_to(sizes, (1, count)), ones], axis=1),
        np.concatenate([mean, rest], axis=1),
        np.concatenate([square, np.zeros_like(rest)], axis=1),
    )


def tree(x: Array) -> tuple[Array, Array]:
    """Single values merged two by two by Chan's formula."""
    return _merged(np.ones((1, x.shape[1]), x.dtype), x, np.zeros_like(x))


def _merged(sizes: Array, mean: Array, square: Array) -> tuple[Array, Array]:
    """Partial results merged in a balanced tree; an empty part adds nothing."""
    while mean.shape[1] > 1:
        sizes, mean, square = (_padded(part, 2) for part in (sizes, mean, square))
        n_a, n_b = sizes[:, ::2], sizes[:, 1::2]
        sizes = n_a + n_b
        share = n_b / np.maximum(sizes, 1)
        delta = mean[:, 1::2] - mean[:, ::2]
        mean, square = (
            mean[:, ::2] + delta * share,
            square[:, ::2] + square[:, 1::2] + delta * delta * (n_a * share),
        )
    return mean, square / sizes


# ---- what an implementation combines --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an implementation sums (gradients, squares) and how it takes mean and variance."""

    name: str
    total: Sum
    moments: Moments


def _two_pass(name: str, total: Sum) -> Recipe:
    return Recipe(name, total, partial(two_pass, total=total))


_EIGHT = partial(lanes, count=8)

RECIPES: tuple[Recipe, ...] = (
    _two_pass("two-pass, sequential", sequential),
    _two_pass("two-pass, 8 lanes", _EIGHT),
    _two_pass("two-pass, 16 lanes", partial(lanes, count=16)),
    _two_pass("two-pass, 512 threads", partial(lanes, count=512)),
    _two_pass("two-pass, blocks of 128", partial(blocked, length=128)),
    _two_pass("two-pass, pairwise", pairwise),
    _two_pass("two-pass, Kahan", compensated),
    Recipe("two-pass, times 1/n", _EIGHT, partial(two_pass_reciprocal, total=_EIGHT)),
    Recipe("two-pass, corrected", _EIGHT, partial(corrected_two_pass, total=_EIGHT)),
    Recipe("two-pass, wider sums", widened, widened_two_pass),
    Recipe("Welford, sequential", sequential, welford),
    Recipe("Welford, 64 threads", partial(lanes, count=64), partial(strided_welford, count=64)),
    Recipe("Chan tree", pairwise, tree),
)
