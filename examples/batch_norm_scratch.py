"""Batch normalisation from scratch, the way that tutorials build it: a functional core, and a layer around it.

    conformance check examples/batch_norm_scratch.py:BatchNorm --like BatchNorm2d

It computes what torch.nn.BatchNorm2d computes.  Its conventions are torch's where people differ: ``momentum`` weighs
the new value, the variance that normalises is the biased one, and the one that goes into the moving average is the
unbiased one.  It is a smaller layer, and differs where it says so:

- gamma, beta and the moving averages have the shape (1, C) or (1, C, 1, 1), which broadcasts, in place of (C,);
- there is always a gamma, a beta and a moving average: no ``affine=False``, no ``track_running_stats=False``;
- batches are not counted, so there is no ``momentum=None``, the cumulative average;
- it refuses a batch with fewer than two values per channel, an empty one too, which torch takes in training; and it
  refuses nothing else: an eps of 0, another rank, other channels, integers and mixed dtypes meet the words of whatever
  operator they break, or none.
"""

from __future__ import annotations

import torch
from torch import nn

Moved = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batch_norm(
    X: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    moving_mean: torch.Tensor,
    moving_var: torch.Tensor,
    eps: float,
    momentum: float,
    *,
    training: bool,
) -> Moved:
    """X normalised, and the moving averages after it.

    X: (N, C) or (N, C, H, W); all the others (1, C) or (1, C, 1, 1).  Half precision is computed in float32.
    """
    x = X.to(torch.promote_types(X.dtype, torch.float32))
    mean, var = moving_mean.to(x.dtype), moving_var.to(x.dtype)
    if training:
        axes = (0,) if X.dim() == 2 else (0, 2, 3)  # all but the channels
        n = X.numel() // X.shape[1]
        if n < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {X.shape}")
        mean = x.mean(axes, keepdim=True)
        var = ((x - mean) ** 2).mean(axes, keepdim=True)
        moving_mean = moved(moving_mean, mean, momentum)
        moving_var = moved(moving_var, var * n / (n - 1), momentum)
    x_hat = (x - mean) / torch.sqrt(var + eps)
    return (gamma * x_hat + beta).to(X.dtype), moving_mean, moving_var


def moved(average: torch.Tensor, new: torch.Tensor, momentum: float) -> torch.Tensor:
    """The moving average a ``momentum`` of the way towards the new value."""
    return ((1 - momentum) * average.to(new.dtype) + momentum * new.detach()).to(average.dtype)


def shape_of(num_features: int, num_dims: int) -> tuple[int, ...]:
    """The shape that broadcasts against inputs with so many axes."""
    return (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)


class BatchNorm(nn.Module):
    """The layer; ``num_dims`` is 2 after a linear layer and 4 after a convolution."""

    def __init__(self, num_features: int, num_dims: int = 4, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        if momentum is None:
            raise NotImplementedError("a cumulative average needs a count of the batches, which is not kept here")
        shape = shape_of(num_features, num_dims)
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean: torch.Tensor
        self.moving_var: torch.Tensor
        self.register_buffer("moving_mean", torch.zeros(shape))
        self.register_buffer("moving_var", torch.ones(shape))

    def reset_running_stats(self) -> None:
        """Forget what was seen, as a new layer."""
        self.moving_mean.zero_()
        self.moving_var.fill_(1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        Y, mean, var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, self.eps, self.momentum, training=self.training
        )
        if self.training:
            self.moving_mean, self.moving_var = mean, var
        return Y
