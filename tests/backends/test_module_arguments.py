"""From a torch module back to its op and its arguments."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from conformance.backends.module_arguments import arguments_of, op_of
from conformance.observation import Unsupported
from conformance.ops import OPS

GIVEN = {
    "BatchNorm1d": {"num_features": 6, "eps": 1e-3, "momentum": None},
    "BatchNorm2d": {"num_features": 6, "affine": True, "bias": False},
    "BatchNorm3d": {"num_features": 6, "track_running_stats": False},
    "LayerNorm": {"normalized_shape": [3, 4], "eps": 1e-3, "bias": False},
    "RMSNorm": {"normalized_shape": [4]},
    "InstanceNorm1d": {"num_features": 6, "momentum": 0.3},
    "InstanceNorm2d": {"num_features": 6, "affine": True, "track_running_stats": True},
    "InstanceNorm3d": {"num_features": 6, "affine": True, "bias": False},
    "GroupNorm": {"num_groups": 3, "num_channels": 6, "eps": 1e-3},
    "LocalResponseNorm": {"size": 4, "alpha": 0.5, "beta": 0.5, "k": 2.0},
}


@pytest.mark.parametrize("op", GIVEN)
def test_the_arguments_of_a_module_are_those_that_it_was_made_with(op):
    wanted = OPS[op].complete(OPS[op].defaults() | GIVEN[op], (2, 6, 3, 4))
    if not wanted.get("affine", True):
        wanted["bias"] = False  # without a weight there is no bias, whatever was asked for
    assert arguments_of(getattr(nn, op)(**GIVEN[op])) == wanted


def test_every_op_has_its_arguments_tested():
    assert GIVEN.keys() == {op.name for op in OPS.values() if op.family.endswith("norm")}


def test_a_subclass_is_judged_as_the_op_that_it_comes_from():
    class Mine(nn.LayerNorm):
        pass

    class Younger(Mine):
        pass

    assert op_of(Younger(4)) == "LayerNorm"
    assert arguments_of(Younger(4))["normalized_shape"] == [4]


def test_another_class_of_the_same_name_is_no_op():
    class LayerNorm(nn.Module):
        pass

    assert op_of(LayerNorm()) is None
    with pytest.raises(Unsupported, match="no reference for LayerNorm"):
        arguments_of(LayerNorm())


def test_a_subclass_without_the_attributes_of_its_op_says_what_is_missing():
    class Bare(nn.GroupNorm):
        def __init__(self):
            nn.Module.__init__(self)

    with pytest.raises(Unsupported, match="Bare has no attribute 'num_groups', which GroupNorm keeps"):
        arguments_of(Bare())


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_uses_the_running_statistics_that_exist_in_eval_mode_whatever_its_flag_says(training):
    module = nn.BatchNorm1d(3).train(training)
    module.track_running_stats = False
    assert arguments_of(module)["track_running_stats"] is not training
    x = torch.full((2, 3), 5.0)
    batch_statistics = bool((module(x).abs() < 1e-2).all())
    assert batch_statistics is training
