"""The part of a script that makes the layer in torch and, on torch's backends, runs it."""

from __future__ import annotations

from typing import Any

from conformance.backends.modules import factory_of
from conformance.backends.seeds import seed_of
from conformance.ops import OPS
from conformance.repro.block import Block, folded
from conformance.repro.fault import Fault
from conformance.repro.given import in_one, state_of
from conformance.repro.modules_code import construction, source_of
from conformance.repro.update import before_lines
from conformance.suite.case import Layout


def layer_block(fault: Fault) -> Block:
    """``layer``: the class of torch.nn with its arguments, its parameters and its buffers."""
    case = fault.case
    block = Block(imports={"import torch"})
    if fault.backend.name != "onnx-step":  # where torch computes nothing
        block.add("torch.set_num_threads(1)")
    device = _device(fault)
    if device:
        block.add(
            "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
            "torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False",
        )
    to = f".to(torch.{case.param_dtype})" if case.param_dtype not in ("float32", "int64") else ""
    to += ".cuda()" if device else ""
    make = factory_of(case.op)
    own = make.__module__.startswith("conformance")
    if own:
        block.imports.add("from torch import nn")
        block.add(*source_of(make))
    block.add(*folded(f"layer = {construction(case)}{to}"))
    state = state_of(fault)
    if state:
        strict = "" if _complete(fault, state) else ", strict=False"
        if not in_one(fault):
            block.add(f"state = dict({', '.join(f'{name}={name}' for name in state)})")
        block.add(f"layer.load_state_dict({{name: torch.as_tensor(value) for name, value in state.items()}}{strict})")
    if fault.whole:
        block.imports.add("import copy")
        block.add("twin = copy.deepcopy(layer).double()")
    return block


def _complete(fault: Fault, state: dict[str, Any]) -> bool:
    return set(state) == {*fault.inputs.params, *fault.inputs.buffers}


def _device(fault: Fault) -> str:
    return ', device="cuda"' if fault.backend.name == "torch-cuda" else ""


def tensor(name: str, fault: Fault, layout: Layout = "contiguous") -> str:
    """An array of the script as the tensor that the layer is given."""
    made = f"torch.tensor({name}, dtype=torch.{fault.case.dtype}{_device(fault)})"
    if layout in ("channels_last", "channels_last_3d"):
        return f"{made}.contiguous(memory_format=torch.{layout})"
    return made if layout == "contiguous" else f"{layout}({made})"


def layout_block(fault: Fault) -> Block:
    """Functions that lay a tensor out otherwise, where the case does."""
    block = Block()
    used = {fault.case.layout, fault.case.grad_layout}
    if "transposed" in used:
        block.add(
            "def transposed(t):  # the same values, with the axes in reverse order in memory",
            "    return t.permute(*range(t.dim())[::-1]).contiguous().permute(*range(t.dim())[::-1])",
        )
    if "strided" in used:
        block.add(
            "def strided(t):  # the same values, in every other place of a larger tensor",
            '    return t.new_full((*t.shape[:-1], 2 * t.shape[-1] + 1), float("nan"))[..., 1::2].copy_(t)',
        )
    return block


def history_lines(fault: Fault) -> list[str]:
    """The earlier training steps, which move the running statistics."""
    case = fault.case
    lines = []
    if case.optimizer is not None:
        settings = ", ".join(f"{name}={value!r}" for name, value in case.optimizer.arguments.items())
        lines.append(f"optimizer = torch.optim.SGD(layer.parameters(), {settings})")
    if OPS[case.op].judged != "reference":
        lines.append(f"torch.manual_seed({seed_of(case)})")
    if not fault.history:
        return lines
    given = tensor("x", fault, case.layout)
    if case.optimizer is not None:
        return [
            *lines,
            "for x, gy in batches[:-1]:  # training steps before, each with its update",
            f"    layer.train()({given}).backward({tensor('gy', fault, case.grad_layout)})",
            "    optimizer.step(), optimizer.zero_grad()",
        ]
    one = "x, _" if fault.wants_gradient else "x"
    return [
        *lines,
        "with torch.no_grad():",
        f"    for {one} in batches[:-1]:  # training steps before, which move the running statistics",
        f"        layer.train()({given})",
    ]


def current_lines(fault: Fault) -> list[str]:
    if not fault.history:
        return []
    return [f"{'x, gy' if fault.wants_gradient else 'x'} = batches[-1]"]


def mode(fault: Fault) -> str:
    return f"layer.{'train' if fault.training else 'eval'}()"


def step_lines(fault: Fault) -> list[str]:
    """One step: ``y``, and gradients where they matter."""
    case = fault.case
    wants = fault.wants_gradient and case.requires_grad
    grad = ".requires_grad_()" if case.requires_grad and case.dtype != "int64" else ""
    lines = [f"t = {tensor('x', fault, case.layout)}{grad}"]
    lines.append(f"y = {mode(fault)}(t)")
    if wants or fault.quantity.startswith("grad"):
        lines.append(f"y.backward({tensor('gy', fault, case.grad_layout)})")
    return lines


def run_block(fault: Fault) -> Block:
    """``got``, an array of the quantity that is off."""
    block = layout_block(fault)
    block.add(*history_lines(fault), *current_lines(fault), *before_lines(fault), *step_lines(fault))
    if fault.case.optimizer is not None and fault.training:
        block.add("optimizer.step()")
    block.add(f"got = {array(quantity_of(fault))}")
    return block


def quantity_of(fault: Fault) -> str:
    """The tensor of the script that is the quantity."""
    quantity = fault.quantity
    kind, _, name = quantity.partition(".")
    known = {"output": "y", "grad_input": "t.grad"}
    if quantity in known:
        return known[quantity]
    if kind == "param":
        return f'layer.get_parameter("{name}")'
    if kind == "momentum":
        return f'optimizer.state[layer.get_parameter("{name}")]["momentum_buffer"]'
    return f'layer.get_parameter("{name}").grad' if kind == "grad" else f'layer.get_buffer("{name}")'


def array(expression: str) -> str:
    return f"{expression}.detach().cpu().double().numpy()"
