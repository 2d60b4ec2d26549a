"""Random numbers that depend on a key and a counter, and on nothing else.

Only integer arithmetic, exact conversions and correctly rounded float64 operations are used, so that every version of
NumPy on every machine gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_BITS_11, _BITS_16, _BITS_32 = np.uint64(11), np.uint64(16), np.uint64(32)
_HALVES, _LOW = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
#: numbers that are drawn at once: intermediate results of more do not stay in the cache of the processor
_AT_ONCE = 1 << 14
_FEW = np.arange(1, _AT_ONCE + 1, dtype=np.uint64) * _GOLDEN


def words(key: str, count: int, lane: int = 0) -> Array:
    """``count`` 64-bit words: SplitMix64 (Steele, Lea and Flood 2014, figure 17) at counters of its own per lane."""
    start = np.array([_start(key, lane)], np.uint64)
    if count <= _AT_ONCE:
        return _mixed(start + _FEW[:count])
    drawn = np.empty(count, np.uint64)
    for block, counters in _blocks(drawn):
        block[:] = _mixed(start + counters)
    return drawn


def uniform(key: str, shape: tuple[int, ...], lane: int = 0) -> Array:
    """Uniform in (0, 1), 53 bits, float64."""
    return _between(words(key, prod(shape), lane)).reshape(shape)


def normal(key: str, shape: tuple[int, ...]) -> Array:
    """Nearly standard normal, within +-6: the sum of twelve uniforms, which needs no function of a maths library."""
    starts = np.array([_start(key, lane) for lane in range(4)], np.uint64)
    count = prod(shape)
    if count <= _AT_ONCE:
        return _normals(starts[:, None] + _FEW[:count]).reshape(shape)
    drawn = np.empty(count)
    for block, counters in _blocks(drawn):
        block[:] = _normals(starts[:, None] + counters)
    return drawn.reshape(shape)


def _normals(states: Array) -> Array:
    """One number for each column of four states; states: (4, n), overwritten."""
    lanes = _mixed(states)
    coarse, fine = lanes[:3], _between(lanes[3])  # the last fills the bits below 2^-16
    # twelve numbers of 16 bits: two sums side by side in each word, which six numbers of 16 bits cannot overflow
    pairs = (coarse & _HALVES) + ((coarse >> _BITS_16) & _HALVES)
    both = pairs[0] + pairs[1] + pairs[2]
    total = (both & _LOW) + (both >> _BITS_32)
    numbers: Array = (total.astype(np.float64) + 5.5 + fine) * 2.0**-16 - 6.0
    return numbers


def _start(key: str, lane: int) -> int:
    """Where the counters of a lane begin."""
    return int.from_bytes(sha256(f"{key}/{lane}".encode()).digest()[:8], "little")


def _blocks(drawn: Array) -> Iterator[tuple[Array, Array]]:
    """The parts of an array that are drawn at once, with their counters: 1, 2, ... times the golden gamma."""
    for first in range(0, len(drawn), _AT_ONCE):
        block = drawn[first : first + _AT_ONCE]
        yield block, _FEW[: len(block)] + np.array([first], np.uint64) * _GOLDEN


def _mixed(z: Array) -> Array:
    """The output function of SplitMix64; z is overwritten."""
    z ^= z >> _SHIFT_1
    z *= _MIX_1
    z ^= z >> _SHIFT_2
    z *= _MIX_2
    z ^= z >> _SHIFT_3
    return z


def _between(word: Array) -> Array:
    """53 bits of each word, in the middle of their interval in (0, 1)."""
    return (word >> _BITS_11).astype(np.float64) * 2.0**-53 + 2.0**-54
