"""Reverse-mode differentiation over the few NumPy operations that the references' formulas are written in.

A wrong formula that is run under automatic differentiation has a gradient of its own, which is neither the right one
nor the textbook's with the wrong statistics in it.  ``Traced`` takes the place of an array in the formula and gives
that gradient (Griewank and Walther, Evaluating Derivatives, 2nd ed., section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

Array = NDArray[Any]
Pull = Callable[[Array], Array]


class UntraceableError(Exception):
    """An operation on the way has no derivative here, such as rounding to so many bits."""


class Traced(NDArrayOperatorsMixin):
    """An array, and how a gradient goes back from it: pairs of where it came from and what takes a gradient there."""

    def __init__(self, value: Any, parents: Sequence[tuple[Traced, Pull]] = ()) -> None:
        self.value: Array = np.asarray(value)
        self.parents = tuple(parents)

    # ---- what an array has ------------------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def size(self) -> int:
        return self.value.size

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, where: Any) -> Traced:
        def pull(gradient: Array) -> Array:
            whole = np.zeros(self.shape, gradient.dtype)
            np.add.at(whole, where, gradient)
            return whole

        return Traced(self.value[where], [(self, pull)])

    def reshape(self, *shape: Any) -> Traced:
        return Traced(self.value.reshape(*shape), [(self, lambda g: g.reshape(self.shape))])

    def transpose(self, *order: Any) -> Traced:
        axes = order[0] if len(order) == 1 and isinstance(order[0], Sequence) else order
        back = tuple(np.argsort(axes)) if axes else None
        return Traced(self.value.transpose(*order), [(self, lambda g: g.transpose(back))])

    def astype(self, dtype: Any) -> Traced:
        """A conversion rounds on the way there and nothing on the way back."""
        return Traced(self.value.astype(dtype), [(self, lambda g: g)])

    def copy(self) -> Traced:
        return self.astype(self.dtype)

    def sum(self, axis: Any = None, *, keepdims: bool = False) -> Traced:
        axes = tuple(range(self.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)

        def pull(gradient: Array) -> Array:
            kept = gradient if keepdims else np.expand_dims(gradient, axes)
            return np.broadcast_to(kept, self.shape)

        return Traced(self.value.sum(axis=axes, keepdims=keepdims), [(self, pull)])

    def mean(self, axis: Any = None, *, keepdims: bool = False) -> Traced:
        total = self.sum(axis, keepdims=keepdims)
        found: Traced = total / (self.size // max(total.size, 1))
        return found

    # ---- what NumPy does to one -------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        kwargs.pop("out", None)  # ``x -= y`` rebinds x, and nothing else holds what it was
        if method == "reduce" and ufunc is np.add:
            return inputs[0].sum(kwargs.get("axis", 0), keepdims=kwargs.get("keepdims", False))
        values = [operand.value if isinstance(operand, Traced) else operand for operand in inputs]
        if ufunc in _FLAT and method == "__call__":
            return ufunc(*values, **kwargs)
        if ufunc not in _DERIVATIVES or method != "__call__":
            raise UntraceableError(f"{ufunc.__name__}.{method}")
        result = ufunc(*values)
        slopes = _DERIVATIVES[ufunc](result, *values)
        return Traced(result, [(o, _chain(o, slope)) for o, slope in zip(inputs, slopes, strict=True)
                               if isinstance(o, Traced)])  # fmt: skip

    def __array_function__(self, function: Any, _types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _FUNCTIONS:
            raise UntraceableError(function.__name__)
        return _FUNCTIONS[function](*args, **kwargs)


def _chain(operand: Traced, slope: Any) -> Pull:
    return lambda gradient: _summed(gradient * slope, operand.shape)


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which an operand of this shape was broadcast."""
    extra = gradient.ndim - len(shape)
    if extra > 0:
        gradient = gradient.sum(axis=tuple(range(extra)))
    stretched = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axis=stretched, keepdims=True) if stretched else gradient


_FLAT = frozenset({np.less, np.greater, np.less_equal, np.greater_equal, np.equal, np.not_equal, np.isfinite, np.isnan})

_DERIVATIVES: dict[np.ufunc, Callable[..., tuple[Any, ...]]] = {
    np.add: lambda _y, _a, _b: (1, 1),
    np.subtract: lambda _y, _a, _b: (1, -1),
    np.multiply: lambda _y, a, b: (b, a),
    np.true_divide: lambda y, _a, b: (1 / b, -y / b),
    np.negative: lambda _y, _a: (-1,),
    np.sqrt: lambda y, _a: (0.5 / y,),
    np.square: lambda _y, a: (2 * a,),
    np.absolute: lambda _y, a: (np.sign(a),),
    np.exp: lambda y, _a: (y,),
    np.log: lambda _y, a: (1 / a,),
    np.power: lambda _y, a, b: (b * a ** (b - 1), 0),
    np.maximum: lambda _y, a, b: (np.asarray(a >= b, float), np.asarray(a < b, float)),
    np.minimum: lambda _y, a, b: (np.asarray(a <= b, float), np.asarray(a > b, float)),
}


def _broadcast(x: Traced, shape: tuple[int, ...]) -> Traced:
    return Traced(np.broadcast_to(x.value, shape), [(x, lambda g: _summed(g, x.shape))])


def _rolled(x: Traced, shift: int, axis: int | None = None) -> Traced:
    return Traced(np.roll(x.value, shift, axis), [(x, lambda g: np.roll(g, -shift, axis))])


def _joined(parts: Sequence[Traced], axis: int = 0) -> Traced:
    edges = np.cumsum([0, *(part.shape[axis] for part in parts)])

    def share(place: int) -> Pull:
        return lambda g: g.take(range(int(edges[place]), int(edges[place + 1])), axis=axis)

    values = [part.value for part in parts]
    return Traced(np.concatenate(values, axis), [(part, share(place)) for place, part in enumerate(parts)])


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.broadcast_to: _broadcast,
    np.roll: _rolled,
    np.concatenate: _joined,
    np.mean: lambda x, axis=None, *, keepdims=False: x.mean(axis, keepdims=keepdims),
    np.sum: lambda x, axis=None, *, keepdims=False: x.sum(axis, keepdims=keepdims),
    np.zeros_like: lambda x: np.zeros(x.shape, x.dtype),
    np.ones_like: lambda x: np.ones(x.shape, x.dtype),
}


def gradients(output: Traced, upstream: Array, leaves: Sequence[Traced]) -> list[Array]:
    """sum(upstream * output) differentiated by each leaf, shaped like it."""
    arrived: dict[int, Array] = {id(output): np.broadcast_to(upstream, output.shape)}
    for node in _backwards(output):
        gradient = arrived.get(id(node))
        if gradient is None:
            continue
        for parent, pull in node.parents:
            share = pull(gradient)
            arrived[id(parent)] = share if id(parent) not in arrived else arrived[id(parent)] + share
    return [np.asarray(arrived.get(id(leaf), np.zeros(leaf.shape, leaf.dtype))) for leaf in leaves]


def _backwards(output: Traced) -> list[Traced]:
    """Every node that the output came from, each before what it came from itself."""
    order: list[Traced] = []
    seen: set[int] = set()
    waiting: list[tuple[Traced, bool]] = [(output, False)]
    while waiting:
        node, done = waiting.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting.extend((parent, False) for parent, _ in node.parents)
    return order[::-1]
