"""The formulas of linear layers, convolutions, pooling and activations, as lines of a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conformance.ops import OPS
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.sources import SOURCES


def _begun(fault: Fault, family: str, names: tuple[str, ...]) -> Block:
    """The source of the formula, and the arrays in extended precision where float64 is what is tested."""
    block = Block(lines=[f"# {SOURCES[family]}"])
    if fault.history:
        block.add(f"{'x, gy' if fault.wants_gradient else 'x'} = batches[-1]")
    if fault.case.dtype == "float64":
        used = [name for name in names if name != "gy" or fault.wants_gradient]
        wide = ", ".join(f"{name}.astype(np.longdouble)" for name in used)
        block.add(f"{', '.join(used)} = {wide}  # float64 is what is tested")
    return block


def linear(fault: Fault) -> Block | None:
    case = fault.case
    bias = " + bias" if case.args["bias"] else ""
    block = _begun(fault, "linear", ("x", "gy", "weight"))
    sizes = f"{case.args['in_features']}", f"{case.args['out_features']}"
    lines = {
        "output": f"expected = x @ weight.T{bias}",
        "grad_input": "expected = gy @ weight",
        "grad.weight": f"expected = gy.reshape(-1, {sizes[1]}).T @ x.reshape(-1, {sizes[0]})",
        "grad.bias": f"expected = gy.reshape(-1, {sizes[1]}).sum(0)",
    }
    return _with(block, lines, fault.quantity)


def _with(block: Block, lines: dict[str, str], quantity: str) -> Block | None:
    if quantity not in lines:
        return None
    block.add(*lines[quantity].splitlines())
    return block


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))


#: padding_mode of Conv2d -> mode of numpy.pad
_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows over an image, as lines of a script.

    ``padded``: the input with what windows read beyond it.  ``windows``: (N, C, rows, columns, *kernel).
    sides: what is added before and after each of the two axes; ``over`` of it, behind, is no padding, but where the
    last windows hang over (``ceil_mode``).
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    sides: tuple[tuple[int, int], tuple[int, int]]
    over: tuple[int, int]
    mode: str  # of numpy.pad, or the constant that is read

    def lines(self) -> list[str]:
        reach = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        return [
            f"(sh, sw), (dh, dw) = {self.stride}, {self.dilation}  # stride, dilation",
            f"padded = np.pad(x, ((0, 0), (0, 0), {self.sides[0]}, {self.sides[1]}), {self.mode})",
            f"windows = sliding_window_view(padded, {reach}, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]",
        ]

    def scattered(self, per_element: str) -> list[str]:
        """``expected``: the gradient of the input, from that of every element of every window."""
        (top, _), (left, _) = self.sides
        lines = [
            "back = np.zeros_like(padded)",
            f"for p, q in np.ndindex({self.kernel}):  # every element of the window gives back to its place",
            "    rows, columns = (slice(o * d, o * d + s * n, s) for o, d, s, n in",
            "                     ((p, dh, sh, windows.shape[2]), (q, dw, sw, windows.shape[3])))",
            f"    back[:, :, rows, columns] += {per_element}",
        ]
        if "constant" in self.mode:
            return [*lines, f"expected = back[:, :, {top} : {top} + x.shape[2], {left} : {left} + x.shape[3]]"]
        pads = " and ".join(map(str, self.sides))
        return [
            *lines,
            f"# what {pads} of padding read goes back to where it was read",
            f"rows, columns = (np.pad(np.arange(n), each, {self.mode}) for n, each in zip(x.shape[2:], {self.sides}))",
            "expected = np.zeros_like(x)",
            "np.add.at(expected, (slice(None), slice(None), rows[:, None], columns), back)",
        ]


def _windows(fault: Fault, fill: str) -> _Windows:
    args, shape = fault.case.args, fault.case.shape
    kernel, dilation = _pair(args["kernel_size"]), _pair(args.get("dilation", 1))
    stride = _pair(args["stride"] if args["stride"] is not None else kernel)
    counts = OPS[fault.case.op].output_shape(args, shape)[-2:]
    pads = [_before_and_after(args["padding"], axis, kernel, dilation) for axis in (0, 1)]
    over = []
    for axis in (0, 1):
        needed = (counts[axis] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        over.append(max(0, needed - shape[axis - 2] - sum(pads[axis])))
    mode = _MODES.get(str(args.get("padding_mode")))
    sides = tuple((before, after + more) for (before, after), more in zip(pads, over, strict=True))
    return _Windows(
        kernel, stride, dilation, (sides[0], sides[1]), (over[0], over[1]),
        f"mode={mode!r}" if mode else f"constant_values={fill}",
    )  # fmt: skip


def _before_and_after(padding: Any, axis: int, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "same":
        total = dilation[axis] * (kernel[axis] - 1)
        return total // 2, total - total // 2
    return (0, 0) if padding == "valid" else (_pair(padding)[axis],) * 2


def _one_image(fault: Fault, block: Block, lines: list[str]) -> Block:
    """The lines, for an input that may lack the axis of the batch."""
    block.imports.add("from numpy.lib.stride_tricks import sliding_window_view")
    if len(fault.case.shape) == 4:
        block.add(*lines)
        return block
    block.add(*(f"{name} = {name}[None]" for name in ("x", "gy")[: 1 + fault.wants_gradient]), *lines)
    if not fault.quantity.startswith("grad."):
        block.add("expected = expected[0]")
    return block


def convolution(fault: Fault) -> Block | None:
    args = fault.case.args
    groups, out = int(args["groups"]), int(args["out_channels"])
    block = _begun(fault, "convolution", ("x", "gy", "weight"))
    if fault.quantity == "grad.bias":
        block.add(f"expected = gy.sum({(0, 2, 3) if len(fault.case.shape) == 4 else (1, 2)})")
        return block
    over = _windows(fault, "0.0")
    lines = [
        *over.lines(),
        f"W = weight.reshape({groups}, {out // groups}, -1, *{over.kernel})",
        f"windows = windows.reshape(len(x), {groups}, -1, *windows.shape[2:])",
    ]
    upstream = f"G = gy.reshape(len(x), {groups}, {out // groups}, *gy.shape[2:])"
    if fault.quantity == "output":
        bias = " + bias.reshape(-1, 1, 1)" if args["bias"] else ""
        lines += [
            'y64 = np.einsum("ngchwpq,gocpq->ngohw", windows, W)',
            f"expected = y64.reshape(len(x), {out}, *y64.shape[3:]){bias}",
        ]
    elif fault.quantity == "grad.weight":
        lines += [
            upstream,
            'expected = np.einsum("ngchwpq,ngohw->gocpq", windows, G).reshape(weight.shape)',
        ]
    elif fault.quantity == "grad_input":
        lines += [
            upstream,
            'windows = np.einsum("gocpq,ngohw->ngchwpq", W, G)',
            f"windows = windows.reshape(len(x), {int(args['in_channels'])}, *windows.shape[3:])",
            *over.scattered("windows[..., p, q]"),
        ]
    else:
        return None
    return _one_image(fault, block, lines)


def average_pool(fault: Fault) -> Block | None:
    args = fault.case.args
    block = _begun(fault, "avg_pool", ("x", "gy"))
    over = _windows(fault, "0.0")
    lines = over.lines()
    padded = _pair(args["padding"]) != (0, 0)
    counts_padding = bool(args["count_include_pad"]) or not padded
    if args["divisor_override"] is not None:
        divisor = f"{float(args['divisor_override'])!r}"
    elif counts_padding and over.over == (0, 0):
        divisor = f"{float(over.kernel[0] * over.kernel[1])!r}"
    else:
        divisor = "present"
        ones = "np.ones_like(x)"
        sides = over.sides
        if counts_padding:
            p, q = _pair(args["padding"])
            ones = f"np.ones((1, 1, x.shape[2] + {2 * p}, x.shape[3] + {2 * q}))"
            sides = ((0, over.over[0]), (0, over.over[1]))
        lines += [
            f"inside = np.pad({ones}, ((0, 0), (0, 0), {sides[0]}, {sides[1]}))",
            f"present = sliding_window_view(inside, {over.kernel}, (2, 3))[:, :, ::sh, ::sw].sum((4, 5))",
        ]
    if fault.quantity == "output":
        return _one_image(fault, block, [*lines, f"expected = windows.sum((4, 5)) / {divisor}"])
    if fault.quantity != "grad_input":
        return None
    return _one_image(fault, block, [*lines, *over.scattered(f"gy / {divisor}")])


def max_pool(fault: Fault) -> Block | None:
    block = _begun(fault, "max_pool", ("x", "gy"))
    over = _windows(fault, "-np.inf")
    if fault.quantity == "output":
        return _one_image(fault, block, [*over.lines(), "expected = windows.max((4, 5))"])
    if fault.quantity != "grad_input":
        return None
    first = "first = windows.reshape(*windows.shape[:4], -1).argmax(-1)"
    back = over.scattered(f"np.where(first == p * {over.kernel[1]} + q, gy, 0.0)")
    return _one_image(fault, block, [*over.lines(), first, *back])


def sigmoid(fault: Fault) -> Block | None:
    block = _begun(fault, "sigmoid", ("x", "gy"))
    block.add("s = np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))")
    return _with(block, {"output": "expected = s", "grad_input": "expected = gy * s * (1 - s)"}, fault.quantity)


def tanh(fault: Fault) -> Block | None:
    block = _begun(fault, "tanh", ("x", "gy"))
    lines = {"output": "expected = np.tanh(x)", "grad_input": "expected = gy * (1 - np.tanh(x) ** 2)"}
    return _with(block, lines, fault.quantity)


def flatten(fault: Fault) -> Block | None:
    block = _begun(fault, "flatten", ("x", "gy"))
    after = OPS[fault.case.op].output_shape(fault.case.args, fault.case.shape)
    lines = {"output": f"expected = x.reshape({after})", "grad_input": f"expected = gy.reshape({fault.case.shape})"}
    return _with(block, lines, fault.quantity)


def relu(fault: Fault) -> Block | None:
    block = _begun(fault, "relu", ("x", "gy"))
    lines = {"output": "expected = np.maximum(x, 0)", "grad_input": "expected = np.where(x > 0, gy, 0)"}
    return _with(block, lines, fault.quantity)
