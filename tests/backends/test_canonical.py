"""Renaming models and cutting them apart."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from conformance.backends.canonical import Parts, canonical

FLOAT = onnx.TensorProto.FLOAT


def part(model, sources, results):
    return canonical(Parts(model).cut(sources, results))


def _value(name):
    return helper.make_tensor_value_info(name, FLOAT, [2])


def _constant(name, value):
    return numpy_helper.from_array(np.full(2, value, np.float32), name)


def _model(nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, "g", list(map(_value, inputs)), list(map(_value, outputs)), list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _two_chains(prefix=""):
    """p -> Add one -> Mul two, and q -> Mul one, sharing a constant."""
    names = [prefix + name for name in ("p", "q", "one", "two", "sum", "first", "second")]
    p, q, one, two, total, first, second = names
    nodes = [
        helper.make_node("Mul", [q, one], [second], name=prefix + "n7"),
        helper.make_node("Add", [p, one], [total], name=prefix + "n3"),
        helper.make_node("Mul", [total, two], [first], name=prefix + "n5"),
    ]
    return _model(nodes, [p, q], [first, second], [_constant(two, 2), _constant(one, 1)]), names


def test_names_do_not_depend_on_those_of_the_exporter():
    plain, _ = _two_chains()
    prefixed, _ = _two_chains("deep/module.")
    assert canonical(plain).SerializeToString() == canonical(prefixed).SerializeToString()


def test_renaming_twice_changes_nothing_more():
    once = canonical(_two_chains()[0])
    assert canonical(once).SerializeToString() == once.SerializeToString()


def test_renaming_leaves_the_given_model_alone():
    model, _ = _two_chains()
    before = model.SerializeToString()
    canonical(model)
    assert model.SerializeToString() == before


def test_a_part_holds_what_its_output_needs_and_nothing_else():
    model, (p, _, _, _, _, first, _) = _two_chains()
    made = part(model, [p], [first])
    onnx.checker.check_model(made, full_check=True)
    assert [node.op_type for node in made.graph.node] == ["Add", "Mul"]
    assert [value.name for value in made.graph.input] == ["x0"]
    assert [numpy_helper.to_array(constant)[0] for constant in made.graph.initializer] == [1, 2]
    assert [constant.name for constant in made.graph.initializer] == ["c0", "c1"]


def test_a_part_that_depends_on_another_input_is_refused():
    nodes = [helper.make_node("Add", ["p", "q"], ["r"])]
    with pytest.raises(ValueError, match="output r also depends on q"):
        part(_model(nodes, ["p", "q"], ["r"]), ["p"], ["r"])


def test_a_part_keeps_what_its_subgraphs_read_from_outside():
    def branch(name, op):
        node = helper.make_node(op, ["outer", "one"], [name])
        return helper.make_graph([node], name, [], [_value(name)])

    flag = numpy_helper.from_array(np.array(True), "flag")  # noqa: FBT003 - NumPy's scalar constructor
    nodes = [
        helper.make_node("Neg", ["p"], ["outer"]),
        helper.make_node("If", ["flag"], ["r"], then_branch=branch("a", "Add"), else_branch=branch("b", "Mul")),
    ]
    made = part(_model(nodes, ["p"], ["r"], [_constant("one", 1), flag]), ["p"], ["r"])
    onnx.checker.check_model(made, full_check=True)
    assert [node.op_type for node in made.graph.node] == ["Neg", "If"]
    result = ReferenceEvaluator(made).run(None, {"x0": np.float32([3, 4])})[0]
    assert result.tolist() == [-2, -3]
