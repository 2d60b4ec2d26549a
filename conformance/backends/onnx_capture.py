"""Every node of an ONNX graph, with what onnxruntime gave to it and what it returned.

The optimisations of the runtime are off, since they replace nodes; what is captured is the graph as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import inliner, numpy_helper, shape_inference

from conformance.backends import onnxruntime_session
from conformance.backends.onnx_meaning import Meaning
from conformance.backends.onnx_operators import meaning_of
from conformance.backends.onnxruntime_session import from_value, to_value
from conformance.captured import Captured
from conformance.errors import UsageError
from conformance.observation import Array, Unsupported


def add_intermediates(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with every tensor that a node of its main graph computes as a graph output.

    Functions of the model are inlined first.  A tensor whose type cannot be inferred is an output without a type, which
    onnxruntime fills in.  Sequences and other values that are no tensors stay inside.
    """
    exposed = inliner.inline_local_functions(model)
    graph = exposed.graph
    inferred = shape_inference.infer_shapes(exposed).graph
    types = {value.name: value for value in (*inferred.value_info, *inferred.input, *inferred.output)}
    shown = {value.name for value in graph.output}
    for node in graph.node:
        for name in node.output:
            if not name or name in shown:
                continue
            value = types.get(name, onnx.ValueInfoProto(name=name))
            if value.type.WhichOneof("value") in ("tensor_type", None):
                graph.output.append(value)
                shown.add(name)
    return exposed


def capture_onnx(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Captured, ...]:
    """One run of a graph; one entry per node, in the order of the graph, and nothing backward.

    inputs: by the names of the graph inputs; all that have no initializer.

    Raises:
        UsageError: an input is missing or unknown, or the runtime refuses the model; its own words are given.
    """
    return capture_opened(add_intermediates(model), inputs)


def capture_opened(exposed: onnx.ModelProto, inputs: Mapping[str, Array]) -> tuple[Captured, ...]:
    """The same, of what ``add_intermediates`` made."""
    values = _run(exposed, inputs)
    opsets = {entry.domain: entry.version for entry in exposed.opset_import}
    opset = opsets.get("", opsets.get("ai.onnx", 1))
    return tuple(_captured(node, name, values, opset) for name, node in _named(exposed.graph))


def _run(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of the main graph, by name."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    wanted = {value.name for value in model.graph.input}
    missing, unknown = wanted - set(inputs) - set(constants), set(inputs) - wanted
    if missing or unknown:
        found = ", ".join(sorted(inputs)) or "nothing"
        raise UsageError(
            f"the graph takes {', '.join(sorted(wanted - set(constants)))}, and was given {found}",
            hint="give one array for each graph input, by its name",
        )
    names = [value.name for value in model.graph.output]
    try:
        session = onnxruntime_session.load_bytes(model.SerializeToString(), optimise=False).runtime
        results = session.run_with_ort_values(names, {name: to_value(array) for name, array in inputs.items()})
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"onnxruntime {onnxruntime.__version__} cannot run the graph: {type(error).__name__}: {first}",
            hint="give this model to onnxruntime alone; where it refuses that too, judge another export of the network",
        ) from error
    tensors = {name: value for name, value in zip(names, results, strict=True) if value.is_tensor()}
    return constants | dict(inputs) | {name: from_value(value) for name, value in tensors.items()}


def _named(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.NodeProto]]:
    """Nodes need no names in ONNX; those without are named by their type and place."""
    for place, node in enumerate(graph.node):
        yield node.name or f"{node.op_type}_{place}", node


def _captured(node: onnx.NodeProto, name: str, values: Mapping[str, Array], opset: int) -> Captured:
    given = [values.get(source) for source in node.input]
    try:
        meaning = meaning_of(node, given, opset)
    except Unsupported as reason:
        return Captured(name=name, kind=node.op_type, unjudged=str(reason))
    shown = [quantity for quantity, source in zip(meaning.outputs, node.output, strict=False) if source]
    unasked = [quantity for quantity in meaning.outputs if quantity and quantity not in shown]
    return Captured(
        name=name,
        kind=node.op_type,
        reference=meaning.reference,
        args=meaning.args,
        mode=meaning.mode,
        x=given[0],
        params=_copies(meaning.params),
        buffers=_copies(meaning.buffers),
        arrays=_outputs(node, meaning, values),
        observes=tuple(quantity for quantity in meaning.outputs if quantity),
        absent=dict.fromkeys(unasked, "the graph does not ask for it"),
        label=meaning.label,
    )


def _outputs(node: onnx.NodeProto, meaning: Meaning, values: Mapping[str, Array]) -> dict[str, Array]:
    named = zip(node.output, meaning.outputs, strict=False)  # optional outputs may be left out
    return {quantity: values[name] for name, quantity in named if quantity and name in values}


def _copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: np.array(array) for name, array in arrays.items()}
