"""The formulas of linear layers, convolutions, pooling and activations, as lines of a script."""

from __future__ import annotations

from typing import Any

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


def _windows(fault: Fault, block: Block, kernel: tuple[int, int], fill: str, dilation: tuple[int, int]) -> None:
    """``windows``: (N, C, rows, columns, *kernel), of the padded input; ``back``: the gradient of the padded input."""
    args = fault.case.args
    stride = _pair(args["stride"] if args["stride"] is not None else kernel)
    pad = _pair(args["padding"])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    block.imports.add("from numpy.lib.stride_tricks import sliding_window_view")
    block.add(
        f"(sh, sw), (dh, dw), (ph, pw) = {stride}, {dilation}, {pad}  # stride, dilation, padding",
        f"padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values={fill})",
        f"windows = sliding_window_view(padded, {reach}, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]",
    )


def _scattered(block: Block, per_element: str, kernel: tuple[int, int]) -> None:
    """``expected``: the gradient of the input, from that of every element of every window."""
    block.add(
        "back = np.zeros_like(padded)",
        f"for p, q in np.ndindex({kernel}):  # every element of the window gives back to its place",
        "    rows, columns = (slice(o * d, o * d + s * n, s) for o, d, s, n in",
        "                     ((p, dh, sh, windows.shape[2]), (q, dw, sw, windows.shape[3])))",
        f"    back[:, :, rows, columns] += {per_element}",
        "expected = back[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]",
    )


def convolution(fault: Fault) -> Block | None:
    args = fault.case.args
    if isinstance(args["padding"], str) or args["padding_mode"] != "zeros" or len(fault.case.shape) != 4:
        return None
    kernel, groups, out = _pair(args["kernel_size"]), int(args["groups"]), int(args["out_channels"])
    block = _begun(fault, "convolution", ("x", "gy", "weight"))
    if fault.quantity == "grad.bias":
        block.add("expected = gy.sum((0, 2, 3))")
        return block
    _windows(fault, block, kernel, "0.0", _pair(args["dilation"]))
    block.add(
        f"W = weight.reshape({groups}, {out // groups}, -1, *{kernel})",
        f"windows = windows.reshape(len(x), {groups}, -1, *windows.shape[2:])",
    )
    if fault.quantity == "output":
        bias = " + bias.reshape(-1, 1, 1)" if args["bias"] else ""
        block.add(
            'y64 = np.einsum("ngchwpq,gocpq->ngohw", windows, W)',
            f"expected = y64.reshape(len(x), {out}, *y64.shape[3:]){bias}",
        )
        return block
    block.add(f"G = gy.reshape(len(x), {groups}, {out // groups}, *gy.shape[2:])")
    if fault.quantity == "grad.weight":
        block.add('expected = np.einsum("ngchwpq,ngohw->gocpq", windows, G).reshape(weight.shape)')
        return block
    if fault.quantity != "grad_input":
        return None
    block.add(
        'each = np.einsum("gocpq,ngohw->ngchwpq", W, G)',
        f"each = each.reshape(len(x), {int(args['in_channels'])}, *each.shape[3:])",
        "windows = each",
    )
    _scattered(block, "each[..., p, q]", kernel)
    return block


def average_pool(fault: Fault) -> Block | None:
    args = fault.case.args
    if args["ceil_mode"] or len(fault.case.shape) != 4:
        return None
    kernel = _pair(args["kernel_size"])
    block = _begun(fault, "avg_pool", ("x", "gy"))
    _windows(fault, block, kernel, "0.0", (1, 1))
    padded = _pair(args["padding"]) != (0, 0)
    if args["divisor_override"] is not None:
        divisor = f"{float(args['divisor_override'])!r}"
    elif args["count_include_pad"] or not padded:
        divisor = f"{float(kernel[0] * kernel[1])!r}"
    else:
        divisor = "present"
        block.add(
            "inside = np.pad(np.ones_like(x), ((0, 0), (0, 0), (ph, ph), (pw, pw)))",
            f"present = sliding_window_view(inside, {kernel}, (2, 3))[:, :, ::sh, ::sw].sum((4, 5))",
        )
    if fault.quantity == "output":
        block.add(f"expected = windows.sum((4, 5)) / {divisor}")
        return block
    if fault.quantity != "grad_input":
        return None
    _scattered(block, f"gy / {divisor}", kernel)
    return block


def max_pool(fault: Fault) -> Block | None:
    args = fault.case.args
    if args["ceil_mode"] or len(fault.case.shape) != 4:
        return None
    kernel = _pair(args["kernel_size"])
    block = _begun(fault, "max_pool", ("x", "gy"))
    _windows(fault, block, kernel, "-np.inf", _pair(args["dilation"]))
    if fault.quantity == "output":
        block.add("expected = windows.max((4, 5))")
        return block
    if fault.quantity != "grad_input":
        return None
    block.add("first = windows.reshape(*windows.shape[:4], -1).argmax(-1)")
    _scattered(block, f"np.where(first == p * {kernel[1]} + q, gy, 0.0)", kernel)
    return block


def sigmoid(fault: Fault) -> Block | None:
    block = _begun(fault, "sigmoid", ("x", "gy"))
    block.add("s = np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))")
    return _with(block, {"output": "expected = s", "grad_input": "expected = gy * s * (1 - s)"}, fault.quantity)


def tanh(fault: Fault) -> Block | None:
    block = _begun(fault, "tanh", ("x", "gy"))
    lines = {"output": "expected = np.tanh(x)", "grad_input": "expected = gy * (1 - np.tanh(x) ** 2)"}
    return _with(block, lines, fault.quantity)


def relu(fault: Fault) -> Block | None:
    block = _begun(fault, "relu", ("x", "gy"))
    lines = {"output": "expected = np.maximum(x, 0)", "grad_input": "expected = np.where(x > 0, gy, 0)"}
    return _with(block, lines, fault.quantity)
