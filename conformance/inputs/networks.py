"""Parameters and buffers of a network: such that signals keep their size on the way through."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.inputs import bits
from conformance.ops import OPS, Node
from conformance.ops.networks import layer_dtype
from conformance.suite.case import Case

Array = NDArray[Any]

#: (dotted name, values before they are stored, dtype in which they are)
Drawn = Iterator[tuple[str, Array, str]]


def parameters(case: Case) -> Drawn:
    """Weights of linear and convolutional layers of size 1 / sqrt(fan-in); scales and biases as norms have them.

    ``params: default`` leaves norms at scale 1 and bias 0; the other layers have no values that are not random.
    """
    for name, node, shape in _named(case, "parameters"):
        yield name, _parameter(case, name, shape), layer_dtype(node.op, case.dtype, case.param_dtype)


def buffers(case: Case) -> Drawn:
    """Running means around 0, running variances around 1, so that eval mode keeps the size of signals too."""
    for name, node, shape in _named(case, "buffers"):
        if name.endswith("num_batches_tracked"):
            yield name, np.array(0 if case.buffers == "default" else 7, np.int64), "int64"
        else:
            yield name, _buffer(case, name, shape), layer_dtype(node.op, case.dtype, case.param_dtype)


def _named(case: Case, kind: str) -> Iterator[tuple[str, Node, tuple[int, ...]]]:
    make = OPS[case.op].nodes
    assert make is not None
    seen: set[str] = set()  # a module that is called twice has one state
    for node in make(case.args):
        if node.op in OPS and node.name not in seen:
            seen.add(node.name)
            for name, shape in getattr(OPS[node.op], kind)(node.args).items():
                yield f"{node.name}.{name}", node, shape


def _parameter(case: Case, name: str, shape: tuple[int, ...]) -> Array:
    bias = name.endswith(".bias")
    if len(shape) > 1:
        return bits.normal(f"{case.key}/{name}", shape) / sqrt(prod(shape[1:]) or 1)
    if case.params == "default":
        return np.zeros(shape) if bias else np.ones(shape)
    u = bits.uniform(f"{case.key}/{name}", shape)
    if bias:
        return 0.3 + 0.7 * u
    values = 0.5 + 1.5 * u
    negative = bits.uniform(f"{case.key}/{name}/sign", shape) < 1 / 3
    values = np.where(negative | (case.params == "negative"), -values, values)
    if case.params == "some_zero":
        values[::3] = 0.0
    return values


def _buffer(case: Case, name: str, shape: tuple[int, ...]) -> Array:
    mean = name.endswith("running_mean")
    if case.buffers == "default":
        return np.zeros(shape) if mean else np.ones(shape)
    u = bits.uniform(f"{case.key}/{name}", shape)
    return u - 0.5 if mean else 0.3 + 1.5 * u
