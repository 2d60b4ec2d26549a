"""What a procedure does to a torch module around its steps: buffers are reset, parameters are updated."""

from __future__ import annotations

import torch

from conformance.backends.tensors import to_array
from conformance.observation import Array, Unsupported
from conformance.suite.case import Case, Mode


class Training:
    """The resets and the optimizer of a case, for one module; a case without either leaves the module alone."""

    def __init__(self, module: torch.nn.Module, case: Case) -> None:
        self._module = module
        self._resets = frozenset(case.resets)
        self._optimizer: torch.optim.SGD | None = None
        if case.optimizer is not None:
            self._optimizer = torch.optim.SGD(module.parameters(), **case.optimizer.arguments)

    @property
    def updates(self) -> bool:
        """Whether train steps need gradients, since they change the parameters."""
        return self._optimizer is not None

    def before(self, number: int) -> None:
        """What comes before the step of this number.

        Raises:
            Unsupported: buffers are to be reset, and the module has no way to do it.
        """
        if number in self._resets:
            reset_running_stats(self._module)

    def after(self, mode: Mode) -> dict[str, Array]:
        """The update after a train step; under a procedure, what any step leaves behind.

        These are the buffers and, with an optimizer, the parameters and their momentum buffers.
        """
        if self._optimizer is None and not self._resets:
            return {}
        found = {f"buffer.{name}": to_array(buffer) for name, buffer in self._module.named_buffers()}
        if self._optimizer is None:
            return found
        if mode == "train":
            self._optimizer.step()
        for name, parameter in self._module.named_parameters():
            found[f"param.{name}"] = to_array(parameter)
            buffer = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                found[f"momentum.{name}"] = to_array(buffer)
        return found


def reset_running_stats(module: torch.nn.Module) -> None:
    """Let every layer that keeps running statistics forget them, with the method that torch has for it.

    Raises:
        Unsupported: a layer has the buffers and not the method.
    """
    for name, layer in module.named_modules():
        forget = getattr(layer, "reset_running_stats", None)
        if callable(forget):
            forget()
        elif any(key.startswith("running_") for key in layer._buffers):  # noqa: SLF001 - own buffers, by torch's name
            raise Unsupported(
                f"{name or type(layer).__name__} has no method reset_running_stats(), which a reset calls"
            )
