"""ONNX models whose names follow from their structure alone, and parts of models.

An exporter numbers values and nodes by everything that it met on the way.  Renaming them makes the messages of a
runtime repeatable, and makes the same graph the same bytes whether it was exported alone or among others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import onnx

Renaming = dict[str, str]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with inputs x0.., outputs y0.., initializers c0.., other values v0.., nodes ``Type_0``..

    Axes of no fixed size become d0.. in the order in which inputs and outputs show them.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    graph.ClearField("value_info")  # inferred again by whoever loads the model
    graph.name = "main"

    used = {name: place for place, name in enumerate(_names_in_order_of_use(graph))}
    kept = sorted((constant for constant in graph.initializer if constant.name in used), key=lambda c: used[c.name])
    renaming = {value.name: f"x{place}" for place, value in enumerate(graph.input)}
    renaming |= {constant.name: f"c{place}" for place, constant in enumerate(kept)}
    made = [name for node in _all_nodes(graph) for name in node.output if name and name not in renaming]
    renaming |= {name: f"v{place}" for place, name in enumerate(made)}
    outputs = {value.name: f"y{place}" for place, value in enumerate(graph.output)}
    renaming |= {name: new for name, new in outputs.items() if name in made}

    constants = [_renamed_constant(constant, renaming[constant.name]) for constant in kept]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    _rename(graph, renaming)
    _rename_axes(graph)
    for place, node in enumerate(_all_nodes(graph)):
        node.name = f"{node.op_type}_{place}"
    return result


class Parts:
    """A model that is to be cut into parts, each of which computes some of the outputs from some of the inputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._graph = graph
        self._frame = onnx.ModelProto()  # the model but for what its graph holds
        for field, value in model.ListFields():
            if field.name == "graph":
                self._frame.graph.name = graph.name
            elif field.is_repeated:
                getattr(self._frame, field.name).extend(value)
            else:
                setattr(self._frame, field.name, value)
        self._makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
        self._constants = {constant.name: place for place, constant in enumerate(graph.initializer)}
        self._types = {value.name: value for value in graph.value_info}

    def cut(self, sources: Sequence[str], results: Sequence[str]) -> onnx.ModelProto:
        """The part that computes these graph outputs from these graph inputs, under the names of the model.

        Raises:
            ValueError: the outputs need another input as well.
        """
        places, needed = self._ancestors(results)
        given = [value for value in self._graph.input if value.name in needed or value.name in sources]
        strangers = sorted(value.name for value in given if value.name not in sources)
        if strangers:
            raise ValueError(f"output {', '.join(results)} also depends on {', '.join(strangers)}")
        made = onnx.ModelProto()
        made.CopyFrom(self._frame)
        graph = made.graph
        graph.node.extend(self._graph.node[place] for place in places)
        graph.input.extend(given)
        graph.output.extend(value for value in self._graph.output if value.name in results)
        held = sorted(self._constants[name] for name in needed if name in self._constants)
        graph.initializer.extend(self._graph.initializer[place] for place in held)
        shown = {value.name for value in (*graph.input, *graph.output)}
        graph.value_info.extend(self._types[name] for name in sorted(needed - shown) if name in self._types)
        return made

    def _ancestors(self, results: Sequence[str]) -> tuple[list[int], set[str]]:
        """The places of the nodes that values depend on, and the names of all values that these use or make."""
        needed, places, waiting = set(results), set[int](), list(results)
        while waiting:
            place = self._makers.get(waiting.pop())
            if place is None or place in places:
                continue
            places.add(place)
            node = self._graph.node[place]
            needed.update(name for name in node.output if name)
            used = set(_uses(node)) - needed
            needed |= used
            waiting += used
        return sorted(places), needed


def _uses(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, those that its subgraphs read from outside included (and some of their own)."""
    yield from (name for name in node.input if name)
    for inner in _subgraphs(node):
        for nested in inner.node:
            yield from _uses(nested)
        yield from (value.name for value in inner.output)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _all_nodes(inner)


def _names_in_order_of_use(graph: onnx.GraphProto) -> list[str]:
    names = [name for node in graph.node for name in _uses(node)]
    return list(dict.fromkeys([*names, *(value.name for value in graph.output)]))


def _renamed_constant(constant: onnx.TensorProto, name: str) -> onnx.TensorProto:
    renamed = onnx.TensorProto()
    renamed.CopyFrom(constant)
    renamed.name = name
    for field in ("doc_string", "metadata_props"):
        if field in onnx.TensorProto.DESCRIPTOR.fields_by_name:  # metadata_props is younger than TensorProto
            renamed.ClearField(field)
    return renamed


def _rename_axes(graph: onnx.GraphProto) -> None:
    known: dict[str, str] = {}
    for value in (*graph.input, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:  # a name, or an expression of names
                dimension.dim_param = _NAME.sub(
                    lambda found: known.setdefault(found[0], f"d{len(known)}"), dimension.dim_param
                )


def _rename(graph: onnx.GraphProto, renaming: Renaming) -> None:
    for value in (*graph.input, *graph.output):
        value.name = renaming.get(value.name, value.name)
        for field in ("doc_string", "metadata_props"):
            if field in onnx.ValueInfoProto.DESCRIPTOR.fields_by_name:
                value.ClearField(field)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renaming.get(name, name) for name in names]
        node.ClearField("doc_string")
        if "metadata_props" in onnx.NodeProto.DESCRIPTOR.fields_by_name:
            node.ClearField("metadata_props")
        for inner in _subgraphs(node):
            _rename(inner, renaming)
