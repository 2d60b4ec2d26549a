"""The networks as torch modules, built the way their authors build them.

MLP is torchvision's own class where torchvision can be imported, and one of the same structure elsewhere.  The residual
blocks have the layers, names and in-place operations of torchvision.models.resnet (torchvision 0.29); LeNet is the
network of LeCun et al. 1998 with a batch normalisation after every hidden convolution and linear layer (Ioffe and
Szegedy 2015, section 4.1), as it is taught; the dense block and its transition layer follow Huang et al. 2017,
section 3, without bottlenecks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import nn

Maker = Callable[..., nn.Module]


class PlainMLP(nn.Sequential):
    """The structure of torchvision.ops.MLP: linear, norm, activation and dropout for each hidden layer.

    x: (N, in_channels) -> (N, hidden_channels[-1]).  The last layer has neither norm nor activation.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: Sequence[int],
        norm_layer: Maker | None = None,
        activation_layer: Maker = nn.ReLU,
        inplace: bool | None = None,  # noqa: FBT001 - the signature of torchvision.ops.MLP
        bias: bool = True,  # noqa: FBT001, FBT002 - as above
        dropout: float = 0.0,
    ) -> None:
        in_place = {} if inplace is None else {"inplace": inplace}
        layers: list[nn.Module] = []
        before = in_channels
        for channels in hidden_channels[:-1]:
            layers.append(nn.Linear(before, channels, bias=bias))
            if norm_layer is not None:
                layers.append(norm_layer(channels))
            layers += [activation_layer(**in_place), nn.Dropout(dropout, **in_place)]
            before = channels
        layers += [nn.Linear(before, hidden_channels[-1], bias=bias), nn.Dropout(dropout, **in_place)]
        super().__init__(*layers)


def torchvision_mlp() -> Maker | None:
    """The class of torchvision, or None where there is no torchvision."""
    try:
        found: Maker = import_module("torchvision.ops").MLP
    except ImportError:
        return None
    return found


def mlp(
    in_channels: int,
    hidden_channels: Sequence[int],
    norm_layer: str | None = None,
    activation_layer: str = "ReLU",
    inplace: bool | None = None,  # noqa: FBT001 - the signature of torchvision.ops.MLP
    bias: bool = True,  # noqa: FBT001, FBT002 - as above
    dropout: float = 0.0,
) -> nn.Module:
    """torchvision.ops.MLP, or a module of the same structure; norm and activation by the names of their torch.nn."""
    make = torchvision_mlp() or PlainMLP
    return make(
        in_channels,
        list(hidden_channels),
        norm_layer=None if norm_layer is None else getattr(nn, norm_layer),
        activation_layer=getattr(nn, activation_layer),
        inplace=inplace,
        bias=bias,
        dropout=dropout,
    )


class LeNet(nn.Module):
    """x: (N, in_channels, size, size) -> (N, num_classes)."""

    def __init__(self, in_channels: int = 1, size: int = 28, num_classes: int = 10) -> None:
        super().__init__()
        side = (size - 12) // 4  # two convolutions of 5 without padding, two pools of 2
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5), nn.BatchNorm2d(6), nn.Sigmoid(), nn.AvgPool2d(2, 2),
            nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.Sigmoid(), nn.AvgPool2d(2, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * side * side, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
            nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
            nn.Linear(84, num_classes),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x))
        return logits


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """The 1x1 convolution that brings the input to the shape of the output."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """The residual block of ResNet-18 and -34 (He et al. 2016, figure 5, left).

    x: (N, in_channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, *, projection: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride) if projection else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out: torch.Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        activated: torch.Tensor = self.relu(out)
        return activated


class Bottleneck(nn.Module):
    """The residual block of ResNet-50 and deeper (He et al. 2016, figure 5, right); stride in the 3x3 convolution.

    x: (N, in_channels, H, W) -> (N, 4 channels, ceil(H / stride), ceil(W / stride)).
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1, *, projection: bool = False) -> None:
        super().__init__()
        wide = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, wide, stride) if projection else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out: torch.Tensor = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        activated: torch.Tensor = self.relu(out)
        return activated


class DenseLayer(nn.Sequential):
    """Norm, activation, 3x3 convolution.  x: (N, in_channels, H, W) -> (N, growth_rate, H, W)."""

    def __init__(self, in_channels: int, growth_rate: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, growth_rate, 3, padding=1)


class Transition(nn.Sequential):
    """Norm, activation, 1x1 convolution, pool.  x: (N, in_channels, H, W) -> (N, out_channels, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.pool = nn.AvgPool2d(2, 2)


class DenseBlock(nn.Module):
    """Every layer sees the input and the outputs of all layers before it; then, if asked for, a transition layer.

    x: (N, in_channels, H, W) -> (N, c, H, W) with c = in_channels + num_layers growth_rate, or (N, c // 2, H // 2,
    W // 2) behind a transition.
    """

    def __init__(self, in_channels: int, growth_rate: int = 4, num_layers: int = 2, *, transition: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [DenseLayer(in_channels + place * growth_rate, growth_rate) for place in range(num_layers)]
        )
        channels = in_channels + num_layers * growth_rate
        self.transition = Transition(channels, channels // 2) if transition else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x if self.transition is None else self.transition(x)
