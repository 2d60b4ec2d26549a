"""One module in, one ONNX model out: torch's two exporters, called as people call them."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from unittest.mock import patch

import onnx
import torch

from conformance.backends.canonical import canonical

#: (module in the mode of the step, example input) -> model; may raise anything
Exporter = Callable[[torch.nn.Module, torch.Tensor], onnx.ModelProto]


def with_dynamo(module: torch.nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    """What ``torch.onnx.export(dynamo=True)`` makes of the module, with names that do not depend on its history."""
    return canonical(dynamo_program(module, (x,)))


def dynamo_program(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    with quiet():
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
    if program is None:
        raise TypeError(f"torch {torch.__version__} returned no ONNX program")
    model: onnx.ModelProto = program.model_proto
    return model


def with_script(module: torch.nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    """What ``torch.onnx.export(dynamo=False)`` makes of the module, in the mode that the module is in."""
    mode = torch.onnx.TrainingMode.TRAINING if module.training else torch.onnx.TrainingMode.EVAL
    written = io.BytesIO()
    with quiet(), torch.no_grad():
        torch.onnx.export(module, (x,), written, dynamo=False, training=mode)  # type: ignore[arg-type]
    return onnx.load_model_from_string(written.getvalue())


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
