"""Whole networks from their own tensors: captured by a backend, then judged call by call.

Only here do the two halves meet; a framework is imported when a network of it is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from conformance.judge.local import LocalFinding, judge_calls, judge_locally
from conformance.observation import Array
from conformance.suite.case import Mode
from references.rounding import Class

if TYPE_CHECKING:
    import onnx
    import torch


def judge_module_locally(
    module: torch.nn.Module, x: Array, grad_output: Array, mode: Mode, *, labels: Mapping[str, Class] | None = None
) -> tuple[LocalFinding, ...]:
    """One step of a torch network; see backends.capture.capture and judge.local.judge_locally."""
    from conformance.backends.capture import capture

    return judge_locally(capture(module, x, grad_output, mode), labels)


def judge_onnx_locally(
    model: onnx.ModelProto, inputs: Mapping[str, Array], *, labels: Mapping[str, Class] | None = None
) -> tuple[LocalFinding, ...]:
    """One run of an ONNX graph under onnxruntime, node by node; see backends.onnx_capture.capture_onnx.

    Tensors go from node to node by name, so nothing can happen to them in between.
    """
    from conformance.backends.onnx_capture import capture_onnx

    return judge_calls(capture_onnx(model, inputs), labels)
