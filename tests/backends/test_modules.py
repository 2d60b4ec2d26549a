"""From a case to a module."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from conformance.backends.modules import StateMismatch, arguments, build, factory_of, load_state
from conformance.backends.tensors import to_array
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.ops.layers import LAYERS
from conformance.ops.normalisation import NORMALISATION


class WithoutBias(torch.nn.Module):
    """Takes all arguments of LayerNorm but ``bias``."""

    def __init__(self, normalized_shape, eps, elementwise_affine):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(normalized_shape))
        self.bias = torch.nn.Parameter(torch.zeros(normalized_shape))


class RenamedWeight(torch.nn.Module):
    def __init__(self, **_):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(6))


class Narrow(torch.nn.Module):
    def __init__(self, **_):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.bias = torch.nn.Parameter(torch.ones(1))


def test_an_argument_that_the_class_lacks_is_dropped_at_its_default(case_of):
    case = case_of("LayerNorm")
    assert set(arguments(case, WithoutBias)) == set(case.args) - {"bias"}


def test_an_argument_that_the_class_lacks_is_unsupported_elsewhere(case_of):
    with pytest.raises(Unsupported, match="WithoutBias takes no argument 'bias', and the case needs bias=False"):
        arguments(case_of("LayerNorm", args={"bias": False}), WithoutBias)


def test_a_class_that_takes_any_keyword_gets_all_arguments(case_of):
    case = case_of("LayerNorm", args={"bias": False})
    assert arguments(case, RenamedWeight) == case.args


def test_an_op_that_this_torch_lacks_is_unsupported():
    with pytest.raises(Unsupported, match=re.escape("has no torch.nn.NormOfTheFuture")):
        factory_of("NormOfTheFuture")


@pytest.mark.parametrize("op", [op.name for op in (*NORMALISATION, *LAYERS)])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_loaded_state_is_that_of_the_inputs_bit_for_bit(op, dtype, case_of):
    case = case_of(op, dtype=dtype, param_dtype=dtype)
    inputs = make_inputs(case)
    module = build(case)
    load_state(module, case, inputs)
    state = module.state_dict()
    for name, array in (inputs.params | inputs.buffers).items():
        assert to_array(state[name]).tobytes() == array.tobytes(), name
        assert to_array(state[name]).dtype == array.dtype, name


def test_default_state_is_what_the_constructor_made(case_of):
    case = case_of("LayerNorm", params="default")

    class Twos(torch.nn.LayerNorm):
        def reset_parameters(self):
            torch.nn.init.constant_(self.weight, 2.0)
            torch.nn.init.constant_(self.bias, 2.0)

    module = build(case, Twos)
    load_state(module, case, make_inputs(case))
    assert np.unique(to_array(module.weight)).tolist() == [2.0]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (RenamedWeight, "has no parameter gamma, this module does"),
        (Narrow, r"'weight' is torch.float32 of shape \(1,\)"),
    ],
)
def test_a_module_with_another_state_is_told_by_name(factory, message, case_of):
    case = case_of("LayerNorm")
    with pytest.raises(StateMismatch, match=message):
        load_state(build(case, factory), case, make_inputs(case))


def test_a_missing_parameter_is_told_with_those_that_exist(case_of):
    case = case_of("LayerNorm")
    with pytest.raises(StateMismatch, match=r"no parameter 'bias' in this module \(it has: weight\)"):
        load_state(build(case, lambda **_: torch.nn.LayerNorm(6, bias=False)), case, make_inputs(case))


@pytest.mark.parametrize("op", ["Linear", "Conv2d"])
def test_default_parameters_are_loaded_where_the_constructor_draws_its_own(op, case_of):
    case = case_of(op, params="default")
    module = build(case)
    load_state(module, case, make_inputs(case))
    assert (module.weight == 1).all()
    assert (module.bias == 0).all()
