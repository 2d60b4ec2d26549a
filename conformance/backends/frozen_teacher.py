"""A student beside a frozen teacher, the way that it is done right."""

from __future__ import annotations

from typing import Self

import torch
from torch import nn


class FrozenTeacher(nn.Module):
    """x: (N, C, H, W) -> student(x) - teacher(x), both batch normalisations.

    A teacher is frozen by two things: its parameters require no gradient, and it stays in eval mode even when ``train``
    is called on the whole, since in train mode its buffers move with every forward pass.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,  # noqa: FBT001, FBT002 - the signature of torch.nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.student = nn.BatchNorm2d(num_features, eps, momentum, affine)
        self.teacher = nn.BatchNorm2d(num_features, eps, momentum, affine)
        self.teacher.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - as torch.nn.Module has it
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            target = self.teacher(x)
        difference: torch.Tensor = self.student(x) - target
        return difference
