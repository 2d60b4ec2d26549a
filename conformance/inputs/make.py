"""From a case to its arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance.inputs import bits, networks
from conformance.inputs.families import GENERATORS, Draw
from conformance.ops import OPS
from conformance.reference import build_reference
from conformance.suite.case import Case
from conformance.suite.identity import spelled
from references.fold import Fold
from references.rounding import STORAGE

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class StepInputs:
    """x: the case's shape; grad_output: the output's shape.  Both rounded to the case's dtype, C order."""

    x: Array
    grad_output: Array


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything random about a case, bit for bit the same on every machine and library version."""

    params: dict[str, Array]  # in param_dtype
    buffers: dict[str, Array]  # in param_dtype; num_batches_tracked is int64 of shape ()
    steps: tuple[StepInputs, ...]
    _case: Case | None = field(default=None, init=False, repr=False, compare=False)  # a changed copy is no case's own

    def arrays(self) -> Iterator[Array]:
        """Parameters, buffers, and x and upstream gradient of each step."""
        yield from self.params.values()
        yield from self.buffers.values()
        for step in self.steps:
            yield step.x
            yield step.grad_output

    def made_for(self, case: Case) -> Inputs:
        """These, known from now on as what ``make_inputs`` has for the case."""
        object.__setattr__(self, "_case", case)
        return self

    def are_of(self, case: Case) -> bool:
        """Whether these very inputs were made for this case: what was kept under its key then holds for them."""
        return self._case is case or (self._case is not None and spelled(self._case) == spelled(case))


def make_inputs(case: Case) -> Inputs:
    """The inputs of a case: parameters and buffers once, a fresh batch and upstream gradient for each step."""
    params, buffers = _state(case)
    fold = _fold(case)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        steps = tuple(_step(case, fold, params, number) for number in range(len(case.steps)))
    return Inputs(params, buffers, steps).made_for(case)


def _state(case: Case) -> tuple[dict[str, Array], dict[str, Array]]:
    op = OPS[case.op]
    if op.nodes is not None:
        return (
            {name: stored(values, dtype) for name, values, dtype in networks.parameters(case)},
            {name: stored(values, dtype) for name, values, dtype in networks.buffers(case)},
        )
    params = {name: _parameter(case, name, shape) for name, shape in op.parameters(case.args).items()}
    buffers = {name: _buffer(case, name, shape) for name, shape in op.buffers(case.args).items()}
    return params, buffers


def stored(x: Array, dtype: str) -> Array:
    """x rounded to its storage format; to bfloat16 by way of float32, so that no version of ml_dtypes matters."""
    if dtype == "bfloat16":
        x = x.astype(np.float32)
    return np.ascontiguousarray(x.astype(STORAGE[dtype])).reshape(x.shape)


def _fold(case: Case) -> Fold:
    """The op's own geometry; a plain one where the op has none, or where the case is meant to be refused."""
    reference = None if case.raises else build_reference(case)
    if reference is not None and hasattr(reference, "fold"):
        geometry: Fold = reference.fold(case.shape)
        return geometry
    order = tuple(range(len(case.shape)))
    return Fold(case.shape, order, case.shape[0] if len(case.shape) > 1 else 1, ())


def _step(case: Case, fold: Fold, params: dict[str, Array], number: int) -> StepInputs:
    key = f"{case.key}/{number}"
    if case.dtype == "int64":
        whole = (10.0 * bits.normal(f"{key}/x", case.shape)).astype(np.int64)
        return StepInputs(whole, np.ones(case.shape, np.float32))
    z = bits.normal(f"{key}/x", (fold.slices, fold.elements))
    draw = Draw(key, fold, case.dtype, float(case.args.get("eps") or 0.0), z.copy())
    x = fold.unfold(GENERATORS[case.data](draw))
    op = OPS[case.op]
    # arguments that a layer refuses may have no output shape; a network that raises may do so in its backward pass
    shape = case.shape if case.raises and op.nodes is None else op.output_shape(case.args, case.shape)
    if shape == case.shape:
        grad_output = fold.unfold(_upstream(case, fold, params, z, number))
    else:  # nothing to be correlated with, element by element
        grad_output = bits.normal(f"{key}/grad_output", shape) + 1.0
    return StepInputs(stored(x, case.dtype), stored(grad_output, case.dtype))


def _upstream(case: Case, fold: Fold, params: dict[str, Array], z: Array, number: int) -> Array:
    """The upstream gradient: biased and correlated with x, since a zero-mean one hides a missing mean-of-gradient.

    Stagnation data has gradients of one sign, for the weight in even steps and for the bias in odd ones.
    """
    if case.data == "f7-stagnation":
        return np.where(z < 0, -0.75, 0.75) if number % 2 == 0 else 0.75 + 0.0 * z
    noise = bits.normal(f"{case.key}/{number}/grad_output", z.shape)
    sign = np.ones((1, 1))
    if "weight" in params and z.size and fold.parameter_axes and not case.raises:
        sign = np.where(fold.spread(params["weight"].astype(np.float64)) < 0, -1.0, 1.0)
    return noise + 1.0 + 0.8 * sign * z


def _parameter(case: Case, name: str, shape: tuple[int, ...]) -> Array:
    u = bits.uniform(f"{case.key}/{name}", shape)
    own = name.rpartition(".")[2]
    if case.params == "default":
        values = np.ones(shape) if own == "weight" else np.zeros(shape)
    elif own != "weight":
        values = 0.3 + 0.7 * u
    else:
        values = 0.5 + 1.5 * u
        negative = bits.uniform(f"{case.key}/{name}/sign", shape) < 1 / 3
        values = np.where(negative | (case.params == "negative"), -values, values)
        if case.params == "some_zero":
            values.reshape(-1)[::3] = 0.0
    return stored(values, case.param_dtype)


def _buffer(case: Case, name: str, shape: tuple[int, ...]) -> Array:
    own = name.rpartition(".")[2]
    if own == "num_batches_tracked":
        return np.array(0 if case.buffers == "default" else 7, np.int64)
    if case.buffers == "default":
        return stored(np.zeros(shape) if own == "running_mean" else np.ones(shape), case.param_dtype)
    u = bits.uniform(f"{case.key}/{name}", shape)
    values = 3.0 * u - 1.0 if own == "running_mean" else 0.3 + 3.0 * u
    if case.data == "f1-eps":  # where eps decides, in eval mode too
        eps = float(case.args["eps"] or 1e-5)
        values = values * (np.sqrt(eps) if own == "running_mean" else eps)
    return stored(values, case.param_dtype)
