"""A failing graph for the people who can mend it: who lost the numbers, and a folder that their own tools run.

The folder has the layout of the tests of ONNX backends: ``model.onnx``, ``test_data_set_0/input_0.pb`` and
``test_data_set_0/output_0.pb``, where the output is what the reference expects.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.backends.arrays import BFLOAT16, name_of, shape_name
from conformance.observation import Array, Observation, StepObservation, Unsupported

_LARGEST = 2**20  # elements; the reference evaluator is no runtime

#: (model, input) -> output; raises Unsupported where it cannot
Runner = Callable[[onnx.ModelProto, Array], Array]


def write_backend_test(folder: Path, model: onnx.ModelProto, inputs: Sequence[Array], outputs: Sequence[Array]) -> None:
    """A test of an ONNX backend; whatever stood in the folder is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for kind, arrays, values in (("input", inputs, model.graph.input), ("output", outputs, model.graph.output)):
        for place, (array, value) in enumerate(zip(arrays, values, strict=True)):
            (data / f"{kind}_{place}.pb").write_bytes(_tensor(array, value.name).SerializeToString())


def _tensor(array: Array, name: str) -> onnx.TensorProto:
    if array.dtype == BFLOAT16:  # by its bits, so that no version of onnx has to know ml_dtypes
        return onnx.TensorProto(
            name=name, data_type=onnx.TensorProto.BFLOAT16, dims=array.shape, raw_data=array.tobytes()
        )
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def blame(
    models: Sequence[onnx.ModelProto],
    xs: Sequence[Array],
    agrees: Callable[[Observation], bool],
    *,
    unoptimised: Runner,
    optimised: bool,
) -> str:
    """One line that says who lost the numbers, from what the same graphs give elsewhere.

    optimised: whether the run that failed was.  A failure of the graph itself is one that the reference evaluator of
    onnx shows too, which takes a graph at its word.
    """
    if optimised and _passes(models, xs, agrees, unoptimised):
        return "lost by the optimiser of onnxruntime: with optimisations off, the case passes"
    without = "with and without optimisations" if optimised else "without optimisations"
    meaning = _passes(models, xs, agrees, _evaluate)
    if meaning is None:
        return (
            f"lost by the exporter or by a kernel of onnxruntime ({without}): the reference evaluator of onnx cannot "
            "run this graph"
        )
    if meaning:
        return f"lost by a kernel of onnxruntime ({without}): under the reference evaluator of onnx, the case passes"
    return f"lost by the exporter: the graph fails {without}, and under the reference evaluator of onnx as well"


def _passes(
    models: Sequence[onnx.ModelProto], xs: Sequence[Array], agrees: Callable[[Observation], bool], run: Runner
) -> bool | None:
    """Whether the case would pass; None where it cannot be run so."""
    try:
        outputs = [run(model, x) for model, x in zip(models, xs, strict=True)]
    except Unsupported:
        return None
    return agrees(Observation(tuple(map(observed, outputs))))


def observed(output: Array) -> StepObservation:
    """A step of which the output alone is seen."""
    return StepObservation({"output": output}, {"dtype": name_of(output.dtype), "shape": shape_name(output.shape)})


def _evaluate(model: onnx.ModelProto, x: Array) -> Array:
    if x.size > _LARGEST:
        raise Unsupported("the evaluator would take too long")
    try:
        (output,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: np.array(x)})
    except Exception as error:  # the evaluator's exceptions have no common base
        raise Unsupported(str(error)) from error
    found: Array = np.asarray(output)
    return found
