"""ONNX's own batch normalisation in training mode, one node built by hand, under onnxruntime on the CPU.

The arguments of a case are taken for the attributes of the same name.  ONNX means something else by two of them: its
momentum weighs the old value, and its running variance takes in the biased variance (references.onnx_variants), so
that the running statistics of training are those of another definition.  Operators have no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from conformance.backends.arrays import shape_name
from conformance.backends.onnxruntime_session import load_model, run_on_many
from conformance.backends.reasons import stated
from conformance.inputs import Inputs, StepInputs
from conformance.inputs.make import stored
from conformance.observation import Array, Observation, StepObservation
from conformance.ops import OPS
from conformance.suite.case import Case, Mode

_OPSET = 15
_IR_VERSION = 8
_ELEMENT = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "bfloat16": TensorProto.BFLOAT16,
    "float16": TensorProto.FLOAT16,
}


class OnnxTraining:
    """Outputs and running statistics; those of one step are given to the next."""

    name = "onnx-training"
    observes: tuple[str, ...] = (
        "output", "buffer.running_mean", "buffer.running_var", "dtype", "shape", "input_modified",
    )  # fmt: skip

    def available(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        return {"onnx": str(onnx.__version__), "onnxruntime": str(onnxruntime.__version__)}

    def unsupported(self, case: Case) -> str | None:
        reasons = {
            "the only operator with a training mode is BatchNormalization": OPS[case.op].family != "batch_norm",
            "checks torch's own exception": case.raises is not None,
            "checks how torch treats integers": "int64" in (case.dtype, case.param_dtype),
            "onnxruntime arrays are always contiguous": case.layout != "contiguous",
            "a node has no optimizer, and nobody resets its statistics": case.optimizer is not None
            or bool(case.resets),
            "the node is built by hand: nothing is exported": case.export != type(case.export)(),
            "BatchNormalization has no cumulative average": case.args.get("momentum", 0.0) is None
            and "train" in case.steps
            and case.args["track_running_stats"],
            "ONNX does not say what the statistics of no values are": 0 in case.shape,
        }
        return next((reason for reason, holds in reasons.items() if holds), None)

    def prepare(self, cases: Sequence[Case]) -> None:
        """There is nothing to prepare."""

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step.

        Raises:
            Unsupported: onnxruntime refuses the node, in its own words.
        """
        statistics = _statistics(case, inputs)
        steps, seconds = [], 0.0
        for mode, given in zip(case.steps, inputs.steps, strict=True):
            seen, statistics, took = _step(case, mode, given, inputs, statistics)
            steps.append(seen)
            seconds += took
        return Observation(tuple(steps), None, seconds)


def _step(
    case: Case, mode: Mode, given: StepInputs, inputs: Inputs, statistics: tuple[Array, Array]
) -> tuple[StepObservation, tuple[Array, Array], float]:
    tracks = bool(case.args["track_running_stats"])
    training = mode == "train" or not tracks
    ones, zeros = (stored(np.full(statistics[0].shape, value), case.param_dtype) for value in (1.0, 0.0))
    affine = (inputs.params.get("weight", ones), inputs.params.get("bias", zeros))
    try:
        session = load_model(training_model(case, training=training), optimise=case.export.optimisation == "all")
    except Exception as error:
        raise stated("load", error) from error
    try:
        ran = run_on_many(session, [given.x, *affine, *statistics])
    except Exception as error:
        raise stated("run", error) from error
    arrays = {"output": ran.outputs[0]}
    if training:
        statistics = (ran.outputs[1], ran.outputs[2])
    if tracks:
        arrays |= {"buffer.running_mean": statistics[0], "buffer.running_var": statistics[1]}
    structure = {
        "dtype": arrays["output"].dtype.name,
        "shape": shape_name(arrays["output"].shape),
        "input_modified": "yes" if ran.modified else "no",
    }
    return StepObservation(arrays, structure), statistics, ran.seconds


def _statistics(case: Case, inputs: Inputs) -> tuple[Array, Array]:
    """The running statistics before the first step; the operator wants some even where the layer keeps none."""
    if case.args["track_running_stats"]:
        return inputs.buffers["running_mean"], inputs.buffers["running_var"]
    channels = (int(case.args["num_features"]),)
    return stored(np.zeros(channels), case.param_dtype), stored(np.ones(channels), case.param_dtype)


def training_model(case: Case, *, training: bool) -> onnx.ModelProto:
    """BatchNormalization of (X, scale, B, input_mean, input_var).

    All three outputs of training are named: onnxruntime 1.31 dies of a node that leaves an optional one out.
    """
    attributes: dict[str, Any] = {"epsilon": float(case.args["eps"]), "training_mode": int(training)}
    if training:
        momentum = case.args["momentum"]
        attributes["momentum"] = float(momentum) if momentum is not None else 0.0  # of statistics that nobody sees
    x, param = _ELEMENT[case.dtype], _ELEMENT[case.param_dtype]
    channels = (int(case.args["num_features"]),)
    names = ("scale", "B", "input_mean", "input_var")
    outputs = ("Y", "running_mean", "running_var") if training else ("Y",)
    node = helper.make_node("BatchNormalization", ["X", *names], outputs, name="batch_norm", **attributes)
    graph = helper.make_graph(
        [node],
        "main",
        [
            helper.make_tensor_value_info("X", x, case.shape),
            *(helper.make_tensor_value_info(name, param, channels) for name in names),
        ],
        [
            helper.make_tensor_value_info("Y", x, case.shape),
            *(helper.make_tensor_value_info(name, param, channels) for name in outputs[1:]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def onnx_training() -> OnnxTraining:
    return OnnxTraining()
