"""Small experiments whose numbers stand on the pages: written by hand, run by the references and by frameworks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from conformance.backends import load
from conformance.errors import ConformanceError
from conformance.inputs import Inputs, StepInputs
from conformance.inputs.make import stored
from conformance.judge.allowance import allowance
from conformance.judge.compare import compare
from conformance.ops import OPS
from conformance.reference import build_reference, reference_class
from conformance.suite.case import Case, Dtype, Mode, Origin
from references.expected import Expected, Quantity, run
from references.mistakes import MISTAKES, mistaken

if TYPE_CHECKING:
    from conformance.observation import Observation

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A case with its inputs."""

    case: Case
    inputs: Inputs


def by_hand(
    op: str,
    xs: Sequence[Any],
    *,
    steps: Sequence[Mode] = ("train",),
    grads: Sequence[Any] = (),
    params: Mapping[str, Any] | None = None,
    buffers: Mapping[str, Any] | None = None,
    dtype: Dtype = "float32",
    param_dtype: Dtype | None = None,
    **args: Any,
) -> Experiment:
    """An experiment with numbers that a person chose.

    xs, grads: one array for each step; upstream gradients are 1 where none are given.  params, buffers: those that are
    not given are those of a new layer.
    """
    arrays = [stored(np.asarray(x, np.float64), dtype) for x in xs]
    shape = arrays[0].shape
    entry = OPS[op]
    complete = entry.complete(entry.defaults() | args, shape)
    out = entry.output_shape(complete, shape)
    given = [*grads, *(np.ones(out) for _ in range(len(arrays) - len(grads)))]
    of_params: Dtype = param_dtype or dtype
    case = Case(
        id=f"explain::{op}",
        key=f"explain-{op}",
        op=op,
        args=complete,
        shape=shape,
        dtype=dtype,
        param_dtype=of_params,
        steps=tuple(steps),
        origin=Origin("explain", 1, 1),
    )
    own_params = {
        name: stored(_filled((params or {}).get(name), size, 1.0 if name == "weight" else 0.0), of_params)
        for name, size in entry.parameters(complete).items()
    }
    own_buffers = {
        name: _buffer(name, (buffers or {}).get(name), size, of_params)
        for name, size in entry.buffers(complete).items()
    }
    return Experiment(
        case,
        Inputs(
            own_params,
            own_buffers,
            tuple(StepInputs(x, stored(np.asarray(g, np.float64), dtype)) for x, g in zip(arrays, given, strict=True)),
        ),
    )


def _filled(given: Any, shape: tuple[int, ...], default: float) -> Array:
    return np.full(shape, default) if given is None else np.broadcast_to(np.asarray(given, np.float64), shape).copy()


def _buffer(name: str, given: Any, shape: tuple[int, ...], dtype: Dtype) -> Array:
    if name == "num_batches_tracked":
        return np.array(0 if given is None else given, np.int64)
    return stored(_filled(given, shape, 1.0 if name == "running_var" else 0.0), dtype)


def defined(experiment: Experiment, *mistakes: str) -> list[Expected]:
    """Every step by the definition, or by the definition with these mistakes in it."""
    case, inputs = experiment.case, experiment.inputs
    right = reference_class(case.op)
    reference = build_reference(case, of=mistaken(right, *(MISTAKES[each] for each in mistakes)) if mistakes else right)
    return run(
        reference, [(step.x, step.grad_output) for step in inputs.steps], inputs.params, inputs.buffers, case.steps
    )


def seen_by(experiment: Experiment, backend: str = "torch-cpu") -> Observation:
    """What a backend makes of it.

    Raises:
        ConformanceError: the backend is not here, or ends in an exception.
    """
    found = load(backend)
    missing = found.available()
    if missing is not None:
        raise ConformanceError(f"{backend} is needed for this page: {missing}", hint="see conformance doctor")
    seen = found.run(experiment.case, experiment.inputs)
    if seen.raised is not None:
        raise ConformanceError(f"{backend} raised {seen.raised.type}: {seen.raised.message}")
    return seen


def version_of(backend: str) -> str:
    """The package behind a backend with its version: ``torch 2.13.0+cpu``."""
    name = "onnxruntime" if backend.startswith("onnx") else "torch"
    return f"{name} {load(backend).versions().get(name, '')}".strip()


def allowed_at(quantity: Quantity, index: tuple[int, ...]) -> float:
    """The error that rounding may explain at one element; 0 for counts."""
    return 0.0 if quantity.stored == "int64" else float(allowance(quantity, "A").allowed[index])


def agrees(expected: Sequence[Expected], seen: Observation, quantity: str) -> bool:
    """Whether a quantity is what is expected in every step, within the allowance."""
    figures = [
        compare(quantity, step.quantities[quantity], found.arrays[quantity], number, step, "A", None)
        for number, (step, found) in enumerate(zip(expected, seen.steps, strict=True))
        if quantity in step.quantities and quantity in found.arrays
    ]
    return bool(figures) and all(figure.ok for figure in figures)
