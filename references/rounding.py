r"""Floating-point formats and how far a sum of n terms may drift.

Symbols: ``u`` unit roundoff, ``eta`` smallest subnormal, ``tiny`` smallest normal, ``max`` largest finite number
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., chapter 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Class = Literal["A", "B", "float32"]


@dataclass(frozen=True, slots=True)
class Format:
    """A binary floating-point format."""

    name: str
    u: float
    eta: float
    tiny: float
    max: float


FORMATS: dict[str, Format] = {
    "float64": Format("float64", 2.0**-53, 2.0**-1074, 2.0**-1022, float(np.finfo(np.float64).max)),
    "float32": Format("float32", 2.0**-24, 2.0**-149, 2.0**-126, float(np.finfo(np.float32).max)),
    "bfloat16": Format("bfloat16", 2.0**-8, 2.0**-133, 2.0**-126, float.fromhex("0x1.fep+127")),
    "float16": Format("float16", 2.0**-11, 2.0**-24, 2.0**-14, 65504.0),
}

STORAGE: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "int64": np.dtype(np.int64),
}

#: x87 extended precision is wider than float64 on x86, and is not on ARM or under MSVC
LONGDOUBLE_IS_WIDER = bool(np.finfo(np.longdouble).eps < 2.0**-60)


@dataclass(frozen=True, slots=True)
class Precision:
    """How a backend may compute: the contract (class A) or a declared deviation from it.

    ``K`` scales every rounding; ``compute`` is the format of intermediates; ``reference`` the dtype in which the
    reference itself works; ``t`` the absolute floor of an intermediate (a backend may flush subnormals to zero).
    """

    label: Class
    compute: Format
    K: float
    t: float
    reference: np.dtype[Any]
    stored: Format  # of the input and the output
    narrow: bool = False  # class B: intermediates are rounded to the storage format

    @property
    def U(self) -> float:
        """The allowed relative perturbation of one operation, K times the unit roundoff."""
        return self.K * self.compute.u

    @property
    def reach(self) -> Format:
        """The format whose range bounds sums and powers; class B keeps statistics in storage but sums in float32."""
        return FORMATS["float32"] if self.narrow else self.compute

    def A(self, n: int) -> float:
        """The growth of a sum of n terms: linear up to 1024, then 32 sqrt(n); plain n in float64."""
        if self.compute.name == "float64" or n <= 1024:
            return float(n)
        return 32.0 * sqrt(n)


@cache
def precision(dtype: str, label: Class = "A") -> Precision:
    """The precision class of a layer whose input is stored in ``dtype``.

    Class A computes float64 in float64 and everything else in float32 and rounds once on store.  Class B rounds
    intermediates to the storage format.  Class "float32" computes float64 in float32, as ONNX specifies for
    stash_type=1.
    """
    stored = FORMATS[dtype]
    if label == "B" and dtype in ("bfloat16", "float16"):
        floor = max(stored.eta, FORMATS["float32"].tiny)
        return Precision("B", stored, 2.0, floor, np.dtype(np.float64), stored, narrow=True)
    if dtype != "float64" or label == "float32":
        compute = FORMATS["float32"]
        reference: np.dtype[Any] = np.dtype(np.float64)
        return Precision(label, compute, 2.0, compute.tiny, reference, stored)
    compute = FORMATS["float64"]
    if LONGDOUBLE_IS_WIDER:
        return Precision(label, compute, 2.0, compute.tiny, np.dtype(np.longdouble), stored)
    return Precision(label, compute, 3.0, compute.tiny, np.dtype(np.float64), stored)
