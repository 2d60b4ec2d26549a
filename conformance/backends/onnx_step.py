"""A layer that trains after deployment: the whole step as one ONNX graph under onnxruntime on the CPU.

Parameters and buffers are inputs of the graph and the buffers after the step are among its outputs, which are given to
the next step: nothing of torch is left at run time.  Steps that differ only in data share one graph.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec
import onnx
import onnxruntime
import torch

from conformance.backends.batch_export import BatchExport, Job
from conformance.backends.exporters import Form
from conformance.backends.failure import Failure
from conformance.backends.models import Models
from conformance.backends.modules import arguments, build, factory_of
from conformance.backends.onnx_evidence import write_backend_test
from conformance.backends.onnxruntime_session import load_model, run_on_many
from conformance.backends.reasons import stated
from conformance.backends.step_graph import StepGraph, trace_step
from conformance.backends.step_phases import Phase, given, phases, results, untouched, update_of
from conformance.backends.tensors import dtype_of, shape_name
from conformance.inputs import Inputs
from conformance.observation import Array, Observation, StepObservation, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case

TOGETHER = 16  # steps in one call: they are large graphs, and the exporter's passes take more than linear time


@dataclass(frozen=True, slots=True)
class Traced:
    """A step that is ready to be exported; ``digest`` is all that its graph depends on, which the data is not."""

    graph: StepGraph
    inputs: tuple[torch.Tensor, ...]
    form: Form
    kind: str
    digest: str

    def job(self) -> Job:
        x, *more = self.inputs
        return Job(self.kind, self.graph.module, x, tuple(more), len(self.graph.results), self.form)


class OnnxStep:
    """Outputs, gradients and buffers of exported steps."""

    name = "onnx-step"
    observes: tuple[str, ...] = (
        "output", "grad_input", "grad.", "buffer.", "param.", "momentum.", "dtype", "shape", "input_modified",
    )  # fmt: skip

    def __init__(self, models: Models | None = None) -> None:
        self._together = BatchExport()
        self._models = Models() if models is None else models

    def available(self) -> str | None:
        return None

    def versions(self) -> dict[str, str]:
        found = {"torch": str(torch.__version__), "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
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
        if case.layout != "contiguous" or case.grad_layout != "contiguous":
            return "onnxruntime arrays are always contiguous"
        if case.export.dynamic:
            return "a step is traced at the sizes of the case"
        try:
            arguments(case, factory_of(case.op))
        except Unsupported as reason:
            return str(reason)
        return None

    def prepare(self, cases: Sequence[Case]) -> None:
        """Export the steps of these cases, many at a time; ``run`` then finds the models ready."""
        waiting: dict[str, Traced] = {}
        for case in cases:
            if self.unsupported(case) is not None:
                continue
            for phase in sorted(set(phases(case))):
                digest = _digest(case, phase)
                if digest in waiting or digest in self._models:
                    continue
                try:
                    waiting[digest] = trace(case, phase)
                except Unsupported as reason:
                    self._models.put(digest, reason)
            if len(waiting) >= TOGETHER:
                self._export(waiting)
                waiting = {}
        self._export(waiting)

    def _export(self, waiting: dict[str, Traced]) -> None:
        jobs = [traced.job() for traced in waiting.values()]
        for digest, outcome in zip(waiting, self._together(jobs) if jobs else (), strict=True):
            self._models.put(digest, stated("export", outcome) if isinstance(outcome, Exception) else outcome)

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step; buffers and updated parameters that come out of one go into the next.

        Raises:
            Unsupported: torch, its exporter or onnxruntime refuses a step, in its own words.
        """
        return self._all_steps(case, inputs, optimise=case.export.optimisation == "all")

    def _all_steps(self, case: Case, inputs: Inputs, *, optimise: bool) -> Observation:
        steps: list[StepObservation] = []
        seconds = 0.0
        for number, phase in enumerate(phases(case)):
            model, arrays = self._model(case, phase), given(case, inputs, steps, number)
            seen, took = self._step(model, arrays, results(case, inputs, phase), optimise=optimise)
            seen.arrays.update(untouched(case, inputs, steps, phase))
            steps.append(seen)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def _step(
        self, model: onnx.ModelProto, given: list[Array], names: tuple[str, ...], *, optimise: bool
    ) -> tuple[StepObservation, float]:
        try:
            session = load_model(model, optimise=optimise)
        except Exception as error:
            raise stated("load", error) from error
        try:
            ran = run_on_many(session, given)
        except Exception as error:
            raise stated("run", error) from error
        arrays = dict(zip(names, ran.outputs, strict=True))
        structure = {
            "dtype": arrays["output"].dtype.name,
            "shape": shape_name(arrays["output"].shape),
            "input_modified": "yes" if ran.modified else "no",
        }
        return StepObservation(arrays, structure), ran.seconds

    def investigate(self, failure: Failure) -> str:
        """Whether the optimiser lost the numbers; and the graph, for others to run."""
        case, inputs, step = failure.case, failure.inputs, failure.step
        said = "lost by the exporter or by a kernel of onnxruntime: the step fails without optimisations"
        if case.export.optimisation == "all" and failure.agrees(self._all_steps(case, inputs, optimise=False)):
            said = "lost by the optimiser of onnxruntime: with optimisations off, the case passes"
        if failure.folder is None:
            return said
        phase, seen = phases(case)[step], failure.observation.steps
        expected = [failure.expected[step].get(name, seen[step].arrays[name]) for name in results(case, inputs, phase)]
        write_backend_test(failure.folder, self._model(case, phase), given(case, inputs, seen, step), expected)
        return f"{said}\nstep {step} as a test of an ONNX backend: {failure.folder}"

    def _model(self, case: Case, phase: Phase) -> onnx.ModelProto:
        digest = _digest(case, phase)
        if digest not in self._models:
            try:
                self._export({digest: trace(case, phase)})
            except Unsupported as reason:
                self._models.put(digest, reason)
        found = self._models.get(digest)
        assert found is not None
        if isinstance(found, Unsupported):
            raise Unsupported(*found.args)
        return found


def trace(case: Case, phase: Phase) -> Traced:
    """The step of a case in one phase, with parameters and buffers in the order in which the op names them.

    Raises:
        Unsupported: torch cannot build the module, or cannot trace its step.
    """
    torch.set_num_threads(1)
    op = OPS[case.op]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = build(case).train(phase.mode == "train")
        own = [f"param.{name}" for name in op.parameters(case.args)] + [
            f"buffer.{name}" for name in op.buffers(case.args)
        ]
        shapes = case.shape, op.output_shape(case.args, case.shape)
        x, grad_output = (torch.ones(shape, dtype=dtype_of(case.dtype)) for shape in shapes)
        update, again = update_of(case.optimizer if phase.update else None), phase.update == "later"
        graph = trace_step(module, x, grad_output, update, momenta=again)
    except Unsupported:
        raise
    except Exception as error:
        raise stated("torch", error) from error
    if again:
        own += [f"momentum.{name}" for name in op.parameters(case.args)]
    if list(graph.arguments[2:]) != own:
        raise Unsupported(f"torch: the module has {', '.join(graph.arguments[2:])}, the op {', '.join(own)}")
    state = tuple(tensor.detach().clone() for tensor in (*module.parameters(), *module.buffers()))
    if again:
        state += tuple(torch.zeros_like(tensor) for tensor in module.parameters())
    kind = f"{case.op} {phase.mode} {phase.update}"
    return Traced(graph, (x, grad_output, *state), Form(opset=case.export.opset), kind, _digest(case, phase))


def _digest(case: Case, phase: Phase) -> str:
    """Everything that an exported step depends on."""
    layer = (case.op, case.args, case.shape, case.dtype, case.param_dtype, phase.mode, case.export.opset)
    if phase.update:
        return hashlib.sha256(msgspec.json.encode((layer, phase.update, case.optimizer))).hexdigest()
    return hashlib.sha256(msgspec.json.encode(layer)).hexdigest()


def onnx_step() -> OnnxStep:
    return OnnxStep(Models.kept("step"))
