"""Random numbers that depend on a key and a counter, and on nothing else.

Only integer arithmetic, exact conversions and correctly rounded float64 operations are used, so that every version of
NumPy on every machine gives the same bits.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def words(key: str, count: int, lane: int = 0) -> Array:
    """``count`` 64-bit words: SplitMix64 (Steele, Lea and Flood 2014, figure 17) at counters of its own per lane."""
    start = np.uint64(int.from_bytes(sha256(f"{key}/{lane}".encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = start + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        return z ^ (z >> np.uint64(31))


def uniform(key: str, shape: tuple[int, ...], lane: int = 0) -> Array:
    """Uniform in (0, 1), 53 bits, float64."""
    count = int(np.prod(shape, dtype=np.int64))
    bits = words(key, count, lane) >> np.uint64(11)
    return (bits.astype(np.float64) * 2.0**-53 + 2.0**-54).reshape(shape)


def normal(key: str, shape: tuple[int, ...]) -> Array:
    """Nearly standard normal, within +-6: the sum of twelve uniforms, which needs no function of a maths library."""
    count = int(np.prod(shape, dtype=np.int64))
    total = np.zeros(count, np.uint64)
    for lane in range(3):
        word = words(key, count, lane)
        for shift in (0, 16, 32, 48):
            total += (word >> np.uint64(shift)) & np.uint64(0xFFFF)
    fine = uniform(key, (count,), lane=3)  # fills the bits below 2^-16
    return ((total.astype(np.float64) + 5.5 + fine) * 2.0**-16 - 6.0).reshape(shape)
