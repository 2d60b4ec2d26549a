"""What a script makes is the module that the backend makes: the same parameters, the same output."""

from __future__ import annotations

import ast

import pytest
import torch

from conformance.backends.modules import build, factory_of
from conformance.repro.modules_code import construction, source_of

NETWORKS = [
    ("MLP", (6, 5), {"hidden_channels": [8, 4], "norm_layer": "BatchNorm1d", "activation_layer": "Tanh"}),
    ("LeNet", (2, 1, 28, 28), {}),
    ("BasicBlock", (2, 4, 6, 6), {"channels": 8, "stride": 2, "projection": True}),
    ("FrozenTeacher", (4, 3, 2, 5), {"momentum": None}),
    ("Conv2d", (2, 3, 6, 5), {"out_channels": 2, "kernel_size": [3, 3], "padding": "same"}),
]


@pytest.mark.parametrize(("op", "shape", "args"), NETWORKS)
def test_the_written_module_computes_what_the_backend_s_own_does(case_of, op, shape, args):
    case = case_of(op, shape, **args)
    made: dict[str, object] = {"torch": torch, "nn": torch.nn}
    own = factory_of(case.op).__module__.startswith("conformance")
    exec("\n".join(source_of(factory_of(case.op)) if own else []), made)
    written, usual = eval(construction(case), made), build(case)
    assert list(written.state_dict()) == list(usual.state_dict())
    written.load_state_dict(usual.state_dict())
    x = torch.linspace(-2, 3, usual_size(shape)).reshape(shape)
    assert torch.equal(written.train()(x), usual.train()(x))


def usual_size(shape):
    return int(torch.tensor(shape).prod())


@pytest.mark.parametrize("op", ["FrozenTeacher", "BasicBlock", "LeNet"])
def test_the_source_is_code_alone(op):
    tree = ast.parse("\n".join(source_of(factory_of(op))))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AnnAssign)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert ast.get_docstring(node) is None
        if isinstance(node, ast.arg):
            assert node.annotation is None


def test_what_a_class_uses_beside_it_comes_before_it():
    text = "\n".join(source_of(factory_of("BasicBlock")))
    assert text.index("def _shortcut") < text.index("class BasicBlock")
