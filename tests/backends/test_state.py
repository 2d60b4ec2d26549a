"""Which values of a state a graph merely holds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.backends.models import Bytewise, Made
from conformance.backends.state import bind, fingerprint, outline, replaceable, template

WEIGHT, BIAS = np.float32([1.5, -2, 0.25]), np.float32([3, 4, 5])
STATE = {"weight": WEIGHT, "bias": BIAS}


def _model(**constants):
    names = ["x", *constants]
    nodes = [helper.make_node("Sum", names, ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy"]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], held))


def _constant(model, name):
    model = onnx.load_model_from_string(model)
    return next(numpy_helper.to_array(each) for each in model.graph.initializer if each.name == name)


def test_what_a_graph_only_holds_is_replaced():
    made = template(_model(a=WEIGHT, b=BIAS), STATE)
    assert [slot.name for slot in made.slots] == ["weight", "bias"]
    other = {"weight": WEIGHT * 2, "bias": BIAS - 1}
    bound = bind(made, other)
    assert np.array_equal(_constant(bound, "a"), other["weight"])
    assert np.array_equal(_constant(bound, "b"), other["bias"])
    assert onnx.load_model_from_string(bind(made, STATE)) == _model(a=WEIGHT, b=BIAS)


def test_a_reshaped_copy_is_a_copy():
    made = template(_model(a=WEIGHT.reshape(3, 1, 1)), {"weight": WEIGHT})
    bound = bind(made, {"weight": WEIGHT + 1})
    assert np.array_equal(_constant(bound, "a"), (WEIGHT + 1).reshape(3, 1, 1))


def test_one_tensor_may_be_held_twice():
    made = template(_model(a=WEIGHT, b=WEIGHT), {"weight": WEIGHT})
    assert [slot.name for slot in made.slots] == ["weight", "weight"]
    bound = bind(made, {"weight": WEIGHT + 1})
    assert all(np.array_equal(_constant(bound, name), WEIGHT + 1) for name in "ab")


def test_bytes_that_stand_elsewhere_in_the_model_by_chance_are_no_slot():
    """The name of the constant before it is spelled with the bytes of the weight."""
    weight = np.frombuffer(b"weights of three", np.int8).view(np.int32).astype(np.int32)
    model = _model(**{weight.tobytes().decode(): np.float32(1), "a": weight})
    made = template(model, {"weight": weight})
    bound = onnx.load_model_from_string(bind(made, {"weight": weight + 1}))
    assert [each.name for each in bound.graph.initializer] == ["weights of three", "a"]
    assert np.array_equal(numpy_helper.to_array(bound.graph.initializer[1]), weight + 1)


def test_values_that_are_not_held_as_bytes_are_replaced_as_well():
    model = _model(b=BIAS)
    model.graph.initializer.append(helper.make_tensor("a", TensorProto.FLOAT, [3], WEIGHT.tolist()))
    bound = bind(template(model, STATE), {"weight": WEIGHT + 1, "bias": BIAS})
    assert np.array_equal(_constant(bound, "a"), WEIGHT + 1)


def test_a_state_of_another_size_is_refused():
    with pytest.raises(AssertionError, match="other sizes"):
        bind(template(_model(a=WEIGHT), {"weight": WEIGHT}), {"weight": WEIGHT[:2]})


@pytest.mark.parametrize("folded", [WEIGHT * 2, WEIGHT.astype(np.float64), np.nextafter(WEIGHT, 9), WEIGHT[::-1]])
def test_what_was_computed_from_the_state_makes_every_state_a_graph_of_its_own(folded):
    assert template(_model(a=np.ascontiguousarray(folded), b=WEIGHT), STATE) == Bytewise()


def test_the_same_holds_inside_of_nodes_and_their_subgraphs():
    tensor = numpy_helper.from_array(WEIGHT * 2, "t")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    for model in (_model(a=WEIGHT), _model(a=WEIGHT)):
        inner = helper.make_graph([constant], "inner", [], [])
        model.graph.node.append(constant)
        assert template(model, STATE) == Bytewise()
        model.graph.node.pop()
        model.graph.node.append(helper.make_node("If", ["f"], ["z"], then_branch=inner, else_branch=inner))
        assert template(model, STATE) == Bytewise()


def test_constants_that_no_state_decides_stay_as_they_are():
    others = {"eps": np.float32(1e-5), "ones": np.ones(3, np.float32), "axes": np.int64([0, 2, 3])}
    assert template(_model(a=WEIGHT, **others), {"weight": WEIGHT}).slots[0].name == "weight"


@pytest.mark.parametrize(
    "array", [np.ones(3), np.zeros(3), np.full(4, 2.5), np.float32(3), np.float32([3]), np.zeros(0)]
)
def test_what_cannot_be_recognised_is_part_of_the_outline(array):
    assert replaceable({"weight": array}) == {}
    if array.size:
        assert outline({"weight": array}) != outline({"weight": array + 1})
    assert outline({"weight": array}) != outline({"bias": array})


def test_equal_tensors_are_not_told_apart():
    assert replaceable({"weight": WEIGHT, "bias": WEIGHT.copy()}) == {}


def test_the_outline_forgets_values_and_the_fingerprint_does_not():
    other = {"weight": WEIGHT + 1, "bias": BIAS}
    assert outline(STATE) == outline(other)
    assert fingerprint(STATE) != fingerprint(other)
    assert outline(STATE) != outline({"weight": WEIGHT.astype(np.float64), "bias": BIAS})
    assert outline(STATE) != outline({"weight": WEIGHT.reshape(3, 1), "bias": BIAS})


def test_a_bound_model_is_well_formed():
    made = template(_model(a=WEIGHT, b=BIAS), STATE)
    assert isinstance(made, Made)
    onnx.checker.check_model(onnx.load_model_from_string(bind(made, STATE)), full_check=True)
