"""ONNX's own batch normalisation in training mode, one node built by hand, under onnxruntime on the CPU.

The arguments of a case are taken for the attributes of the same name.  ONNX means something else by two of them: its
momentum weighs the old value, and its running variance takes in the biased variance (references.onnx_variants), so
that the running statistics of training are those of another definition.  Operators have no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from conformance.backends.arrays import name_of, shape_name
from conformance.backends.onnxruntime_session import Ran, Sessions, run_on_many
from conformance.backends.reasons import stated
from conformance.inputs import Inputs
from conformance.inputs.make import stored
from conformance.observation import Array, Observation, StepObservation
from conformance.ops import OPS
from conformance.suite.case import Case

_OPSET = 15
_IR_VERSION = 8
_ELEMENT = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "bfloat16": TensorProto.BFLOAT16,
    "float16": TensorProto.FLOAT16,
}
_MODELS = 1024  # of a few hundred bytes each; the shipped suite has fewer


class Node(NamedTuple):
    """Everything that the graph of a step depends on."""

    shape: tuple[int, ...]
    channels: int
    dtype: str
    param_dtype: str
    eps: float
    momentum: float | None  # None where the node does not train


class OnnxTraining:
    """Outputs and running statistics; those of one step are given to the next."""

    name = "onnx-training"
    observes: tuple[str, ...] = (
        "output", "buffer.running_mean", "buffer.running_var", "dtype", "shape", "input_modified",
    )  # fmt: skip

    def __init__(self) -> None:
        self._sessions = Sessions()

    def available(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        return {"onnx": str(onnx.__version__), "onnxruntime": str(onnxruntime.__version__)}

    def unsupported(self, case: Case) -> str | None:
        if OPS[case.op].family != "batch_norm":
            return "the only operator with a training mode is BatchNormalization"
        forever = case.args["momentum"] is None and case.args["track_running_stats"]
        reasons = {
            "checks torch's own exception": case.raises is not None,
            "checks how torch treats integers": "int64" in (case.dtype, case.param_dtype),
            "tensors of ONNX have no layout but the contiguous one": case.layout != "contiguous",
            "a node has no optimizer, and nobody resets its statistics": case.optimizer is not None
            or bool(case.resets),
            "the node is built by hand: nothing is exported": case.export != type(case.export)(),
            "BatchNormalization has no cumulative average": forever and "train" in case.steps,
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
        tracks = bool(case.args["track_running_stats"])
        affine, statistics = _affine(case, inputs), _statistics(case, inputs)
        steps, seconds = [], 0.0
        for mode, given in zip(case.steps, inputs.steps, strict=True):
            training = mode == "train" or not tracks
            ran = self._ran(case, [given.x, *affine, *statistics], training=training)
            if training:
                statistics = (ran.outputs[1], ran.outputs[2])
            steps.append(_seen(ran, statistics if tracks else None))
            seconds += ran.seconds
        return Observation(tuple(steps), None, seconds)

    def _ran(self, case: Case, given: Sequence[Array], *, training: bool) -> Ran:
        try:
            graph = _checked(node_of(case, training=training))
            session = self._sessions.of(graph, optimise=case.export.optimisation == "all")
        except Exception as error:
            raise stated("load", error) from error
        try:
            return run_on_many(session, given)
        except Exception as error:
            raise stated("run", error) from error


def _seen(ran: Ran, statistics: tuple[Array, Array] | None) -> StepObservation:
    output = ran.outputs[0]
    arrays = {"output": output}
    if statistics is not None:
        arrays["buffer.running_mean"], arrays["buffer.running_var"] = statistics
    structure = {
        "dtype": name_of(output.dtype),
        "shape": shape_name(output.shape),
        "input_modified": "yes" if ran.modified else "no",
    }
    return StepObservation(arrays, structure)


def _affine(case: Case, inputs: Inputs) -> tuple[Array, Array]:
    """The parameters; the operator wants some even where the layer has none."""
    given = inputs.params
    weight = given["weight"] if "weight" in given else _filled(case, 1.0)
    return weight, given["bias"] if "bias" in given else _filled(case, 0.0)


def _statistics(case: Case, inputs: Inputs) -> tuple[Array, Array]:
    """The running statistics before the first step; the operator wants some even where the layer keeps none."""
    if case.args["track_running_stats"]:
        return inputs.buffers["running_mean"], inputs.buffers["running_var"]
    return _filled(case, 0.0), _filled(case, 1.0)


def _filled(case: Case, value: float) -> Array:
    """One value for each channel."""
    return stored(np.full((int(case.args["num_features"]),), value), case.param_dtype)


def node_of(case: Case, *, training: bool) -> Node:
    """The node that takes the step of a case in this mode."""
    momentum = None
    if training:
        momentum = float(case.args["momentum"] or 0.0)  # None is that of statistics that nobody sees
    channels, eps = int(case.args["num_features"]), float(case.args["eps"])
    return Node(case.shape, channels, case.dtype, case.param_dtype, eps, momentum)


@lru_cache(_MODELS)
def _checked(node: Node) -> bytes:
    """The model, serialised, if the checker of onnx has nothing against it."""
    model = training_model(node)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def training_model(wanted: Node) -> onnx.ModelProto:
    """BatchNormalization of (X, scale, B, input_mean, input_var).

    All three outputs of training are named: onnxruntime 1.31 dies of a node that leaves an optional one out.
    """
    training = wanted.momentum is not None
    attributes: dict[str, Any] = {"epsilon": wanted.eps, "training_mode": int(training)}
    if training:
        attributes["momentum"] = wanted.momentum
    x, param = _ELEMENT[wanted.dtype], _ELEMENT[wanted.param_dtype]
    channels = (wanted.channels,)
    names = ("scale", "B", "input_mean", "input_var")
    outputs = ("Y", "running_mean", "running_var") if training else ("Y",)
    node = helper.make_node("BatchNormalization", ["X", *names], outputs, name="batch_norm", **attributes)
    graph = helper.make_graph(
        [node],
        "main",
        [
            helper.make_tensor_value_info("X", x, wanted.shape),
            *(helper.make_tensor_value_info(name, param, channels) for name in names),
        ],
        [
            helper.make_tensor_value_info("Y", x, wanted.shape),
            *(helper.make_tensor_value_info(name, param, channels) for name in outputs[1:]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def onnx_training() -> OnnxTraining:
    return OnnxTraining()
