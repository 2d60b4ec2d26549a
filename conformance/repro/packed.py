"""Arrays as compressed bytes, where neither their numbers nor a generator is short."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping

import numpy as np

from conformance.observation import Array
from conformance.repro.block import folded


def packed(name: str, array: Array, dtype: str) -> list[str]:
    """The values as compressed bytes, in one line however long; empty arrays and integers in their own words."""
    shape = ", ".join(map(str, array.shape))
    if not array.size:
        return [f"{name} = np.zeros(({shape},))"]
    if array.dtype.kind in "iu":
        return folded(f"{name} = np.array({array.reshape(-1).tolist()}).reshape({shape})")
    code = {"float64": "<f8", "float16": "<f2"}.get(dtype, "<f4")
    text = base64.b64encode(zlib.compress(array.astype(code).tobytes(), 9)).decode()
    return [
        f'{name} = np.frombuffer(zlib.decompress(base64.b64decode("{text}")), "{code}").astype(float).reshape({shape})'
    ]


def together(state: Mapping[str, Array], dtype: str) -> list[str]:
    """``state``, a dictionary of parameters and buffers by their dotted names, from one row of numbers."""
    flat = np.concatenate([array.reshape(-1) for array in state.values()])
    shapes = ", ".join(f"{name!r}: {tuple(array.shape)}" for name, array in state.items())
    return [
        *packed("flat", flat, dtype),
        *folded(f"shapes = {{{shapes}}}"),
        "parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])",
        "state = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)}",
    ]
