"""The standard ONNX operators themselves, one node built by hand, under onnxruntime on the CPU.

No exporter stands between the definition and the runtime.  Only outputs are seen: the operators have no gradients, and
BatchNormalization is taken in inference form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from conformance.backends.onnxruntime_session import load_model, run_model
from conformance.inputs import Inputs
from conformance.inputs.make import stored
from conformance.observation import Array, Observation, StepObservation, Unsupported
from conformance.ops import OPS
from conformance.reference import build_reference
from conformance.suite.case import Case
from references.rms_norm import RMSNorm
from references.rounding import Class

_OPSET = 23  # the first with RMSNormalization
_IR_VERSION = 11
_ELEMENT = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "bfloat16": TensorProto.BFLOAT16,
    "float16": TensorProto.FLOAT16,
}
Node = tuple[str, dict[str, Any], dict[str, Array]]  # operator, attributes, inputs after X


class OnnxNodes:
    """One node per case; running statistics are constants, so that only single steps have a meaning."""

    name = "onnx-nodes"
    observes: tuple[str, ...] = ("output",)

    def available(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        return {"onnx": str(onnx.__version__), "onnxruntime": str(onnxruntime.__version__)}

    def unsupported(self, case: Case) -> str | None:
        """None, or why no single operator says the same as the case."""
        args, family = case.args, OPS[case.op].family
        eps = args.get("eps") or 0.0
        running = bool(args.get("track_running_stats"))
        samples = family == "instance_norm" and len(case.shape) == int(case.op[-2]) + 2
        reasons = {
            "an operator has no state: one step only": len(case.steps) > 1,
            f"epsilon is a float32 attribute and cannot hold {eps!r}": case.dtype == "float64"
            and float(np.float32(eps)) != eps,
            "scale and input of an operator have one type": case.param_dtype != case.dtype,
            "BatchNormalization is taken in inference form": family == "batch_norm"
            and not (case.steps == ("eval",) and running),
            "InstanceNormalization knows no running statistics": family == "instance_norm"
            and case.steps == ("eval",)
            and running,
            "InstanceNormalization takes batches": family == "instance_norm" and not samples,
            "the window of an even size lies on the other side": family == "local_response_norm"
            and args["size"] % 2 == 0,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def prepare(self, cases: Sequence[Case]) -> None:
        """There is nothing to prepare."""

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """The output of one step.

        Raises:
            Unsupported: onnxruntime has no kernel for the operator in this format or rank.
        """
        given = inputs.steps[0]
        try:
            output, seconds = run_model(load_model(_model(case, inputs)), given.x)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise Unsupported(str(error).splitlines()[0]) from error
        return Observation((StepObservation({"output": output}),), None, seconds)


def _model(case: Case, inputs: Inputs) -> onnx.ModelProto:
    operator, attributes, operands = _NODES[OPS[case.op].family](case, inputs)
    kind = _ELEMENT[case.dtype]
    node = helper.make_node(operator, ["X", *operands], ["Y"], **attributes)
    constants = [
        helper.make_tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes(), raw=True)
        for name, array in operands.items()
    ]
    ends = [helper.make_tensor_value_info(name, kind, case.shape) for name in ("X", "Y")]
    graph = helper.make_graph([node], case.op, ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _affine(case: Case, inputs: Inputs, shape: tuple[int, ...]) -> dict[str, Array]:
    ones, zeros = (stored(np.full(shape, value), case.dtype) for value in (1.0, 0.0))
    return {"scale": inputs.params.get("weight", ones), "B": inputs.params.get("bias", zeros)}


def _batch_norm(case: Case, inputs: Inputs) -> Node:
    affine = _affine(case, inputs, (int(case.args["num_features"]),))
    running = {"mean": inputs.buffers["running_mean"], "var": inputs.buffers["running_var"]}
    return "BatchNormalization", {"epsilon": float(case.args["eps"])}, affine | running


def _instance_norm(case: Case, inputs: Inputs) -> Node:
    affine = _affine(case, inputs, (int(case.args["num_features"]),))
    return "InstanceNormalization", {"epsilon": float(case.args["eps"])}, affine


def _group_norm(case: Case, inputs: Inputs) -> Node:
    affine = _affine(case, inputs, (int(case.args["num_channels"]),))
    attributes = {"epsilon": float(case.args["eps"]), "num_groups": int(case.args["num_groups"])}
    return "GroupNormalization", attributes, affine


def _layer_norm(case: Case, inputs: Inputs) -> Node:
    shape = tuple(case.args["normalized_shape"])
    attributes = {"epsilon": float(case.args["eps"]), "axis": -len(shape)}
    return "LayerNormalization", attributes, _affine(case, inputs, shape)


def _rms_norm(case: Case, inputs: Inputs) -> Node:
    shape = tuple(case.args["normalized_shape"])
    rules = build_reference(case)
    assert isinstance(rules, RMSNorm)
    scale = {"scale": _affine(case, inputs, shape)["scale"]}
    return "RMSNormalization", {"epsilon": float(rules.eps), "axis": -len(shape)}, scale


def _local_response_norm(case: Case, inputs: Inputs) -> Node:  # noqa: ARG001 - it has no parameters
    alpha, beta, k = (float(case.args[name]) for name in ("alpha", "beta", "k"))
    return "LRN", {"size": int(case.args["size"]), "alpha": alpha, "beta": beta, "bias": k}, {}


_NODES: dict[str, Callable[[Case, Inputs], Node]] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "local_response_norm": _local_response_norm,
}


def precision_of(case: Case) -> Class:
    """GroupNormalization computes float64 data in float32 (``stash_type`` is 1 by default); the others do not."""
    return "float32" if case.dtype == "float64" and OPS[case.op].family == "group_norm" else "A"
