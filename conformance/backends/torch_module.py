"""Torch itself, step by step, on the CPU or on a CUDA device.

One thread: sums are then split the same way on every machine, and the workers of a run do not fight for the cores.
On CUDA everything that trades precision or reproducibility for speed is off (TF32, reduced-precision reductions,
benchmarked algorithms).  Both are settings of the process and are made at the first case.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Self

import torch

from conformance.backends import layouts
from conformance.backends.capture import Recorder
from conformance.backends.modules import Factory, arguments, build, factory_of, load_state
from conformance.backends.seeds import seeded
from conformance.backends.tensors import dtype_name, memory, shape_name, storage, to_array, to_tensor
from conformance.backends.training import Training
from conformance.captured import Captured
from conformance.inputs import Inputs, StepInputs
from conformance.observation import Array, Observation, Raised, StepObservation, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case


class TorchModule:
    """A module of torch.nn, or of the factory that is given, on a device.

    The factory is called with the op's constructor arguments by name, and what it returns is used like the layer.
    """

    observes: tuple[str, ...] = ()

    def __init__(self, name: str, device: str, factory: Factory | None = None) -> None:
        self.name = name
        self.device = device
        self.factory = factory
        self._settled = False

    def available(self) -> str | None:
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            return f"no CUDA device (torch {torch.__version__})"
        return None

    def versions(self) -> dict[str, str]:
        found = {"torch": str(torch.__version__)}
        if self.device.startswith("cuda") and torch.cuda.is_available():
            found["cuda"] = str(torch.version.cuda)
            found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]  # torch does not type it
            found["device"] = torch.cuda.get_device_name(self.device)
        return found

    def unsupported(self, case: Case) -> str | None:
        rank = len(case.shape)
        why = layouts.misfit(case.layout, rank) or layouts.misfit(case.grad_layout, rank)
        if why is not None:
            return why
        try:
            arguments(case, self.factory if self.factory is not None else factory_of(case.op))
        except Unsupported as reason:
            return str(reason)
        return None

    def prepare(self, cases: Sequence[Case]) -> None:
        """There is nothing to prepare."""

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step of the case; an exception of the module ends them and is part of the observation."""
        self._settle()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of is not what is tested, and would litter stderr
            try:
                module = build(case, self.factory, self.device)
                load_state(module, case, inputs)
            except Unsupported:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a constructor raises is what is observed
                return Observation((), Raised(type(error).__name__, str(error), -1))
            with seeded(case):
                return self._steps(module, case, inputs)

    def _steps(self, module: torch.nn.Module, case: Case, inputs: Inputs) -> Observation:
        steps: list[StepObservation] = []
        seconds = 0.0
        training = Training(module, case)
        for mode, given in zip(case.steps, inputs.steps, strict=True):
            try:
                training.before(len(steps))
                step, took = self._step(module.train(mode == "train"), case, inputs, given)
                step.arrays.update(training.after(mode))
            except Unsupported:
                raise
            except (Exception, SystemExit) as error:
                if isinstance(error, NotImplementedError) and self.factory is None and case.raises is None:
                    raise Unsupported(
                        f"torch: NotImplementedError: {error}"
                    ) from error  # no such kernel for this dtype
                return Observation(tuple(steps), Raised(type(error).__name__, str(error), len(steps)), seconds)
            steps.append(step)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def _step(
        self, module: torch.nn.Module, case: Case, inputs: Inputs, given: StepInputs
    ) -> tuple[StepObservation, float]:
        x = layouts.arrange(to_tensor(given.x, self.device), case.layout)
        grad_output = layouts.arrange(to_tensor(given.grad_output, self.device), case.grad_layout)
        if x.is_floating_point():  # integers have no gradient; what the module says to them is the point of the case
            x.requires_grad_(case.requires_grad)
        module.zero_grad(set_to_none=True)
        before = memory(x), memory(grad_output)

        self._wait()
        started = time.perf_counter()
        with _recorder(module, case) as recorder:
            output = module(x)
            if not isinstance(output, torch.Tensor):
                raise TypeError(f"the module returned {type(output).__name__}, expected a tensor")
            recorder.listening = False
            if output.requires_grad and output.shape == grad_output.shape:  # a wrong shape is told by the structure
                output.backward(grad_output)  # type: ignore[no-untyped-call]  # torch does not type it
        self._wait()
        seconds = time.perf_counter() - started

        modified = not all(map(torch.equal, before, (storage(x), storage(grad_output))))
        structure = {
            "dtype": dtype_name(output.dtype),
            "shape": shape_name(tuple(output.shape)),
            "memory_format": layouts.memory_format(output, case.layout),
            "input_modified": "yes" if modified else "no",
            "state_dict": ",".join(module.state_dict()),
        }
        return StepObservation(_arrays(module, inputs, x, output), structure, recorder.captured()), seconds

    def _wait(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def _settle(self) -> None:
        if self._settled:
            return
        torch.set_num_threads(1)
        if self.device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False
        self._settled = True


class _Deaf:
    """In the place of a recorder where there is no network to look into."""

    listening = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """There is nothing to put back."""

    def captured(self) -> tuple[Captured, ...]:
        return ()


def _recorder(module: torch.nn.Module, case: Case) -> Recorder | _Deaf:
    """What looks into a network: at the modules that it is defined by, and at whatever else is called inside of it."""
    nodes = OPS[case.op].nodes if case.op in OPS else None
    return _Deaf() if nodes is None else Recorder(module, {node.name for node in nodes(case.args)})


def torch_cpu() -> TorchModule:
    return TorchModule("torch-cpu", "cpu")


def torch_cuda() -> TorchModule:
    return TorchModule("torch-cuda", "cuda")


def _arrays(module: torch.nn.Module, inputs: Inputs, x: torch.Tensor, output: torch.Tensor) -> dict[str, Array]:
    """Copies of all quantities of a step; a gradient that was not computed is left out."""
    tensors: dict[str, torch.Tensor | None] = {"output": output}
    if x.requires_grad:
        tensors["grad_input"] = x.grad
    tensors |= {f"grad.{name}": parameter.grad for name, parameter in module.named_parameters()}
    buffers = dict(module.named_buffers())
    tensors |= {f"buffer.{name}": buffers.get(name) for name in inputs.buffers}
    return {name: to_array(tensor) for name, tensor in tensors.items() if tensor is not None}
