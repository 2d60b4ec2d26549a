"""Networks with one fault in them, written the way that a person would make it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from conformance.backends.modules import factory_of


def _statistics(x, axes, *, unbiased):
    return x.mean(axes, keepdim=True), x.var(axes, keepdim=True, unbiased=unbiased)


def _swapped_batch_norm(self, x):
    """Normalises with the unbiased variance and keeps the biased one, where it should be the other way round."""
    if not self.training:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )
    wide = x.to(self.weight.dtype)
    axes = (0, *range(2, x.ndim))
    m, v = _statistics(wide, axes, unbiased=True)
    with torch.no_grad():
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(m.flatten(), self.momentum)
        self.running_var.lerp_(wide.var(axes, unbiased=False), self.momentum)
    shape = (1, -1, *([1] * (x.ndim - 2)))
    y = (wide - m) / torch.sqrt(v + self.eps) * self.weight.reshape(shape) + self.bias.reshape(shape)
    return y.to(x.dtype)


def _swapped_layer_norm(self, x):
    wide = x.to(self.weight.dtype)
    m, v = _statistics(wide, -1, unbiased=True)
    return ((wide - m) / torch.sqrt(v + self.eps) * self.weight + self.bias).to(x.dtype)


def _conv(self, x, weight, bias):
    return functional.conv2d(x, weight, bias, self.stride, self.padding)


def _batch_norm_without_bias(self, x):
    if self.training:
        self.num_batches_tracked.add_(1)
    return functional.batch_norm(
        x, self.running_mean, self.running_var, self.weight, None, self.training, self.momentum, self.eps
    )


class SwappedBatchNorm1d(nn.BatchNorm1d):
    forward = _swapped_batch_norm


class SwappedBatchNorm2d(nn.BatchNorm2d):
    forward = _swapped_batch_norm


class SwappedLayerNorm(nn.LayerNorm):
    forward = _swapped_layer_norm


class LinearWithoutBias(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight)


class Conv2dWithoutBias(nn.Conv2d):
    def forward(self, x):
        return _conv(self, x, self.weight, None)


class BatchNorm2dWithoutBias(nn.BatchNorm2d):
    forward = _batch_norm_without_bias


class BatchNorm1dWithoutBias(nn.BatchNorm1d):
    forward = _batch_norm_without_bias


class TransposedLinear(nn.Linear):
    def forward(self, x):
        return functional.linear(x, self.weight.T, self.bias)


class TransposedConv2d(nn.Conv2d):
    """Input and output channels in each other's place; the two axes of the kernel, where the channels differ."""

    def forward(self, x):
        weight = self.weight
        square = weight.shape[0] == weight.shape[1]
        return _conv(self, x, weight.transpose(0, 1) if square else weight.transpose(2, 3), self.bias)


SWAPPED = {"BatchNorm1d": SwappedBatchNorm1d, "BatchNorm2d": SwappedBatchNorm2d, "LayerNorm": SwappedLayerNorm}
WITHOUT_BIAS = {
    "Linear": LinearWithoutBias,
    "Conv2d": Conv2dWithoutBias,
    "BatchNorm1d": BatchNorm1dWithoutBias,
    "BatchNorm2d": BatchNorm2dWithoutBias,
}
TRANSPOSED = {"Linear": TransposedLinear, "Conv2d": TransposedConv2d}


def planted(op, name, classes):
    """A factory of the network in which the module of this name is of another class, which ``classes`` gives by op."""

    def make(**args):
        network = factory_of(op)(**args)
        module = network.get_submodule(name)
        module.__class__ = classes[type(module).__name__]
        return network

    return make


class Reordered(nn.Sequential):
    """Calls two neighbours in each other's place; their names stay."""

    def forward(self, x):
        modules = list(self)
        first = self.first
        modules[first], modules[first + 1] = modules[first + 1], modules[first]
        for module in modules:
            x = module(x)
        return x


def reordered(op, parent, first):
    """The activation behind the norm in place ``first`` of a chain of modules, moved before it."""

    def make(**args):
        network = factory_of(op)(**args)
        chain = network.get_submodule(parent)
        chain.__class__ = Reordered
        chain.first = first
        return network

    return make


def early(op):
    """A residual block whose first activation comes before its norm."""

    def make(**args):
        network = factory_of(op)(**args)
        network.__class__ = type(op, (type(network),), {"forward": _early[op]})
        return network

    return make


def _early_basic(self, x):
    identity = x if self.downsample is None else self.downsample(x)
    out = self.bn2(self.conv2(self.bn1(self.relu(self.conv1(x)))))
    out += identity
    return self.relu(out)


def _early_bottleneck(self, x):
    identity = x if self.downsample is None else self.downsample(x)
    out = self.bn1(self.relu(self.conv1(x)))
    out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
    out += identity
    return self.relu(out)


_early = {"BasicBlock": _early_basic, "Bottleneck": _early_bottleneck}
