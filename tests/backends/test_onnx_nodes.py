"""Single ONNX operators under onnxruntime: the definition on harmless data, and what they cannot say."""

from __future__ import annotations

import pytest

from conformance.backends.onnx_nodes import OnnxNodes, precision_of
from conformance.inputs import make_inputs
from conformance.judge import Expectation
from conformance.judge.verdict import figures_of
from conformance.observation import Unsupported

OPERATORS = {
    "BatchNormalization": ("BatchNorm2d", (3, 4, 5, 2), {}, {"steps": ("eval",)}),
    "LayerNormalization": ("LayerNorm", (6, 3, 5), {"normalized_shape": [3, 5]}),
    "LayerNormalization without bias": ("LayerNorm", (6, 13), {"bias": False}),
    "RMSNormalization": ("RMSNorm", (6, 13), {}),
    "InstanceNormalization": ("InstanceNorm1d", (3, 4, 9), {"affine": True}),
    "GroupNormalization": ("GroupNorm", (3, 6, 5), {"num_groups": 2}),
    "LRN": ("LocalResponseNorm", (2, 7, 3, 3), {"size": 3, "alpha": 0.5, "k": 2.0}),
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_computes_the_definition(case_of, operator):
    op, shape, args, *fields = OPERATORS[operator]
    case = case_of(op, shape=shape, args=args, **(fields[0] if fields else {}))
    inputs = make_inputs(case)
    backend = OnnxNodes()
    assert backend.unsupported(case) is None
    observation = backend.run(case, inputs)
    (figure,) = figures_of(case, Expectation(case, inputs), observation, backend.observes, precision_of(case))
    assert figure.ok
    assert figure.quantity == "output"


@pytest.mark.parametrize(
    ("op", "shape", "args", "fields", "why"),
    [
        ("LayerNorm", (2, 3), {}, {"steps": ("train", "train")}, "one step"),
        ("LayerNorm", (2, 3), {"eps": 1e-5}, {"dtype": "float64", "param_dtype": "float64"}, "float32 attribute"),
        ("LayerNorm", (2, 3), {}, {"dtype": "bfloat16", "param_dtype": "float32"}, "one type"),
        ("BatchNorm1d", (4, 3), {}, {}, "inference"),
        ("InstanceNorm1d", (4, 3, 2), {"track_running_stats": True}, {"steps": ("eval",)}, "running statistics"),
        ("InstanceNorm1d", (4, 3), {}, {}, "batches"),
        ("LocalResponseNorm", (1, 3, 2, 2), {"size": 2}, {}, "even size"),
    ],
)
def test_what_no_operator_says_is_unsupported_with_a_reason(case_of, op, shape, args, fields, why):
    assert why in OnnxNodes().unsupported(case_of(op, shape=shape, args=args, **fields))


def test_a_missing_kernel_is_unsupported_in_the_runtimes_words(case_of):
    case = case_of("InstanceNorm1d", dtype="bfloat16", param_dtype="bfloat16")
    with pytest.raises(Unsupported, match="InstanceNormalization"):
        OnnxNodes().run(case, make_inputs(case))


def test_group_normalization_of_float64_may_compute_in_float32(case_of):
    assert precision_of(case_of("GroupNorm", dtype="float64")) == "float32"
    assert precision_of(case_of("LayerNorm", dtype="float64")) == "A"
