"""A random configuration: everything about it follows from the seed and the index."""

from __future__ import annotations

from math import prod
from random import Random
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from conformance.inputs import Inputs, StepInputs, make_inputs
from conformance.inputs.make import stored
from conformance.ops import OPS
from conformance.ops.normalisation import NORMALISATION
from conformance.suite.case import BuffersKind, Case, Dtype, Mode, Origin, ParamsKind
from conformance.suite.data_families import DATA

Array = NDArray[Any]

#: data that is not drawn: not finite, or made for layers that do not normalise
_NOT_DRAWN = ("f10-nan", "f10-inf", "whole", "nonzero", "special")
#: data on which every quantity of a normalisation has a finite value
FAMILIES: tuple[str, ...] = tuple(name for name in DATA if name not in _NOT_DRAWN)
EPSILONS = (0.0, 1e-12, 1e-8, 1e-5, 1e-5, 1e-3, 1.0)
MOMENTA = (0.0, 0.1, 0.1, 0.3, 0.9, 1.0, None)
LONGEST = 8192  # values per slice
ELEMENTS = 16384  # values per configuration
_REACH = {"float64": 400, "float32": 80, "bfloat16": 80, "float16": 10}  # the largest power of two
_DTYPES: tuple[Dtype, ...] = ("float64", "float32", "float32", "bfloat16", "float16")


def draw_case(seed: int, index: int) -> Case:
    """Configuration ``index`` of the campaign ``seed``."""
    random = Random(f"{seed}/{index}")  # noqa: S311 - reproducible on purpose
    op = random.choice([op.name for op in NORMALISATION])
    n = _log_uniform(random, 1, LONGEST)
    slices = _log_uniform(random, 1, max(1, min(2048, ELEMENTS // n)))
    args, shape = _geometry(random, op, n, slices)
    dtype = random.choice(_DTYPES)
    narrow = dtype in ("bfloat16", "float16")
    return Case(
        id=f"calibrate::{seed}[{index}]",
        key=f"calibrate/{seed}/{index}",
        op=op,
        args=OPS[op].complete(OPS[op].defaults() | args, shape),
        shape=shape,
        dtype=dtype,
        param_dtype="float32" if narrow and random.random() < 0.4 else dtype,
        data=random.choice(FAMILIES),
        params=random.choice(("random", "random", *get_args(ParamsKind))),
        buffers=random.choice(("random", *get_args(BuffersKind))),
        steps=_steps(random, op, args, prod(shape)),
        robustness=True,
        origin=Origin("calibrate", 1, 1),
    )


def draw_inputs(case: Case, seed: int, index: int) -> Inputs:
    """The inputs of a configuration, in one of four at scales far from 1."""
    inputs = make_inputs(case)
    powers = draw_powers(case, seed, index)
    if powers == (0, 0):
        return inputs
    steps = (StepInputs(_times(step.x, powers[0]), _times(step.grad_output, powers[1])) for step in inputs.steps)
    return Inputs(inputs.params, inputs.buffers, tuple(steps))


def draw_powers(case: Case, seed: int, index: int) -> tuple[int, int]:
    """The powers of two that input and upstream gradient are multiplied with."""
    random = Random(f"{seed}/{index}/scale")  # noqa: S311 - reproducible on purpose
    if random.random() < 0.75:
        return 0, 0
    reach = _REACH[case.dtype]
    return random.randint(-reach, reach), random.choice((0, random.randint(-reach // 2, reach // 2)))


def _times(array: Array, power: int) -> Array:
    with np.errstate(all="ignore"):
        return stored(np.ldexp(array.astype(np.float64), power), array.dtype.name)


def _log_uniform(random: Random, low: int, high: int) -> int:
    return min(high, int(low * (high / low + 1) ** random.random()))


def _split(random: Random, size: int, parts: int) -> tuple[int, ...]:
    """Factors whose product is about ``size``, at least 1 each and often odd."""
    factors = []
    for left in range(parts, 1, -1):
        factors.append(max(1, min(size, round(size ** (random.random() * 1.6 / left)))))
        size = max(1, size // factors[-1])
    factors.append(size)
    random.shuffle(factors)
    return tuple(factors)


Drawn = tuple[dict[str, Any], tuple[int, ...]]  # arguments and shape


def _geometry(random: Random, op: str, n: int, slices: int) -> Drawn:
    """Arguments and shape with about n values per slice and this many slices."""
    eps = random.choice(EPSILONS)
    if random.random() < 0.5:
        eps = float(np.float32(eps))  # as ONNX stores it
    family = OPS[op].family
    if family == "local_response_norm":
        return _window(random, n, slices)
    affine = {"affine": random.random() < 0.8, "bias": random.random() < 0.8}
    if family in ("layer_norm", "rms_norm"):
        args, shape = _trailing(random, n, slices)
        args |= {"eps": eps, "elementwise_affine": affine["affine"]}
        if family == "rms_norm":
            return args | {"eps": None if random.random() < 0.2 else eps}, shape
        return args | {"bias": affine["bias"]}, shape
    if family == "group_norm":
        args, shape = _groups(random, n, slices)
    elif family == "instance_norm":
        args, shape = _instances(random, n, slices, int(op[-2]))
    else:
        args, shape = _batches(random, n, slices, int(op[-2]))
    return args | affine | {"eps": eps}, shape


def _trailing(random: Random, n: int, slices: int) -> Drawn:
    trailing = _split(random, n, random.choice((1, 1, 2)))
    return {"normalized_shape": list(trailing)}, _split(random, slices, random.choice((1, 2))) + trailing


def _groups(random: Random, n: int, slices: int) -> Drawn:
    per_group, *pixels = _split(random, n, random.choice((1, 2, 3)))
    samples, groups = _split(random, slices, 2)
    return {"num_groups": groups}, (samples, groups * per_group, *pixels)


def _instances(random: Random, n: int, slices: int, spatial: int) -> Drawn:
    args = {"momentum": random.choice(MOMENTA[:-1]), "track_running_stats": random.random() < 0.5}
    unbatched = random.random() < 0.1
    return args, (*((slices,) if unbatched else _split(random, slices, 2)), *_split(random, n, spatial))


def _batches(random: Random, n: int, slices: int, spatial: int) -> Drawn:
    args = {"momentum": random.choice(MOMENTA), "track_running_stats": random.random() < 0.8}
    flat = spatial == 1 and random.random() < 0.5  # BatchNorm1d also takes (N, C)
    samples, *pixels = _split(random, n, spatial + (0 if flat else 1))
    return args, (samples, slices, *pixels)


def _window(random: Random, channels: int, pixels: int) -> Drawn:
    channels = min(channels, 256)
    args = {
        "size": random.randint(1, min(channels + 2, 33)),
        "alpha": random.choice((1e-4, 1e-2, 0.5, 2.0)),
        "beta": random.choice((0.5, 0.7, 0.75, 1.0, 2.0)),
        "k": random.choice((0.5, 1.0, 2.0)),
    }
    samples, *spatial = _split(random, pixels, random.choice((2, 3, 4)))
    return args, (samples, channels, *spatial)


def _steps(random: Random, op: str, args: dict[str, Any], elements: int) -> tuple[Mode, ...]:
    """One step; with running buffers up to ten, so that their errors carry on and reach eval mode."""
    if not (OPS[op].family in ("batch_norm", "instance_norm") and args["track_running_stats"]):
        return ("train",) if random.random() < 0.9 else ("eval",)
    longest = 10 if elements <= ELEMENTS // 8 else 3
    count = random.choice((1, 1, 2, 2, random.randint(3, 10)))
    steps: list[Mode] = [random.choice(("train", "train", "eval")) for _ in range(min(count, longest))]
    return (*steps, "eval") if count > 2 else tuple(steps)
