"""Layers as people write them: right ones of every kind, and wrong ones; worker processes import them by name."""

# ruff: noqa: FBT002 - torch's signatures have booleans by position

from __future__ import annotations

import ctypes
import time

import numpy as np
import torch
from torch import nn

# ---- LayerNorm, right, in every kind ---------------------------------------------------------------------------------


def axes_of(normalized_shape):
    return tuple(range(-len(normalized_shape), 0))


def unit(x, normalized_shape, eps):
    """The normalised input, in float64."""
    wide = x.double()
    axes = axes_of(normalized_shape)
    centred = wide - wide.mean(axes, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(axes, keepdim=True) + eps)


def layer_norm(x, params, buffers, *, training, normalized_shape, eps, **args):
    """A function with torch's dictionaries."""
    y = unit(x, normalized_shape, eps)
    if "weight" in params:
        y = y * params["weight"].double()
    if "bias" in params:
        y = y + params["bias"].double()
    return y.to(x.dtype)


def layer_norm_by_names(x, gamma=None, beta=None, normalized_shape=None, eps=1e-5):
    """A function that takes each tensor under a name in common use."""
    params = {name: value for name, value in (("weight", gamma), ("bias", beta)) if value is not None}
    return layer_norm(x, params, {}, training=True, normalized_shape=normalized_shape, eps=eps)


def numpy_layer_norm(x, params, buffers, *, training, normalized_shape, eps, **args):
    """On arrays, without a gradient."""
    xh, _ = _normalised(x, normalized_shape, eps)
    return (xh * params.get("weight", 1.0) + params.get("bias", 0.0)).astype(x.dtype)


def numpy_layer_norm_gradient(grad_output, x, params, buffers, *, training, normalized_shape, eps, **args):
    """The gradient of numpy_layer_norm."""
    axes = axes_of(normalized_shape)
    xh, s = _normalised(x, normalized_shape, eps)
    gy = grad_output.astype(np.float64)
    g = gy * params.get("weight", 1.0)
    gx = s * (g - g.mean(axes, keepdims=True) - xh * (g * xh).mean(axes, keepdims=True))
    outer = tuple(range(x.ndim - len(axes)))
    own = {"weight": (gy * xh).sum(outer), "bias": gy.sum(outer)}
    return gx.astype(x.dtype), {name: own[name].astype(params[name].dtype) for name in params}


def _normalised(x, normalized_shape, eps):
    axes = axes_of(normalized_shape)
    wide = x.astype(np.float64)
    s = 1 / np.sqrt(wide.var(axes, keepdims=True) + eps)
    return (wide - wide.mean(axes, keepdims=True)) * s, s


class NumpyLayerNorm:
    """An object on arrays with a backward of its own, as in courses: gamma, beta, dgamma, dbeta."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape, self.eps = normalized_shape, eps
        if elementwise_affine:
            self.gamma = np.ones(normalized_shape, np.float32)
            self.beta = np.zeros(normalized_shape, np.float32) if bias else None

    def forward(self, x):
        params = {
            name: value
            for name, value in (("weight", getattr(self, "gamma", None)), ("bias", getattr(self, "beta", None)))
            if value is not None
        }
        self.cache = x.copy(), params
        args = {"normalized_shape": self.normalized_shape, "eps": self.eps}
        return numpy_layer_norm(x, params, {}, training=True, **args)

    def backward(self, grad_output):
        x, params = self.cache
        args = {"normalized_shape": self.normalized_shape, "eps": self.eps}
        gx, grads = numpy_layer_norm_gradient(grad_output, x, params, {}, training=True, **args)
        self.dgamma, self.dbeta = grads.get("weight"), grads.get("bias")
        return gx


class AutogradLayerNorm(torch.autograd.Function):
    """With a hand-written backward; the last axis alone."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        wide = x.double()
        centred = wide - wide.mean(-1, keepdim=True)
        s = 1 / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps)
        xh = centred * s
        ctx.save_for_backward(xh, s, weight, bias)
        y = xh if weight is None else xh * weight.double()
        return (y if bias is None else y + bias.double()).to(x.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        xh, s, weight, bias = ctx.saved_tensors
        gy = grad_output.double()
        g = gy if weight is None else gy * weight.double()
        gx = s * (g - g.mean(-1, keepdim=True) - xh * (g * xh).mean(-1, keepdim=True))
        size = gy.shape[-1]
        gw = None if weight is None else (gy * xh).reshape(-1, size).sum(0).to(weight.dtype)
        gb = None if bias is None else gy.reshape(-1, size).sum(0).to(bias.dtype)
        return gx.to(grad_output.dtype), gw, gb, None


class TensorLayerNorm:
    """An object on tensors without a backward: autograd does it."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape, self.eps = normalized_shape, eps
        self.params = {}
        if elementwise_affine:
            self.params["scale"] = torch.ones(normalized_shape)
            if bias:
                self.params["shift"] = torch.zeros(normalized_shape)

    def forward(self, x):
        params = {"weight": self.params.get("scale"), "bias": self.params.get("shift")}
        params = {name: value for name, value in params.items() if value is not None}
        return layer_norm(x, params, {}, training=True, normalized_shape=self.normalized_shape, eps=self.eps)


# ---- BatchNorm2d, right ----------------------------------------------------------------------------------------------


def batch_norm(x, params, buffers, *, training, eps, momentum, **args):
    """A function that returns the output and the new buffers."""
    wide = x.double()
    axes = (0, 2, 3)
    new = {}
    if training or not buffers:
        mean, var = wide.mean(axes), wide.var(axes, unbiased=False)
        if buffers:
            count = buffers["num_batches_tracked"] + 1
            share = momentum if momentum is not None else 1 / float(count)
            n = wide.numel() / wide.shape[1]
            moved = {"running_mean": mean, "running_var": var * n / max(n - 1, 1)}
            new = {
                name: ((1 - share) * buffers[name].double() + share * value).detach().to(buffers[name].dtype)
                for name, value in moved.items()
            }
            new = new if wide.numel() else {}  # torch counts an empty batch, and learns nothing of it
            new["num_batches_tracked"] = count
    else:
        mean, var = buffers["running_mean"].double(), buffers["running_var"].double()
    y = (wide - mean.view(1, -1, 1, 1)) / torch.sqrt(var.view(1, -1, 1, 1) + eps)
    if "weight" in params:
        y = y * params["weight"].double().view(1, -1, 1, 1)
    if "bias" in params:
        y = y + params["bias"].double().view(1, -1, 1, 1)
    return y.to(x.dtype), new


class Renamed(nn.Module):
    """gamma and beta of shape (1, C, 1, 1), a buffer moving_mean, and a plain attribute moving_var."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, bias=True):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        shape = (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape)) if affine else None
        self.beta = nn.Parameter(torch.zeros(shape)) if affine and bias else None
        self.count = 0
        if track_running_stats:
            self.register_buffer("moving_mean", torch.zeros(shape))
            self.moving_var = torch.ones(shape)

    def forward(self, x):
        params = {"weight": self.gamma, "bias": self.beta}
        params = {name: value.reshape(-1) for name, value in params.items() if value is not None}
        buffers = {}
        if hasattr(self, "moving_mean"):
            buffers = {"running_mean": self.moving_mean.reshape(-1), "running_var": self.moving_var.reshape(-1)}
            buffers["num_batches_tracked"] = torch.tensor(self.count)
        y, new = batch_norm(x, params, buffers, training=self.training, eps=self.eps, momentum=self.momentum)
        if new:
            self.count = int(new["num_batches_tracked"])
        if "running_mean" in new:
            self.moving_mean.copy_(new["running_mean"].view_as(self.moving_mean))
            self.moving_var = new["running_var"].view_as(self.moving_var)
        return y


def factory(num_features, **args):
    return Renamed(num_features, **args)


class Uncounted(Renamed):
    """Right but for a count of batches, which it does not keep."""

    def __init__(self, num_features, momentum=0.1, **args):
        if momentum is None:
            raise NotImplementedError("there is no cumulative average here")
        super().__init__(num_features, momentum=momentum, **args)
        del self.count

    def forward(self, x):
        self.__dict__["count"] = 0
        try:
            return super().forward(x)
        finally:
            del self.__dict__["count"]


# ---- wrong ones ------------------------------------------------------------------------------------------------------


class TailDropped(nn.Module):
    """LayerNorm whose gradient of the weight leaves out what is behind the last whole block of four rows."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        self.normalized_shape, self.eps = tuple(normalized_shape), eps
        self.weight = nn.Parameter(torch.ones(normalized_shape)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(normalized_shape)) if elementwise_affine and bias else None

    def forward(self, x):
        rows = x.reshape(-1, *self.normalized_shape)
        whole = len(rows) // 4 * 4
        xh = unit(rows, self.normalized_shape, self.eps)
        if self.weight is not None:
            kept, dropped = xh[:whole] * self.weight.double(), xh[whole:] * self.weight.detach().double()
            xh = torch.cat([kept, dropped])
        if self.bias is not None:
            xh = xh + self.bias.double()
        return xh.reshape(x.shape).to(x.dtype)


class CrashesAndHangs(TailDropped):
    """Reads address 0 where the batch is empty, and never ends on float64."""

    def forward(self, x):
        if x.numel() == 0:
            ctypes.string_at(0)
        if x.dtype == torch.float64:
            time.sleep(1000)
        return layer_norm_module(self, x)


class EpsOutside(TailDropped):
    """1 / (sqrt(v) + eps)."""

    def forward(self, x):
        wide = x.double()
        axes = axes_of(self.normalized_shape)
        y = (wide - wide.mean(axes, keepdim=True)) / (wide.var(axes, unbiased=False, keepdim=True).sqrt() + self.eps)
        return (y * self.weight.double() + self.bias.double()).to(x.dtype)


class Unrefusing(TailDropped):
    """Takes any shape."""

    def forward(self, x):
        return x * 1


class Plain(TailDropped):
    """Refuses whole numbers in the way that a missing kernel of torch does."""

    def forward(self, x):
        if not x.is_floating_point():
            raise NotImplementedError("\"norm\" not implemented for 'Long'")
        return layer_norm_module(self, x)


def layer_norm_module(module, x):
    params = {name: value for name, value in module.named_parameters() if value is not None}
    return layer_norm(x, params, {}, training=True, normalized_shape=module.normalized_shape, eps=module.eps)


class OtherSignature(nn.Module):
    def __init__(self, num_channels, decay=0.9):
        super().__init__()


class Unclear(nn.Module):
    """Two parameters of one shape that start alike."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        self.normalized_shape, self.eps = tuple(normalized_shape), eps
        if elementwise_affine:
            self.p = nn.Parameter(torch.rand(normalized_shape))
            if bias:
                self.q = nn.Parameter(torch.rand(normalized_shape))

    def forward(self, x):
        params = {"weight": getattr(self, "p", None), "bias": getattr(self, "q", None)}
        params = {name: value for name, value in params.items() if value is not None}
        return layer_norm(x, params, {}, training=True, normalized_shape=self.normalized_shape, eps=self.eps)


class Bare(nn.Module):
    """Without parameters, and without the argument that says so."""

    def __init__(self, normalized_shape, eps=1e-5):
        super().__init__()
        self.normalized_shape, self.eps = tuple(normalized_shape), eps

    def forward(self, x):
        return unit(x, self.normalized_shape, self.eps).to(x.dtype)


class Leaving(nn.LayerNorm):
    """Ends its process, as a script does."""

    def forward(self, x):
        raise SystemExit(3)


class NeverMade(nn.Module):
    def __init__(self, **args):
        super().__init__()
        raise ValueError("not today")


class Stub(TailDropped):
    def forward(self, x):
        raise NotImplementedError


# ---- with a backward of their own, on tensors ------------------------------------------------------------------------


def tensor_gradient(grad_output, x, params, buffers, *, training, normalized_shape, eps, **args):
    """The gradient of layer_norm, as a function beside it, with the shapes of broadcasting."""
    arrays = [tensor.detach().double().numpy() for tensor in (grad_output, x)]
    given = {name: value.detach().double().numpy() for name, value in params.items()}
    gx, own = numpy_layer_norm_gradient(
        *arrays, given, {}, training=training, normalized_shape=normalized_shape, eps=eps
    )
    grads = {name: torch.from_numpy(np.asarray(value)).to(params[name].dtype)[None] for name, value in own.items()}
    return torch.from_numpy(gx).to(grad_output.dtype), grads


class OwnTensorLayerNorm(TensorLayerNorm):
    """An object on tensors with a backward of its own, which hands all gradients back in a dictionary."""

    def forward(self, x):
        self.x = x.clone()
        return super().forward(x)

    def backward(self, grad_output):
        params = {"weight": self.params.get("scale"), "bias": self.params.get("shift")}
        params = {name: value for name, value in params.items() if value is not None}
        args = {"normalized_shape": self.normalized_shape, "eps": self.eps}
        gx, grads = tensor_gradient(grad_output, self.x, params, {}, training=True, **args)
        return {"dx": gx} | {f"d{'scale' if name == 'weight' else 'shift'}": value for name, value in grads.items()}
