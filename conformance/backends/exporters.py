"""One module in, one ONNX model out: torch's two exporters, called as people call them."""

from __future__ import annotations

import gc
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

import onnx
import onnx_ir
import torch

from conformance.backends.canonical import canonical
from conformance.backends.form import PLAIN, Form

#: (module in the mode of the step, example input, form) -> model; may raise anything
Exporter = Callable[[torch.nn.Module, torch.Tensor, Form], onnx.ModelProto]


def with_dynamo(
    module: torch.nn.Module,
    x: torch.Tensor,
    form: Form = PLAIN,
    more: tuple[torch.Tensor, ...] = (),
    alike: int = 0,
    following: tuple[int, ...] = (),
) -> onnx.ModelProto:
    """What ``torch.onnx.export(dynamo=True)`` makes of the module, with names that do not depend on its history.

    alike, following: see ``open_axes``.
    """
    axes = open_axes(form, "x", len(more), alike, following)
    shapes = tuple(axes) if any(axes) else None
    return canonical(dynamo_program(module, (x, *more), opset=form.opset, shapes=shapes))


def open_axes(
    form: Form, name: str, others: int, alike: int = 0, following: tuple[int, ...] = ()
) -> list[dict[int, Any] | None]:
    """For x and each of so many other inputs, the axes that are left open, as torch.export wants them.

    alike: how many of the others have the shape of x, and leave the same axes open.
    following: axes of the first of the others whose sizes follow from those of x; how, torch.export finds out.
    name: inputs of different names share no sizes.
    """
    if form.dynamic and following:
        found = [dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in (form.dynamic, following)]
        return [*found, *(None for _ in range(others - 1))]
    named: dict[int, Any] | None = {axis: torch.export.Dim(f"{name}_{axis}") for axis in form.dynamic} or None
    return [named if place <= alike else None for place in range(1 + others)]


def dynamo_program(
    module: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    *,
    opset: int | None = None,
    shapes: tuple[Any, ...] | None = None,
    optimise: bool = True,
) -> onnx.ModelProto:
    """The model as the exporter names it.

    optimise: whether the exporter ends with its optimiser; ``optimised`` does the same to a model without it.

    Raises:
        ValueError: the exporter wrote another opset than it was asked for.
    """
    options: dict[str, Any] = {} if shapes is None else {"dynamic_shapes": shapes}
    with quiet(), uncollected():
        program = torch.onnx.export(
            module, inputs, dynamo=True, verbose=False, opset_version=opset, optimize=optimise, **options
        )
    if program is None:
        raise TypeError(f"torch {torch.__version__} returned no ONNX program")
    model: onnx.ModelProto = program.model_proto
    _check_opset(model, opset)
    return model


def optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    """What the exporter's optimiser makes of a model."""
    program = torch.onnx.ONNXProgram(onnx_ir.serde.deserialize_model(model), None)
    with quiet():
        program.optimize()
    made: onnx.ModelProto = program.model_proto
    return made


@contextmanager
def uncollected() -> Iterator[None]:
    """The garbage collector looks through millions of objects that an exporter still needs, for a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def with_script(module: torch.nn.Module, x: torch.Tensor, form: Form = PLAIN) -> onnx.ModelProto:
    """What ``torch.onnx.export(dynamo=False)`` makes of the module, in the mode that the module is in."""
    mode = torch.onnx.TrainingMode.TRAINING if module.training else torch.onnx.TrainingMode.EVAL
    written = io.BytesIO()
    options: dict[str, Any] = {"training": mode, "opset_version": form.opset}
    if form.dynamic:
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {axis: f"x_{axis}" for axis in form.dynamic}}}
    with quiet(), torch.no_grad():
        torch.onnx.export(module, (x,), written, dynamo=False, **options)  # type: ignore[arg-type]  # a stream will do
    model = onnx.load_model_from_string(written.getvalue())
    _check_opset(model, form.opset)
    return model


def _check_opset(model: onnx.ModelProto, asked: int | None) -> None:
    """An exporter that cannot convert a graph down leaves it as it is, with no more than a warning."""
    found = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if asked is not None and found != asked:
        raise ValueError(f"asked for opset {asked}, the exporter wrote opset {found}")


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters talk: warnings, log lines, progress, whole graphs.  The result tells all that is needed."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere), _no_native_log():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _no_native_log() -> AbstractContextManager[object]:
    """The TorchScript exporter prints its graph past Python's stdout when it fails, whatever ``verbose`` says."""
    if not hasattr(torch._C, "_jit_onnx_log"):  # noqa: SLF001 - torch has no public switch for it
        return nullcontext()
    return patch.object(torch._C, "_jit_onnx_log", lambda *_: None)  # noqa: SLF001 - as above
