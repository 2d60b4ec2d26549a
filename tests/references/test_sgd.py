"""The NumPy SGD against torch.optim.SGD: its values in float64, and that its error scales hold and are not idle."""

from __future__ import annotations

from itertools import product

import ml_dtypes
import numpy as np
import pytest
import torch

from references.expected import Quantity
from references.rounding import FORMATS, STORAGE, precision
from references.sgd import SGD

GRID = [
    {"lr": 0.1, "momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov}
    for momentum, dampening, decay, nesterov in product((0.0, 0.9), (0.0, 0.4), (0.0, 0.05), (False, True))
    if (momentum or not dampening) and (not nesterov or (momentum and not dampening))
]
DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def exact(value: np.ndarray, stored: str = "float64") -> Quantity:
    return Quantity(value, np.zeros(value.shape), stored)


def as_array(tensor: torch.Tensor) -> np.ndarray:
    detached = tensor.detach().clone()
    if detached.dtype == torch.bfloat16:
        return detached.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return detached.numpy()


@pytest.mark.parametrize("arguments", GRID, ids=str)
def test_three_updates_are_those_of_torch(arguments):
    draws = np.random.default_rng(7).normal(size=(4, 5, 3))
    param = torch.nn.Parameter(torch.tensor(draws[0]))
    optimizer = torch.optim.SGD([param], **arguments)
    reference, value, buffer = SGD(**arguments, param_dtype="float64"), draws[0], None
    for gradient in draws[1:]:
        param.grad = torch.tensor(gradient)
        optimizer.step()
        value, moved = reference.update(value, exact(gradient), buffer)
        value, buffer = value.value, None if moved is None else moved.value
        np.testing.assert_allclose(value.astype(float), param.detach().numpy(), rtol=0, atol=1e-15)
        kept = optimizer.state[param].get("momentum_buffer")
        assert (buffer is None) == (kept is None) == (not arguments["momentum"])
        if kept is not None:
            np.testing.assert_allclose(buffer.astype(float), kept.numpy(), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("dtype", "way"),
    [
        *((dtype, {"foreach": False}) for dtype in DTYPES),
        *((dtype, way) for dtype in ("float64", "float32") for way in ({"foreach": True}, {"fused": True})),
    ],
    ids=str,
)  # what the other two do to half precision stands in cases/procedures.yaml
def test_every_implementation_of_torch_is_within_the_scale(dtype, way):
    worst = 0.0
    for number, arguments in enumerate(GRID):
        draws = np.random.default_rng(number).normal(size=(4, 400)) * [[1.0], [3.0], [0.1], [20.0]]
        param = torch.nn.Parameter(torch.tensor(draws[0]).to(DTYPES[dtype]))
        optimizer = torch.optim.SGD([param], **arguments, **way)
        reference = SGD(**arguments, param_dtype=dtype)
        for gradient in draws[1:]:
            before = as_array(param)
            kept = optimizer.state[param].get("momentum_buffer")
            buffer = None if kept is None else as_array(kept)
            param.grad = torch.tensor(gradient).to(DTYPES[dtype])
            expected = reference.update(before, exact(as_array(param.grad).astype(np.float64), dtype), buffer)
            optimizer.step()
            worst = max(worst, ratio(expected.param, as_array(param)))
            if expected.buffer is not None:
                worst = max(worst, ratio(expected.buffer, as_array(optimizer.state[param]["momentum_buffer"])))
    assert 0.02 < worst <= 1


def ratio(expected: Quantity, got: np.ndarray) -> float:
    """The largest error / allowance."""
    stored = FORMATS[expected.stored]
    assert got.dtype == STORAGE[expected.stored]
    allowed = expected.scale + stored.u * np.abs(expected.value) + stored.eta
    return float((np.abs(got.astype(expected.value.dtype) - expected.value) / allowed).max())


def test_the_first_gradient_enters_the_buffer_undampened_and_the_second_does_not():
    sgd = SGD(lr=1.0, momentum=0.5, dampening=0.25, weight_decay=0.0, nesterov=False, param_dtype="float64")
    first = sgd.update(np.array([0.0]), exact(np.array([8.0])), None)
    second = sgd.update(first.param.value, exact(np.array([8.0])), first.buffer.value)
    assert first.buffer.value == [8.0]
    assert second.buffer.value == [0.5 * 8 + 0.75 * 8]
    assert second.param.value == [-8.0 - 10.0]


def test_a_learning_rate_inside_the_buffer_gives_the_same_parameters_and_other_buffers():
    lr, mu = 0.1, 0.9
    sgd = SGD(lr=lr, momentum=mu, dampening=0.0, weight_decay=0.0, nesterov=False, param_dtype="float64")
    ours, buffer, theirs, velocity = np.array([1.0]), None, 1.0, 0.0
    for gradient in (0.3, -0.2, 0.7):
        updated = sgd.update(ours, exact(np.array([gradient])), buffer)
        ours, buffer = updated.param.value, updated.buffer.value
        velocity = mu * velocity - lr * gradient
        theirs += velocity
        assert float(ours[0]) == pytest.approx(theirs, rel=1e-15)
        assert float(buffer[0]) == pytest.approx(-velocity / lr, rel=1e-14)


def test_the_error_of_the_gradient_is_carried_to_the_parameter_and_an_unknown_one_leaves_it_unknown():
    sgd = SGD(lr=0.5, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False, param_dtype="float32")
    scale = np.array([0.0, 1e-3, np.inf])
    updated = sgd.update(np.ones(3, np.float32), Quantity(np.ones(3), scale, "float32"), None)
    assert updated.param.scale[0] < 1e-6
    assert updated.param.scale[1] == pytest.approx(0.5e-3, rel=1e-3)
    assert np.isinf(updated.param.scale[2])
    assert np.isinf(updated.buffer.scale[2])


def scales_of_update(param, g, dg, buffer, sgd, p):
    """d(parameter) and d(buffer) of one element once more: U of every value, and its storage on the way."""
    U, t = p.U, p.t

    def stored(value):
        return p.stored.u * abs(value) + p.stored.eta

    dg = dg + stored(g)
    decayed = g + sgd.weight_decay * param
    if sgd.weight_decay:
        dg += U * (2 * abs(sgd.weight_decay * param) + abs(decayed)) + stored(decayed) + t
    direction, dd, moved, dmoved = decayed, dg, None, None
    if sgd.momentum:
        moved, dmoved = decayed, dg
        if buffer is not None:
            kept, entered = sgd.momentum * buffer, (1 - sgd.dampening) * decayed
            moved = kept + entered
            dmoved = abs(1 - sgd.dampening) * dg + stored(kept) + t
            dmoved += U * (2 * abs(kept) + 2 * abs(entered) + abs(moved))
        direction, dd = moved, dmoved + stored(moved)
        if sgd.nesterov:
            direction = decayed + sgd.momentum * moved
            dd = dg + sgd.momentum * dd + U * (2 * sgd.momentum * abs(moved) + abs(direction)) + t + stored(direction)
    new = param - sgd.lr * direction
    return sgd.lr * dd + U * (2 * sgd.lr * abs(direction) + abs(new)) + t, dmoved


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(("dtype", "label"), [("float32", "A"), ("float16", "A"), ("bfloat16", "B")])
@pytest.mark.parametrize("arguments", GRID, ids=str)
def test_the_scales_are_those_of_the_roundings_of_an_update(arguments, dtype, label, begun):
    chance = np.random.default_rng(11)
    param, g, buffer = (chance.normal(size=9).astype(STORAGE[dtype]) for _ in range(3))
    gradient = Quantity(g.astype(np.float64), np.abs(chance.normal(size=9)) * 1e-3, dtype)
    sgd = SGD(**arguments, param_dtype=dtype, label=label)
    found = sgd.update(param, gradient, buffer if begun else None)
    for i in range(9):
        numbers = float(param[i]), float(g[i]), float(gradient.scale[i]), float(buffer[i]) if begun else None
        d, dmoved = scales_of_update(*numbers, sgd, precision(dtype, label))
        assert float(found.param.scale[i]) == pytest.approx(d, rel=1e-9)
        assert (found.buffer is None) == (dmoved is None)
        if found.buffer is not None:
            assert float(found.buffer.scale[i]) == pytest.approx(dmoved, rel=1e-9)
