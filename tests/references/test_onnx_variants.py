"""Where ONNX differs from torch: the references against the evaluator that ONNX itself ships."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from conformance.inputs import bits
from references.batch_norm import BatchNorm
from references.onnx_variants import InferenceForm, OnnxBatchNormalization, OnnxLRN, RMSNormWithoutEps
from references.rounding import precision

SHAPE = (7, 7, 3)  # as many samples as channels: the evaluator's LRN takes the one count for the other
X = (bits.normal("variants/x", SHAPE) + 0.5).astype(np.float32)
PER_CHANNEL = {name: (0.5 + bits.uniform(f"variants/{name}", (7,))).astype(np.float32) for name in "sbmv"}


def evaluated(op, inputs, outputs, opset, **attributes):
    node = helper.make_node(op, list(inputs), outputs, **attributes)
    graph = helper.make_graph(
        [node],
        "main",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, inputs)


def assert_within(quantity, got):
    allowed = quantity.scale + 2.0**-24 * np.abs(quantity.value)
    assert (np.abs(got - quantity.value) <= allowed).all()


def test_training_batch_normalization_keeps_the_old_value_with_its_momentum_and_the_biased_variance():
    names = ["y", "running_mean", "running_var"]
    got = evaluated(
        "BatchNormalization", {"x": X} | PER_CHANNEL, names, 15, training_mode=1, momentum=0.75, epsilon=2**-10
    )
    args = {"num_features": 7, "eps": 2**-10, "momentum": 0.75, "track_running_stats": True}
    reference = OnnxBatchNormalization(args, "float32", "float32", precision("float32"))
    state = reference.initial(
        {"running_mean": PER_CHANNEL["m"], "running_var": PER_CHANNEL["v"], "num_batches_tracked": np.array(0)}
    )
    params = {"weight": PER_CHANNEL["s"], "bias": PER_CHANNEL["b"]}
    found = reference.step(X, X, params, state, "train").quantities
    assert found["buffer.num_batches_tracked"].value == 0
    for name, array in zip(("output", "buffer.running_mean", "buffer.running_var"), got, strict=True):
        assert_within(found[name], array)


def test_the_inference_form_normalises_with_the_statistics_before_a_step_and_trains_on():
    args = {"num_features": 7, "eps": 1e-5, "momentum": 0.75, "track_running_stats": True}
    form, layer = (kind(args, "float32", "float32", precision("float32")) for kind in (InferenceForm, BatchNorm))
    params = {"weight": PER_CHANNEL["s"], "bias": PER_CHANNEL["b"]}
    state = form.initial(
        {"running_mean": PER_CHANNEL["m"], "running_var": PER_CHANNEL["v"], "num_batches_tracked": np.array(0)}
    )
    for batch in (X, X[::-1] * 2):
        before = {name: state[f"running_{kind}"].value for name, kind in (("m", "mean"), ("v", "var"))}
        given = {"x": batch, "s": PER_CHANNEL["s"], "b": PER_CHANNEL["b"], **before}
        given = {name: array.astype(np.float32) for name, array in given.items()}
        (got,) = evaluated("BatchNormalization", given, ["y"], 15, epsilon=1e-5)
        found, trained = (kind.step(batch, batch, params, state, "train") for kind in (form, layer))
        assert_within(found.quantities["output"], got)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            np.testing.assert_array_equal(found.state[name].value, trained.state[name].value)
            assert found.quantities[f"buffer.{name}"] is not None
        state = found.state
    ended, evaluating = (kind.step(X, X, params, state, "eval") for kind in (form, layer))
    np.testing.assert_allclose(ended.quantities["output"].value, evaluating.quantities["output"].value, rtol=1e-6)


@pytest.mark.parametrize("eps", [1e-12, None, 0.5])
def test_without_eps_a_root_mean_square_is_what_is_left(eps):
    form = RMSNormWithoutEps({"normalized_shape": [3], "eps": eps}, "float64", "float64", precision("float64"))
    x = X.astype(np.float64) * 1e-9
    x[0, 0] = 0.0
    with np.errstate(all="ignore"):
        expected = x / np.sqrt((x * x).mean(-1, keepdims=True))
        found = form.step(x, x, {}, {}, "eval").quantities["output"]
    assert found.undetermined is not None
    assert np.argwhere(found.undetermined.any(-1)).tolist() == [[0, 0]]  # a row of zeros is divided by zero
    known = ~found.undetermined
    np.testing.assert_allclose(found.value[known], expected[known], rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
def test_the_window_of_lrn_has_its_longer_half_above(size):
    (got,) = evaluated("LRN", {"x": X[..., None]}, ["y"], 13, size=size, alpha=0.5, beta=0.75, bias=2.0)
    args = {"size": size, "alpha": 0.5, "beta": 0.75, "k": 2.0}
    reference = OnnxLRN(args, "float32", "float32", precision("float32"))
    found = reference.step(X[..., None], X[..., None], {}, {}, "eval").quantities
    assert_within(found["output"], got)


def test_the_gradient_of_lrn_is_that_of_its_own_window():
    args = {"size": 4, "alpha": 0.5, "beta": 0.75, "k": 2.0}
    reference = OnnxLRN(args, "float64", "float64", precision("float64"))
    x, direction, step = X.astype(np.float64), bits.normal("variants/direction", SHAPE), 1e-5
    weights = bits.normal("variants/g", SHAPE)

    def value(at):
        return float((reference.step(at, weights, {}, {}, "eval").quantities["output"].value * weights).sum())

    slope = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    gradient = reference.step(x, weights, {}, {}, "eval").quantities["grad_input"].value
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-7)
