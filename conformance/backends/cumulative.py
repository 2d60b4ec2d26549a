"""The cumulative average of batch normalisation as something that can be traced.

With ``momentum=None`` torch weighs the batch with 1 / num_batches_tracked, and reads the count out of its tensor to do
so, which no exporter can follow.  Here the same weight stays a tensor: the batch normalisation itself is asked for the
statistics of the batch (momentum 1), and the running ones move towards them in the same step of the graph.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def make_traceable(module: torch.nn.Module) -> None:
    """Let every batch normalisation of the module that averages cumulatively do so with tensors alone."""
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and layer.momentum is None and layer.track_running_stats:
            layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]  # of this layer alone


def _forward(layer: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    """x: (N, C, *spatial), as torch.nn.BatchNorm1d, 2d and 3d of torch 2.13 compute it."""
    mean, var, count = layer.running_mean, layer.running_var, layer.num_batches_tracked
    assert mean is not None
    assert var is not None
    assert count is not None
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]  # noqa: SLF001 - as the layer's own forward does
    if not layer.training:
        return functional.batch_norm(x, mean, var, layer.weight, layer.bias, training=False, eps=layer.eps)
    count.add_(1)
    wide = torch.promote_types(mean.dtype, torch.float32)
    factor = 1.0 / count.to(wide)
    of_batch = torch.zeros_like(mean), torch.ones_like(var)
    y = functional.batch_norm(x, *of_batch, layer.weight, layer.bias, training=True, momentum=1.0, eps=layer.eps)
    for running, batch in zip((mean, var), of_batch, strict=True):
        running.copy_((1.0 - factor) * running.to(wide) + factor * batch.to(wide))
    return y
