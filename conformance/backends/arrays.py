"""Arrays as the backends exchange them: the type that NumPy lacks, and a shape in one word."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def dtype_called(name: str) -> np.dtype[Any]:
    """The dtype of this name, ``bfloat16`` included."""
    return BFLOAT16 if name == "bfloat16" else np.dtype(name)


@cache  # NumPy puts the name together anew each time
def name_of(dtype: np.dtype[Any]) -> str:
    return dtype.name


@lru_cache(1024)  # a run asks for few, and often
def shape_name(shape: tuple[int, ...]) -> str:
    """As structure shows it: ``4x3x5x6``."""
    return "x".join(str(size) for size in shape)
