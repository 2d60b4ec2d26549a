"""Batch normalisation from scratch with the mistakes that go round, one in each class, and all of them in one.

    conformance check examples/batch_norm_mistaken.py:AllOfThem --like BatchNorm2d

Every one of them trains, and its loss goes down; that is why they go round.
"""

from __future__ import annotations

import torch
from batch_norm_scratch import BatchNorm, Moved, batch_norm, moved, shape_of
from torch import nn


class PerPixel(BatchNorm):
    """The rank test is always true, so images are normalised pixel by pixel, over the batch alone."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(X)
        if len(X.shape) == 2 or 4:  # the mistake: 4 is true by itself
            axes: tuple[int, ...] = (0,)
        else:
            axes = (0, 2, 3)
        x = X.to(torch.promote_types(X.dtype, torch.float32))
        n = X.shape[0]
        mean = x.mean(axes, keepdim=True)
        var = ((x - mean) ** 2).mean(axes, keepdim=True)
        self.moving_mean = moved(self.moving_mean, mean, self.momentum)
        self.moving_var = moved(self.moving_var, var * n / max(n - 1, 1), self.momentum)
        return (self.gamma * (x - mean) / torch.sqrt(var + self.eps) + self.beta).to(X.dtype)


class SwappedAverages(BatchNorm):
    """Moving mean and moving variance are handed over in each other's place, so that every call exchanges them."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        Y, self.moving_mean, self.moving_var = batch_norm(
            X, self.gamma, self.beta, self.moving_var, self.moving_mean, self.eps, self.momentum, training=self.training
        )
        return Y


class MomentumKeeps(BatchNorm):
    """The momentum weighs the old value, as in Keras and ONNX, at the number that weighs the new one in torch."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        Y, mean, var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, self.eps, 1 - self.momentum,
            training=self.training,
        )  # fmt: skip
        if self.training:
            self.moving_mean, self.moving_var = mean, var
        return Y


class BiasedAverage(BatchNorm):
    """The variance that normalises, over n, goes into the moving average as well, where the one over n - 1 belongs."""

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        before = self.moving_var
        Y = super().forward(X)
        if self.training:
            x = X.to(torch.promote_types(X.dtype, torch.float32))
            axes = (0,) if X.dim() == 2 else (0, 2, 3)
            self.moving_var = moved(before, x.var(axes, correction=0, keepdim=True), self.momentum)
        return Y


class VarianceFromZero(BatchNorm):
    """The moving variance starts at 0 beside the moving mean; eval before training divides by sqrt(eps)."""

    def __init__(self, num_features: int, num_dims: int = 4, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__(num_features, num_dims, eps, momentum)
        self.moving_var.zero_()


class PlainAttributes(nn.Module):
    """The moving averages are plain attributes: not in the state_dict, so not in a saved model either."""

    def __init__(self, num_features: int, num_dims: int = 4, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        if momentum is None:
            raise NotImplementedError("a cumulative average needs a count of the batches, which is not kept here")
        shape = shape_of(num_features, num_dims)
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)
        self.moving_var = torch.ones(shape)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        Y, mean, var = batch_norm(
            X, self.gamma, self.beta, self.moving_mean, self.moving_var, self.eps, self.momentum, training=self.training
        )
        if self.training:
            self.moving_mean, self.moving_var = mean, var
        return Y


class AllOfThem(nn.Module):
    """All six in one layer."""

    def __init__(self, num_features: int, num_dims: int = 4, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        if momentum is None:
            raise NotImplementedError("a cumulative average needs a count of the batches, which is not kept here")
        shape = shape_of(num_features, num_dims)
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.moving_mean = torch.zeros(shape)  # a plain attribute
        self.moving_var = torch.zeros(shape)  # a plain attribute, and from zero

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        Y, self.moving_mean, self.moving_var = mistaken_batch_norm(
            X, self.gamma, self.beta,
            self.moving_var, self.moving_mean,  # in each other's place
            self.eps, self.momentum, training=self.training,
        )  # fmt: skip
        return Y


def mistaken_batch_norm(
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
    """The core with three mistakes in it."""
    x = X.to(torch.promote_types(X.dtype, torch.float32))
    mean, var = moving_mean.to(x.dtype), moving_var.to(x.dtype)
    if training:
        if len(X.shape) == 2 or 4:  # always true
            axes: tuple[int, ...] = (0,)
        else:
            axes = (0, 2, 3)
        mean = x.mean(axes, keepdim=True)
        var = ((x - mean) ** 2).mean(axes, keepdim=True)
        moving_mean = moved(moving_mean, mean, 1 - momentum)  # the momentum keeps the old value
        moving_var = moved(moving_var, var, 1 - momentum)  # and takes in the biased variance
    x_hat = (x - mean) / torch.sqrt(var + eps)
    return (gamma * x_hat + beta).to(X.dtype), moving_mean, moving_var
