"""Nodes of networks are judged as the layers that they are; what has no reference says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from conformance.backends.onnx_capture import capture_onnx
from conformance.judge.local import judge_calls

RNG = np.random.default_rng(7)
IMAGE = RNG.normal(size=(2, 4, 7, 8)).astype(np.float32)
ROWS = RNG.normal(size=(5, 7)).astype(np.float32)
KERNEL = RNG.normal(size=(6, 2, 3, 2)).astype(np.float32)
MATRIX = RNG.normal(size=(4, 7)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)


def model_of(operator, x, *constants, opset=20, **attributes):
    """One node between x and y, its other inputs constant."""
    names = [f"c{place}" for place in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in zip(names, constants, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


NODES = {
    "gemm": ("Gemm", ROWS, (MATRIX.T.copy(), BIAS), {}),
    "gemm-transposed": ("Gemm", ROWS, (MATRIX, BIAS), {"transB": 1}),
    "gemm-without-bias": ("Gemm", ROWS, (MATRIX,), {"transB": 1}),
    "gemm-one-bias-for-all": ("Gemm", ROWS, (MATRIX, BIAS[:1]), {"transB": 1}),
    "matmul": ("MatMul", ROWS, (MATRIX.T.copy(),), {}),
    "matmul-of-batches": ("MatMul", ROWS.reshape(1, 5, 7), (MATRIX.T.copy(),), {}),
    "conv": ("Conv", IMAGE, (KERNEL,), {"group": 2}),
    "conv-everything": (
        "Conv",
        IMAGE,
        (KERNEL, RNG.normal(size=6).astype(np.float32)),
        {"group": 2, "strides": [2, 1], "dilations": [1, 2], "pads": [0, 1, 2, 3], "kernel_shape": [3, 2]},
    ),
    "conv-same-upper": ("Conv", IMAGE, (KERNEL,), {"group": 2, "auto_pad": "SAME_UPPER"}),
    "conv-same-lower": ("Conv", IMAGE, (KERNEL,), {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "conv-valid": ("Conv", IMAGE, (KERNEL,), {"group": 2, "auto_pad": "VALID"}),
    "max-pool": (
        "MaxPool",
        IMAGE,
        (),
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1], "ceil_mode": 1},
    ),
    "max-pool-dilated": ("MaxPool", IMAGE, (), {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    "average-pool": ("AveragePool", IMAGE, (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "average-pool-with-padding": (
        "AveragePool",
        IMAGE,
        (),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1},
    ),
    "relu": ("Relu", ROWS, (), {}),
    "sigmoid": ("Sigmoid", np.abs(ROWS), (), {}),  # small values have an absolute accuracy in onnxruntime
    "tanh": ("Tanh", ROWS, (), {}),
    "identity": ("Identity", ROWS, (), {}),
    "flatten": ("Flatten", IMAGE, (), {}),
    "flatten-all": ("Flatten", IMAGE, (), {"axis": 0}),
    "flatten-from-the-end": ("Flatten", IMAGE, (), {"axis": -1}),
    "reshape": ("Reshape", IMAGE, (np.array([0, -1, 8], np.int64),), {}),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_agrees_with_its_reference_and_a_wrong_one_does_not(name):
    operator, x, constants, attributes = NODES[name]
    (call,) = capture_onnx(model_of(operator, x, *constants, **attributes), {"x": x})
    (finding,) = judge_calls([call])
    assert (finding.kind, finding.outcome, finding.reason) == (operator, "pass", "")
    (figure,) = finding.figures
    assert figure.quantity == "output"
    wrong = replace(call, arrays={"output": call.arrays["output"] * np.float32(1.001)})
    assert judge_calls([wrong])[0].outcome == "fail"


UNKNOWN = {
    "gemm-scaled": ("Gemm", ROWS, (MATRIX, BIAS), {"transB": 1, "alpha": 0.5}, "scales or transposes its first factor"),
    "gemm-first-transposed": ("Gemm", MATRIX, (BIAS[:, None],), {"transA": 1}, "scales or transposes its first factor"),
    "gemm-bias-by-row": ("Gemm", ROWS, (MATRIX, ROWS[:, :4].copy()), {"transB": 1}, "a bias for each row"),
    "matmul-of-three-axes": ("MatMul", ROWS, (MATRIX.T[None].copy(),), {}, "a second factor of 3 axes"),
    "pooling-of-lines": ("MaxPool", IMAGE[:, :, :, 0].copy(), (), {"kernel_shape": [3]}, "MaxPool on 3 axes"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_node_without_a_reference_says_what_is_missing(name):
    operator, x, constants, attributes, words = UNKNOWN[name]
    (finding,) = judge_calls(capture_onnx(model_of(operator, x, *constants, **attributes), {"x": x}))
    assert finding.outcome == "not judged"
    assert words in finding.reason
