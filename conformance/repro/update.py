"""What is right under an optimizer: the layer's formula with the parameters that it had, then that of the update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from conformance.backends.step_phases import trainable
from conformance.observation import Array, Observation
from conformance.repro.block import Block
from conformance.repro.fault import Fault
from conformance.repro.given import in_one, variable

SOURCE = "stochastic gradient descent as torch.optim.SGD documents it, from the parameters that the layer had"


def shows_parameters(fault: Fault) -> bool:
    """Whether the backend's own parameters are seen, so that each update is judged by itself."""
    return fault.backend.name == "onnx-step" or fault.backend.name.startswith("torch")


def before_lines(fault: Fault) -> list[str]:
    """``before`` and ``momenta``: the parameters, and their momentum buffers, at the last step, by name."""
    if fault.case.optimizer is None:
        return []
    lines = ["before = {name: t.detach().cpu().double().numpy().copy() for name, t in layer.named_parameters()}"]
    if fault.case.optimizer.momentum:
        lines += [
            'moved = {name: optimizer.state[t].get("momentum_buffer") for name, t in layer.named_parameters()}',
            "momenta = {name: t.cpu().double().numpy().copy() for name, t in moved.items() if t is not None}",
        ]
    return lines


def known_before(fault: Fault, observation: Observation | None) -> dict[str, Any]:
    """The same variables, as the script will find them."""
    if fault.case.optimizer is None or observation is None:
        return {}
    seen = observation.steps[fault.last - 1].arrays if fault.last else {}

    def wide(start: str, usual: dict[str, Array]) -> dict[str, Array]:
        found = usual | {name.removeprefix(start): each for name, each in seen.items() if name.startswith(start)}
        return {name: each.astype(float) for name, each in found.items()}

    return {"before": wide("param.", fault.inputs.params), "momenta": wide("momentum.", {})}


def updated(fault: Fault, writer: Callable[[Fault], Block | None]) -> Block | None:
    """``expected``, under an optimizer; nothing where the layer's own formula is not written."""
    optimizer = fault.case.optimizer
    assert optimizer is not None
    assert fault.figure is not None
    if not shows_parameters(fault):
        return None
    kind, _, name = fault.quantity.partition(".")
    names = ", ".join(variable(each) for each in fault.inputs.params)
    values = ", ".join(f'before["{each}"]' for each in fault.inputs.params)
    block = Block(lines=[f"# {SOURCE}", "state |= before" if in_one(fault) else f"{names} = {values}"])
    if kind not in ("param", "momentum"):
        inner = writer(fault)
        return None if inner is None else block + inner
    known = "before" if kind == "param" else "momenta"
    if not fault.training or name not in trainable(fault.case):
        block.add(f'expected = {known}["{name}"]  # nothing moves it')
        return block
    of_gradient = replace(fault, figure=msgspec.structs.replace(fault.figure, quantity=f"grad.{name}"))
    inner = writer(of_gradient)
    if inner is None:
        return None
    block += inner
    decay, momentum = optimizer.weight_decay, optimizer.momentum
    own = f'before["{name}"]'
    block.add("g = expected" + (f" + {decay!r} * {own}" if decay else ""))
    if momentum:
        first = not any(mode == "train" for mode in fault.case.steps[: fault.last])
        moved = f'{momentum!r} * momenta["{name}"] + {1 - optimizer.dampening!r} * g'
        block.add("b = g  # the first update" if first else f"b = {moved}")
    if kind == "momentum":
        block.add("expected = b")
    else:
        direction = f"(g + {momentum!r} * b)" if optimizer.nesterov else "b" if momentum else "g"
        block.add(f"expected = {own} - {optimizer.lr!r} * {direction}")
    return block
