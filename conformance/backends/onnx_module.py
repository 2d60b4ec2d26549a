"""A layer after deployment: exported to ONNX by torch and run by onnxruntime on the CPU.

Every step is a graph of its own, exported from a copy of the torch module in the mode of that step.  Between the steps
the torch module itself trains on, as it does in practice: one trains in torch and exports what came of it.  So the
graph of step k holds the buffers that torch had after step k - 1, and only outputs are observed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version

import msgspec
import numpy as np
import onnx
import onnxruntime
import torch

from conformance.backends.batch_export import BatchExport, Job, Outcome
from conformance.backends.dynamic_axes import dynamic_axes, example_shape
from conformance.backends.exporters import Exporter, Form, with_dynamo, with_script
from conformance.backends.failure import Failure
from conformance.backends.models import Bytewise, Failed, Made, Models
from conformance.backends.modules import arguments, build, factory_of, load_state
from conformance.backends.onnx_evidence import blame, observed, write_backend_test
from conformance.backends.onnxruntime_session import load_model, run_model
from conformance.backends.reasons import stated
from conformance.backends.state import bind, fingerprint, outline, template
from conformance.backends.tensors import to_array, to_tensor
from conformance.backends.training import Training
from conformance.inputs import Inputs, StepInputs, make_inputs
from conformance.observation import Array, Observation, Unsupported
from conformance.suite.case import Case, Mode

TOGETHER = 128  # modules in one call: beyond this the cost per module hardly falls


@dataclass(frozen=True)
class Planned:
    """One step to export: the layer in its mode and state, and the input that it meets.

    ``example`` is the input to export with, which is another where the graph leaves sizes open.  ``kind`` is what
    exportability mostly depends on; ``digest`` is all that the resulting graph depends on but the values of the state.
    """

    case: Case
    mode: Mode
    x: Array
    example: Array
    form: Form
    state: dict[str, Array]
    kind: str
    digest: str
    trained: Mapping[str, Array] = field(default_factory=dict)  # parameters and momentum buffers after the step

    @property
    def module(self) -> torch.nn.Module:
        """A new module each time, for exporters may train what they export."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(self.case)
        module.load_state_dict({name: to_tensor(array) for name, array in self.state.items()})
        return module.train(self.mode == "train")

    @property
    def values(self) -> dict[str, Array]:
        """The state as far as a graph can depend on it: the count matters to a cumulative average alone."""
        counted = self.case.args.get("momentum", 0.0) is None
        return {name: array for name, array in self.state.items() if counted or array.dtype.kind == "f" or array.ndim}

    @property
    def whole_digest(self) -> str:
        """All that the graph depends on where the exporter computed with the values of the state."""
        return f"{self.digest} {fingerprint(self.values)}"

    def job(self) -> Job:
        return Job(self.kind, self.module, to_tensor(self.example), form=self.form)


class OnnxModule:
    """Outputs of exported graphs.  ``together`` exports many modules at once, where the exporter gains by it."""

    observes: tuple[str, ...] = ("output", "dtype", "shape")

    def __init__(
        self,
        name: str,
        export: Exporter,
        together: Callable[[Sequence[Job]], list[Outcome]] | None,
        models: Models | None = None,
    ) -> None:
        self.name = name
        self._export = export
        self._together = together
        self._models = Models() if models is None else models

    def available(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        found = {"torch": str(torch.__version__), "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        if self._together is not None:
            try:
                found["onnxscript"] = version("onnxscript")
            except PackageNotFoundError:
                found["onnxscript"] = "missing"
        return found

    def unsupported(self, case: Case) -> str | None:
        if case.raises is not None:
            return "checks torch's own exception"
        if "int64" in (case.dtype, case.param_dtype):
            return "checks how torch treats integers"
        if case.layout != "contiguous":
            return "onnxruntime arrays are always contiguous"
        try:
            arguments(case, factory_of(case.op))
        except Unsupported as reason:
            return str(reason)
        return None

    def prepare(self, cases: Sequence[Case]) -> None:
        """Export all steps of these cases, many at a time; ``run`` then finds the models ready."""
        if self._together is None:
            return
        waiting: list[Planned] = []
        digests: set[str] = set()
        for case in cases:
            if self.unsupported(case) is not None:
                continue
            try:
                missing = [planned for planned in plan(case, make_inputs(case)) if self._entry(planned) is None]
            except Unsupported:
                continue  # run meets it again, and says so
            waiting += missing
            digests.update(planned.digest for planned in missing)
            if len(digests) >= TOGETHER:
                self._export_waiting(waiting)
                waiting, digests = [], set()
        self._export_waiting(waiting)

    def _export_waiting(self, waiting: list[Planned]) -> None:
        """One export for all that share a graph; those that turn out to share none are exported in the next round."""
        while self._together is not None and waiting:
            chosen = {self._digest(planned): planned for planned in reversed(waiting)}
            outcomes = self._together([planned.job() for planned in chosen.values()])
            for planned, outcome in zip(chosen.values(), outcomes, strict=True):
                self._keep(planned, stated("export", outcome) if isinstance(outcome, Exception) else outcome)
            waiting = [planned for planned in waiting if self._entry(planned) is None]

    def _digest(self, planned: Planned) -> str:
        bytewise = isinstance(self._models.entry(planned.digest), Bytewise)
        return planned.whole_digest if bytewise else planned.digest

    def _entry(self, planned: Planned) -> Made | Failed | None:
        entry = self._models.entry(planned.digest)
        if isinstance(entry, Bytewise):
            entry = self._models.entry(planned.whole_digest)
            assert not isinstance(entry, Bytewise)
        return entry

    def _keep(self, planned: Planned, outcome: onnx.ModelProto | Unsupported) -> None:
        if isinstance(outcome, Unsupported):
            self._models.keep(planned.digest, Failed(str(outcome)))
            return
        entry = template(outcome, planned.values)
        self._models.keep(planned.digest, entry)
        if isinstance(entry, Bytewise):
            self._models.put(planned.whole_digest, outcome)

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """The outputs of all steps.

        Raises:
            Unsupported: the exporter or the runtime refuses a step, in its own words.
        """
        steps = []
        seconds = 0.0
        for planned in plan(case, inputs):
            output, took = run_graph(self.model(planned), planned.x, optimise=case.export.optimisation == "all")
            step = observed(output)
            step.arrays.update(planned.trained)
            steps.append(step)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def investigate(self, failure: Failure) -> str:
        """Who lost the numbers: the exporter, the optimiser or a kernel; and the graph, for others to run."""
        case = failure.case
        planned = list(plan(case, failure.inputs))
        models, xs = [self.model(each) for each in planned], [each.x for each in planned]
        said = blame(
            models,
            xs,
            lambda other: failure.agrees(_trained_alike(other, planned)),
            unoptimised=lambda model, x: run_graph(model, x, optimise=False)[0],
            optimised=case.export.optimisation == "all",
        )
        if failure.folder is None:
            return said
        step = failure.step
        write_backend_test(failure.folder, models[step], [xs[step]], [failure.expected[step]["output"]])
        return f"{said}\nstep {step} as a test of an ONNX backend: {failure.folder}"

    def model(self, planned: Planned) -> onnx.ModelProto:
        """The graph of a step, with its state.

        Raises:
            Unsupported: the exporter refuses, in its own words.
        """
        found = self._entry(planned)
        if found is None:
            try:
                self._keep(planned, self._export(planned.module, to_tensor(planned.example), planned.form))
            except Exception as error:  # noqa: BLE001 - the exporter's own words are the outcome
                self._keep(planned, stated("export", error))
            found = self._entry(planned)
        assert found is not None
        if isinstance(found, Failed):
            raise Unsupported(found.words)
        return bind(found, planned.values)


def onnx_dynamo() -> OnnxModule:
    return OnnxModule("onnx-dynamo", with_dynamo, BatchExport(), Models.kept("dynamo"))


def onnx_script() -> OnnxModule:
    """The TorchScript exporter takes milliseconds, so there is nothing to gain by exporting together."""
    return OnnxModule("onnx-script", with_script, None, Models.kept("script"))


def run_graph(model: onnx.ModelProto, x: Array, *, optimise: bool = True) -> tuple[Array, float]:
    """The first output and the seconds that it took.

    Raises:
        Unsupported: the checker or the runtime refuses, in its own words.
    """
    try:
        session = load_model(model, optimise=optimise)
    except Exception as error:
        raise stated("load", error) from error
    try:
        return run_model(session, x)
    except Exception as error:
        raise stated("run", error) from error


def plan(case: Case, inputs: Inputs) -> Iterator[Planned]:
    """What to export at each step; the torch module moves its buffers, and its parameters, from one to the next.

    Raises:
        Unsupported: torch itself cannot build or train the module.
    """
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = build(case)
            load_state(module, case, inputs)
        except Unsupported:
            raise
        except Exception as error:
            raise stated("torch", error) from error
    form, example = _form(case)
    layer = (case.op, case.args, list(example or case.shape), case.dtype, case.param_dtype, form.dynamic, form.opset)
    training = Training(module, case)
    for number, (mode, given) in enumerate(zip(case.steps, inputs.steps, strict=True)):
        training.before(number)
        state = {name: to_array(tensor) for name, tensor in module.state_dict().items()}
        planned = Planned(
            case=case,
            mode=mode,
            x=given.x,
            example=np.ones(example, given.x.dtype) if example else given.x,
            form=form,
            state=state,
            kind=msgspec.json.encode((case.op, case.args, mode, form.dynamic, form.opset)).decode(),
            digest="",
        )
        text = msgspec.json.encode((layer, mode, outline(planned.values)))
        if mode == "train":
            _move(module.train(), given, training)
        yield replace(planned, digest=hashlib.sha256(text).hexdigest(), trained=training.after(mode))


def _trained_alike(observation: Observation, planned: Sequence[Planned]) -> Observation:
    """The observation with the parameters that torch had, from which its steps are judged."""
    return replace(
        observation,
        steps=tuple(
            replace(step, arrays=step.arrays | dict(each.trained))
            for step, each in zip(observation.steps, planned, strict=True)
        ),
    )


def _form(case: Case) -> tuple[Form, tuple[int, ...]]:
    """The form of the graph, and the shape to export it at where that is not the case's own."""
    if not case.export.dynamic:
        return Form((), case.export.opset), ()
    return Form(dynamic_axes(case), case.export.opset), example_shape(case)


def _move(module: torch.nn.Module, given: StepInputs, training: Training) -> None:
    """Let the module see the batch as in training; without buffers and an optimizer nothing would come of it."""
    if next(module.buffers(), None) is None and not training.updates:
        return
    with warnings.catch_warnings(), torch.set_grad_enabled(training.updates):
        warnings.simplefilter("ignore")
        try:
            module.zero_grad(set_to_none=True)
            output = module(to_tensor(given.x))
            if training.updates:
                output.backward(to_tensor(given.grad_output))
        except Exception as error:
            raise stated("torch", error) from error
