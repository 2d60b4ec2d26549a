"""Wrong signatures are answered with the adapter to write."""

from __future__ import annotations

import sys
import types

import candidates
import pytest
import torch

from conformance.backends.candidate.functional import FunctionLayer
from conformance.backends.candidate.signature import adapter, arguments_for, check_affine, check_signature
from conformance.errors import UsageError
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.ops import OPS

BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats", "bias")


class FewArguments:
    def __init__(self, num_features, eps=1e-5):
        """Takes what it takes."""


class Anything:
    def __init__(self, **args):
        """Takes everything."""


class Epsilon:
    def __init__(self, num_features, epsilon=1e-5, decay=0.9):
        self.given = {"num_features": num_features, "epsilon": epsilon, "decay": decay}


def by_position(C, /, eps):
    return C, eps


def test_arguments_that_change_nothing_are_left_out(case_of):
    case = case_of("BatchNorm2d")
    assert arguments_for(FewArguments, case.args, case) == {"num_features": 3, "eps": 1e-5}
    assert arguments_for(Anything, case.args, case) == case.args


def test_an_argument_that_matters_and_is_not_taken_is_unsupported(case_of):
    case = case_of("BatchNorm2d", args={"momentum": 0.3})
    with pytest.raises(Unsupported, match=r"takes no argument 'momentum', and the case needs momentum=0\.3"):
        arguments_for(FewArguments, case.args, case)


def test_what_follows_from_the_shape_need_not_be_taken(case_of):
    case = case_of("LayerNorm", shape=(4, 8))
    assert arguments_for(lambda eps: eps, case.args, case) == {"eps": 1e-5}
    two = case_of("LayerNorm", shape=(4, 8), args={"normalized_shape": [4, 8]})
    with pytest.raises(Unsupported, match="normalized_shape"):
        arguments_for(lambda eps: eps, two.args, two)


@pytest.mark.parametrize("op", [op for op in OPS if hasattr(torch.nn, op)])
def test_torchs_own_signature_fits_every_op(op):
    check_signature(getattr(torch.nn, op), op)


def test_a_wrong_signature_is_told_beside_the_right_one():
    with pytest.raises(UsageError) as told:
        check_signature(candidates.OtherSignature, "BatchNorm2d")
    assert "OtherSignature requires 'num_channels', which torch's BatchNorm2d does not call so" in str(told.value)
    assert "OtherSignature(num_channels, decay=0.9)" in str(told.value)
    assert f"BatchNorm2d({', '.join(BATCH_NORM)})" in str(told.value)


def test_the_adapter_runs_as_it_stands_and_knows_what_a_decay_is(monkeypatch):
    home = types.ModuleType("somebodys")
    home.Epsilon = Epsilon
    monkeypatch.setitem(sys.modules, "somebodys", home)
    monkeypatch.setattr(Epsilon, "__module__", "somebodys")
    names = {}
    exec(compile(adapter(Epsilon, "BatchNorm2d"), "adapter.py", "exec"), names)
    made = names["adapter"](num_features=3, eps=0.5, momentum=0.25)
    assert made.given == {"num_features": 3, "epsilon": 0.5, "decay": 0.75}
    with pytest.raises(NotImplementedError, match="Epsilon has no affine"):
        names["adapter"](num_features=3, affine=False)


@pytest.mark.parametrize("op", OPS)
def test_an_adapter_can_be_written_for_every_op(op):
    compile(adapter(candidates.OtherSignature, op), "adapter.py", "exec")


def test_a_default_under_another_name_is_no_silence():
    with pytest.raises(
        UsageError, match="Epsilon takes 'epsilon', 'decay', which torch's BatchNorm2d does not call so"
    ):
        check_signature(Epsilon, "BatchNorm2d")


class Bare(torch.nn.Module):
    def __init__(self, normalized_shape, eps=1e-5):
        super().__init__()
        self.given = {"normalized_shape": normalized_shape, "eps": eps}


def test_a_layer_without_parameters_is_answered_with_the_adapter_that_says_so(case_of, monkeypatch):
    home = types.ModuleType("somebodys")
    home.Bare = Bare
    monkeypatch.setitem(sys.modules, "somebodys", home)
    monkeypatch.setattr(Bare, "__module__", "somebodys")
    said = "Bare has no parameters, and LayerNorm has weight, bias unless elementwise_affine=False\nwrite an adapter"
    with pytest.raises(UsageError, match=said) as told:
        check_affine(Bare, case_of("LayerNorm", shape=(4, 8)))
    names = {}
    exec(compile(str(told.value).partition("# adapter.py")[2], "adapter.py", "exec"), names)
    with pytest.raises(NotImplementedError, match="Bare has no elementwise_affine"):
        names["adapter"](normalized_shape=[8])
    made = names["adapter"](normalized_shape=[8], elementwise_affine=False, bias=False)
    assert made.given == {"normalized_shape": [8], "eps": 1e-5}


def test_who_takes_the_argument_that_switches_parameters_off_needs_no_adapter(case_of):
    case = case_of("LayerNorm", shape=(4, 8))
    check_affine(torch.nn.LayerNorm, case)
    check_affine(Anything, case)
    check_affine(Bare, case_of("LayerNorm", shape=(4, 8), args={"elementwise_affine": False}))
    check_affine(Bare, case_of("LocalResponseNorm", shape=(4, 8, 2)))


def test_positional_parameters_are_filled_by_position():
    text = adapter(by_position, "BatchNorm2d")
    assert "by_position(\n        num_features,\n        eps=eps,\n    )" in text


def test_what_no_name_tells_is_left_open_with_a_question():
    def strange(num_features, zeta):
        """Requires something that nobody knows."""

    assert "zeta=...,  # which argument of BatchNorm2d, or which number, is 'zeta'?" in adapter(strange, "BatchNorm2d")


def test_a_function_with_a_strange_parameter_is_answered_with_a_functions_adapter(case_of):
    def norm(x, weight, temperature):
        return x

    case = case_of("LayerNorm", shape=(4, 8))
    with pytest.raises(UsageError, match="norm requires 'temperature'") as told:
        FunctionLayer(norm, "torch", case, make_inputs(case))
    code = str(told.value).partition("# adapter.py")[2]
    assert "def adapter(x, params, buffers, *, training, **args):" in code
    assert 'norm(x, weight={**params, **buffers}.get("weight"), temperature=...)' in code
    compile(code, "adapter.py", "exec")
