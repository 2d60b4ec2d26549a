"""The cumulative average of batch normalisation, with tensors alone."""

from __future__ import annotations

import copy

import pytest
import torch

from conformance.backends.cumulative import make_traceable

LAYERS = [(torch.nn.BatchNorm1d, (4, 3)), (torch.nn.BatchNorm2d, (4, 3, 5, 6)), (torch.nn.BatchNorm3d, (2, 3, 2, 3, 2))]


@pytest.mark.parametrize(("layer", "shape"), LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_it_is_what_torch_computes_over_several_steps(layer, shape, dtype):
    torch.manual_seed(0)
    plain = layer(3, momentum=None).to(dtype)
    traceable = copy.deepcopy(plain)
    make_traceable(traceable)
    rough = 4 * torch.finfo(dtype).eps
    for number in range(4):
        x = torch.randn(shape, dtype=dtype) + number
        assert torch.equal(traceable(x), plain(x))
        assert traceable.num_batches_tracked == plain.num_batches_tracked == number + 1
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(traceable, name), getattr(plain, name), rtol=rough, atol=rough)
    assert torch.equal(traceable.eval()(x), plain.eval()(x)) or dtype != torch.float64


def test_a_layer_with_a_momentum_is_left_alone():
    layer = torch.nn.BatchNorm2d(3)
    make_traceable(layer)
    assert "forward" not in vars(layer)


def test_layers_inside_of_a_network_are_found():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3, momentum=None))
    make_traceable(network)
    assert "forward" in vars(network[1])


def test_an_input_of_another_rank_is_refused_as_torch_refuses_it():
    layer = torch.nn.BatchNorm2d(3, momentum=None)
    make_traceable(layer)
    with pytest.raises(ValueError, match="expected 4D input"):
        layer(torch.zeros(2, 3))
