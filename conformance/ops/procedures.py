"""Procedures that need more than one layer."""

from __future__ import annotations

from math import prod
from typing import Any

from conformance.ops.entry import Args, Argument, Op, Shape
from conformance.ops.misfits import size_of_axis

_PARTS = ("student", "teacher")


def _complete(args: Args, shape: Shape) -> dict[str, Any]:
    features = args["num_features"]
    return {**args, "num_features": features if features is not None else (shape[1] if len(shape) > 1 else 1)}


def _parameters(args: Args) -> dict[str, Shape]:
    channels: Shape = (int(args["num_features"]),)
    names = ("weight", "bias") if args["affine"] else ()
    return {f"{part}.{name}": channels for part in _PARTS for name in names}


def _buffers(args: Args) -> dict[str, Shape]:
    channels: Shape = (int(args["num_features"]),)
    own: dict[str, Shape] = {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}
    return {f"{part}.{name}": shape for part in _PARTS for name, shape in own.items()}


def _facts(args: Args, shape: Shape) -> dict[str, int]:
    values = prod(shape) // shape[1] if len(shape) > 1 and shape[1] else 0
    return {
        "rank": len(shape),
        "batch": shape[0] if shape else 0,
        "channels": int(args["num_features"]),
        "elements": prod(shape),
        "normalised": values,
        "values_per_channel": values,
    }


PROCEDURES: tuple[Op, ...] = (
    Op(
        name="FrozenTeacher",
        family="frozen_teacher",
        reference="references.frozen_teacher:FrozenTeacher",
        arguments=(
            Argument("num_features", ("int", "null"), None, "C; null takes the second axis of the shape"),
            Argument("eps", ("float", "int"), 1e-5, "added to the variance, inside the square root"),
            Argument("momentum", ("float", "int", "null"), 0.1, "weight of the new value; null: cumulative average"),
            Argument("affine", ("bool",), True),
        ),
        ranks=(4,),
        complete=_complete,
        parameters=_parameters,
        buffers=_buffers,
        facts=_facts,
        misfit=size_of_axis("num_features", 1),
        module="conformance.backends.frozen_teacher:FrozenTeacher",
        frozen=lambda args: tuple(name for name in _parameters(args) if name.startswith("teacher.")),
        about="a batch normalisation that trains beside one that must not; the output is their difference",
    ),
)
