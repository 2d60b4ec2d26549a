"""The part of a script that exports a whole step, forward, gradients and buffers after it, and runs the graph."""

from __future__ import annotations

from conformance.backends.seeds import draws, seed_of
from conformance.backends.step_phases import trainable
from conformance.ops import OPS
from conformance.repro import torch_code
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.runtime_code import SESSION, mixes_bfloat16, session_lines, value_functions

#: as in the backend: what the exporter has no function for, by what it has
_CONVOLUTION = """def apart(gy, x, w, bias_sizes, stride, padding, dilation, _, __, groups, ___):
    # aten::convolution_backward as convolutions: the exporter has no function for it
    conv, (rows, columns), reach = torch.ops.aten.convolution, w.shape[2:], zip(dilation, w.shape[2:])
    lost = [n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, o, s, p, (d, k) in zip(x.shape[2:], gy.shape[2:], stride, padding, reach)]
    gx = conv(gy, w, None, stride, padding, dilation, True, lost, groups)
    parts = [conv(a.transpose(0, 1), g.transpose(0, 1), None, dilation, padding, stride, False, [0, 0], 1)
             for a, g in zip(x.chunk(groups, 1), gy.chunk(groups, 1))]
    gw = torch.cat([part[:, :, :rows, :columns].transpose(0, 1) for part in parts])
    return gx, gw, None if bias_sizes is None else gy.sum((0, 2, 3))"""
_AVERAGE = """def apart(gy, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    # aten::avg_pool2d_backward as a convolution: the exporter has no function for it
    k, s, p = ([*each, *each] if len(each) == 1 else each for each in (kernel, stride or kernel, padding))
    lost = [n - ((o - 1) * b - 2 * c + a) for n, o, a, b, c in zip(x.shape[-2:], gy.shape[-2:], k, s, p)]
    ones, image = torch.ones(1, 1, *k, dtype=x.dtype), gy.reshape(-1, 1, *gy.shape[-2:])
    spread = torch.ops.aten.convolution(image, ones, None, s, p, [1, 1], True, lost, 1)
    return (spread / (divisor or k[0] * k[1])).reshape(x.shape)"""
#: the exporter writes them for inference, whatever the mode
_BATCH_NORM = """apart = "native_batch_norm native_batch_norm_backward _native_batch_norm_legit _batch_norm_with_update"
apart += " _native_batch_norm_legit_functional _batch_norm_with_update_functional cudnn_batch_norm"
apart = [getattr(torch.ops.aten, name) for name in apart.split() if hasattr(torch.ops.aten, name)]"""


def step_block(fault: Fault) -> Block:
    """``got``: a quantity of a whole exported step, forward, gradients and buffers after it."""
    half = mixes_bfloat16(fault)
    block = Block(imports={"import torch", "import onnxruntime"})
    block.imports |= {
        "from torch.func import functional_call, functionalize, vjp",
        "from torch.fx.experimental.proxy_tensor import make_fx",
    }
    if half:
        block.imports |= {"import ctypes", "import math", "import onnx"}
        block.add(*value_functions())
    block.add("params, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())")
    block += _step_function(fault)
    apart, table = _taken_apart(fault)
    block += apart
    export = fault.case.export
    opset = f", opset_version={export.opset}" if export.opset is not None else ""
    given = "value(t)" if half else "t.numpy()"
    run = "[tensor(v) for v in session.run_with_ort_values(None, feed)]"
    block.add(
        "def ran(*inputs):",
        f'    graph = make_fx(functionalize(step, remove="mutations"){table})(*inputs)',
        f"    model = torch.onnx.export(graph, inputs, dynamo=True, verbose=False{opset}).model_proto",
        *(f"    {line}" for line in session_lines(fault)),
        f"    session = {SESSION}",
        f"    feed = {{i.name: {given} for i, t in zip(session.get_inputs(), inputs)}}",
        f"    return {run if half else '[torch.from_numpy(a.copy()) for a in session.run(None, feed)]'}",
        "held = [t.detach() for t in (*params.values(), *buffers.values())]",
        *_steps(fault),
    )
    return block


def _step_function(fault: Fault) -> Block:
    """``step``: a function of tensors alone."""
    optimizer = fault.case.optimizer
    block = Block()
    what = (
        "forward, gradients, update, and what goes into the next step" if optimizer else "forward, gradients, buffers"
    )
    block.add(
        f"def step(x, gy, *state):  # {what}, as one function",
        "    def forward(x, params):",
        "        after = {name: t.clone() for name, t in zip(buffers, state[len(params) :])}",
        "        return functional_call(layer, params | after, (x,)), after",
        "    y, back, after = vjp(forward, x, dict(zip(params, state)), has_aux=True)",
        "    gx, grads = back(gy)",
    )
    if optimizer is None:
        block.add("    return (y, gx, *grads.values(), *after.values())")
        return block
    block.imports.add("from torch.optim.sgd import sgd")
    settings = ", ".join(f"{name}={value!r}" for name, value in optimizer.formula.items())
    block.add(
        "    new = {name: t.clone() for name, t in zip(params, state)}",
        f"    trained = {list(trainable(fault.case))!r}",
        "    momenta = [t.clone() for t in state[len(params) + len(buffers) :]] or [None] * len(trained)",
        "    if layer.training:",
        "        own, g = [new[name] for name in trained], [grads[name] for name in trained]",
        f"        sgd(own, g, momenta, foreach=False, maximize=False, {settings})",
        "    return (y, gx, *grads.values(), *new.values(), *after.values(), *(t for t in momenta if t is not None))",
    )
    return block


def _taken_apart(fault: Fault) -> tuple[Block, str]:
    """Lines that take operators apart before the export, and how the trace is told of them."""
    case = fault.case
    family = OPS[case.op].family
    if OPS[case.op].buffers(case.args) or family in ("batch_norm", "instance_norm"):
        return Block(_BATCH_NORM.splitlines()), ", torch._decomp.get_decompositions(apart) if layer.training else {}"
    if family == "convolution":
        return Block(_CONVOLUTION.splitlines()), ", {torch.ops.aten.convolution_backward.default: apart}"
    windowed = family == "local_response_norm" and len(case.shape) == 3  # torch sums over channels by an average pool
    if family == "avg_pool" or windowed:
        return Block(_AVERAGE.splitlines()), ", {torch.ops.aten.avg_pool2d_backward.default: apart}"
    return Block(), ""


def _steps(fault: Fault) -> list[str]:
    """The calls, one step after another, and the quantity that is off."""
    case = fault.case
    x = torch_code.tensor("x", fault)
    gy = torch_code.tensor("gy" if fault.wants_gradient else f"np.ones({_shape_of_gradient(fault)})", fault)
    op, optimizer = OPS[case.op], case.optimizer
    call = f"made = ran({x}, {gy}, *held)"
    if not fault.history:
        seed = [f"onnxruntime.set_seed({seed_of(case, fault.last)})"] if draws(case) else []
        lines = [torch_code.mode(fault), *seed, call]
        before = ["before = held"] if optimizer is not None else []
    else:
        one = "(x, gy)" if fault.wants_gradient else "x"
        modes = [*(True for _ in fault.history), fault.training]
        head = [f"for mode, {one} in zip({modes}, batches):", "    layer.train(mode)"]
        if all(modes):
            head = ["layer.train()", f"for {one.strip('()')} in batches:"]
        head[-1 if all(modes) else 0] += "  # what comes out of a step goes into the next"
        goes_on = "held[len(params) :] = made[2 + len(params) :]"
        before = []
        if optimizer is not None:
            goes_on = "before, held = held, list(made[2 + len(params) :])"
        lines = [*head, f"    {call}", f"    {goes_on}"]
    lines += [*before, *_before(fault)]
    names = ["output", "grad_input", *(f"grad.{name}" for name in op.parameters(case.args))]
    if optimizer is not None:
        names += [f"param.{name}" for name in op.parameters(case.args)]
    names += [f"buffer.{name}" for name in op.buffers(case.args)]
    if optimizer is not None:
        names += [f"momentum.{name}" for name in trainable(case)]
    quantity = fault.quantity if fault.figure and fault.kind == "value" else structural(fault)
    made = f"made[{names.index(quantity)}]"
    if fault.kind == "structure" or op.judged == "law":  # where what was kept is seen in the output itself
        return [*lines, f"y = {made}  # {quantity}", "got = y.double().numpy()"]
    return [*lines, f"got = {made}.double().numpy()  # {quantity}"]


def _before(fault: Fault) -> list[str]:
    """The parameters and momenta before the last step, from which its update is expected."""
    optimizer = fault.case.optimizer
    if optimizer is None:
        return []
    names = list(trainable(fault.case))
    momenta = f"momenta = dict(zip({names!r}, [t.double().numpy() for t in before[len(params) + len(buffers) :]]))"
    return [
        *([momenta] if optimizer.momentum else []),
        "before = {name: t.double().numpy() for name, t in zip(params, before)}",
    ]


def structural(fault: Fault) -> str:
    """The quantity whose structure is off."""
    return fault.quantity if fault.quantity not in ("dtype", "shape", "input_modified") else "output"


def _shape_of_gradient(fault: Fault) -> tuple[int, ...]:
    return OPS[fault.case.op].output_shape(fault.case.args, fault.case.shape)
