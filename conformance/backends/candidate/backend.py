"""A candidate as a backend: made anew for each case, run like torch's own modules."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any, cast

import torch

from conformance.backends import layouts
from conformance.backends.candidate.functional import FunctionLayer
from conformance.backends.candidate.kinds import Library, Nature, library_of, nature_of
from conformance.backends.candidate.layers import Layer, ModuleLayer
from conformance.backends.candidate.owned import FORWARD, ObjectLayer
from conformance.backends.candidate.resolve import resolve
from conformance.backends.candidate.signature import arguments_for, check_affine, check_signature
from conformance.backends.candidate.spec import TOLD, USAGE, Spec, read_spec
from conformance.backends.modules import StateMismatch
from conformance.backends.tensors import dtype_of
from conformance.backends.torch_module import TorchModule
from conformance.errors import ConformanceError, UsageError
from conformance.inputs import Inputs, StepInputs
from conformance.observation import Observation, Raised, StepObservation, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case

_DEVICES = ("cpu", "cuda", "xpu", "mps")


class Candidate(TorchModule):
    """Somebody's layer.  What it is, is found out when it is first asked whether it is available."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(str(spec), spec.device)
        self.spec = spec
        self.observes: tuple[str, ...] = FORWARD if spec.forward_only else ()

    @cached_property
    def candidate(self) -> Any:
        return resolve(self.spec.target)

    @cached_property
    def nature(self) -> Nature:
        if self.spec.like not in OPS:
            from conformance.suite.problems import unknown

            raise UsageError(unknown("op", self.spec.like, tuple(OPS)))
        names = [argument.name for argument in OPS[self.spec.like].arguments]
        nature = nature_of(self.candidate, self.spec.kind, names)
        if nature.library == "numpy" and self.device != "cpu":
            raise UsageError(f"{self.spec.title} works on NumPy arrays, which are on no {self.device}")
        if OPS[self.spec.like].nodes is not None and nature.kind not in ("module", "factory"):
            raise UsageError(
                f"{self.spec.title} is a {nature.kind}, and {self.spec.like} is a network, judged layer by layer",
                hint="give a torch.nn.Module class with the layers and names of the op, or a factory of such",
            )
        if nature.kind in ("module", "factory", "object"):
            check_signature(self.candidate, self.spec.like)
        return nature

    def available(self) -> str | None:
        try:
            torch.device(self.device)
        except RuntimeError as error:
            known = ", ".join(name for name in _DEVICES if name in str(error))
            return f"{USAGE}{self.device!r} is not a device of torch\nsuch as {known}, or cuda:1"
        missing = super().available()
        if missing is not None:
            return missing
        try:
            self.nature  # noqa: B018 - finding it out is what is wanted
            if self.spec.backward:
                resolve(self.spec.backward)
        except ConformanceError as error:
            return f"{USAGE}{error}"
        return None

    def unsupported(self, case: Case) -> str | None:
        if case.op != self.spec.like:
            return f"{self.spec.title} is judged as {self.spec.like}"
        rank = len(case.shape)
        why = layouts.misfit(case.layout, rank) or layouts.misfit(case.grad_layout, rank)
        if why is None and self.nature.library == "numpy" and "bfloat16" in (case.dtype, case.param_dtype):
            why = "NumPy has no bfloat16"
        if why is not None:
            return why
        if self.nature.kind in ("module", "factory", "object"):
            try:
                arguments_for(self.candidate, case.args, case)
            except Unsupported as reason:
                return str(reason)
        return None

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step of the case.

        A layer that raises NotImplementedError says itself that it cannot run a case, and is taken at its word.
        """
        if OPS[case.op].nodes is not None:  # a network is looked into, so it must be the module itself
            self.factory = self.candidate
            return super().run(case, inputs)
        self._settle()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a candidate warns of is not what is tested
            try:
                layer = self._layer(case, inputs)
            except Unsupported:
                raise
            except NotImplementedError as error:
                raise Unsupported(str(error) or "the candidate raises NotImplementedError") from error
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a constructor raises is what is observed
                return Observation((), Raised(type(error).__name__, str(error), -1))
            if not self.spec.forward_only:
                self.observes = layer.observes
            return self._all_steps(layer, case, inputs)

    def _all_steps(self, layer: Layer, case: Case, inputs: Inputs) -> Observation:
        steps: list[StepObservation] = []
        seconds = 0.0
        try:
            procedure = layer.procedure(case)
            for number, (mode, given) in enumerate(zip(case.steps, inputs.steps, strict=True)):
                procedure.before(number)
                module = cast("torch.nn.Module", layer.train(mode == "train"))
                step, took = self._step(module, case, inputs, given)
                step.arrays.update(procedure.after(mode))
                steps.append(step)
                seconds += took
        except Unsupported:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, NotImplementedError) and not _refused(case, error):
                raise Unsupported(str(error) or "the candidate raises NotImplementedError") from error
            return Observation(tuple(steps), Raised(type(error).__name__, str(error), len(steps)), seconds)
        return Observation(tuple(steps), None, seconds)

    def _layer(self, case: Case, inputs: Inputs) -> Layer:
        nature, spec = self.nature, self.spec
        if nature.kind in ("function", "autograd"):
            applied = nature.kind == "autograd"
            function = self.candidate.forward if applied else self.candidate
            backward = resolve(spec.backward) if spec.backward else None
            layer = FunctionLayer(
                function, nature.library, case, inputs,
                device=self.device, apply=applied, backward=backward, given=spec.names,
            )  # fmt: skip
            if applied:
                layer.use(self.candidate.apply)
            return layer
        thing = self.candidate(**arguments_for(self.candidate, case.args, case))
        if isinstance(thing, torch.nn.Module):
            placed = thing.to(device=self.device)
            if case.param_dtype != "int64":
                placed = placed.to(dtype=dtype_of(case.param_dtype))
            try:
                return ModuleLayer(placed, case, inputs, spec.names, self.device)
            except StateMismatch:
                if not dict(placed.named_parameters()):
                    check_affine(self.candidate, case)
                raise
        if not callable(getattr(thing, "forward", thing)):
            raise UsageError(
                f"{spec.title} made {type(thing).__name__}, which has no forward",
                hint="a factory makes a torch.nn.Module, or an object with forward",
            )
        library: Library = nature.library
        if nature.kind == "factory":
            library, _ = library_of(type(thing))
        return ObjectLayer(thing, library, case, inputs, spec.names, self.device)

    def _step(
        self, module: torch.nn.Module, case: Case, inputs: Inputs, given: StepInputs
    ) -> tuple[StepObservation, float]:
        step, seconds = super()._step(module, case, inputs, given)
        if OPS[case.op].nodes is not None:  # a network, which is the module itself
            step.structure[TOLD] = self._kind_told()
            return step, seconds
        layer = cast("Layer", module)
        step.structure[TOLD] = "\n".join([self._kind_told(), *layer.remarks()])
        kept = dict(layer.named_buffers())
        step.structure["not_kept"] = ",".join(name for name in inputs.buffers if name not in kept)
        return step, seconds

    def _kind_told(self) -> str:
        on = ", on NumPy arrays" if self.nature.library == "numpy" and "NumPy" not in self.nature.why else ""
        blind = "; forward only: it has no backward" if self.observes == FORWARD and not self.spec.forward_only else ""
        return f"{self.nature.kind} ({self.nature.why}{on}){blind}"


def _refused(case: Case, error: NotImplementedError) -> bool:
    """Whether torch itself has no such kernel, where that is just what the case expects."""
    return case.raises is not None and "not implemented for '" in str(error)


def load(name: str) -> Candidate:
    """The candidate of this name.

    Raises:
        UsageError: the name is not of the form that ``spec`` describes.
    """
    return Candidate(read_spec(name))
