"""A layer that trains after deployment: the whole step as one ONNX graph under onnxruntime on the CPU.

Parameters and buffers are inputs of the graph and the buffers after the step are among its outputs, which are given to
the next step: nothing of torch is left at run time.  Steps that differ only in data share one graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import onnx

from conformance.backends.arrays import name_of, shape_name
from conformance.backends.dynamic_axes import distinct_shape
from conformance.backends.failure import Failure
from conformance.backends.kept_runs import KeptRuns, ReadyStep
from conformance.backends.models import Failed, Made, Models, entry_of
from conformance.backends.onnx_evidence import write_backend_test
from conformance.backends.onnx_module import LateBatchExport
from conformance.backends.onnxruntime_session import Sessions, run_on_many
from conformance.backends.planned import form_of
from conformance.backends.reasons import stated
from conformance.backends.seeds import draws, seed_runtime
from conformance.backends.step_phases import Phase, given, phases, results, untouched
from conformance.backends.toolchain import not_installed, versions_of
from conformance.inputs import Inputs
from conformance.observation import Array, Observation, StepObservation, Unsupported
from conformance.suite.case import Case

if TYPE_CHECKING:
    from conformance.backends.step_trace import Traced

TOGETHER = 16  # steps in one call: they are large graphs, and the exporter's passes take more than linear time


class OnnxStep:
    """Outputs, gradients and buffers of exported steps."""

    name = "onnx-step"
    observes: tuple[str, ...] = (
        "output", "grad_input", "grad.", "buffer.", "param.", "momentum.", "dtype", "shape", "input_modified",
    )  # fmt: skip

    def __init__(self, models: Models | None = None, *, runs: KeptRuns | None = None) -> None:
        self._together = LateBatchExport()
        self._models = Models() if models is None else models
        self._runs = KeptRuns() if runs is None else runs
        self._sessions = Sessions()

    def available(self) -> str | None:
        return not_installed("torch", "onnxscript")

    def versions(self) -> dict[str, str]:
        return versions_of("torch", "onnx", "onnxruntime", "onnxscript")

    def unsupported(self, case: Case) -> str | None:
        if case.raises is not None:
            return "checks torch's own exception"
        if "int64" in (case.dtype, case.param_dtype):
            return "checks how torch treats integers"
        if case.layout != "contiguous" or case.grad_layout != "contiguous":
            return "tensors of ONNX have no layout but the contiguous one"
        if case.optimizer is not None and case.optimizer.implementation != "default":
            return "checks torch's own implementation of the optimizer"
        return None

    def prepare(self, cases: Sequence[Case]) -> None:
        """Export the steps of these cases, many at a time; ``run`` then finds the models ready."""
        waiting: dict[str, Traced] = {}
        for case in cases:
            if self.unsupported(case) is not None or self._runs.steps(case):
                continue
            for phase in dict.fromkeys(phases(case)):
                digest = _digest(case, phase)
                if digest not in waiting and digest not in self._models:
                    self._trace(case, phase, digest, waiting)
            if len(waiting) >= TOGETHER:
                self._export(waiting)
                waiting = {}
        self._export(waiting)

    def _trace(self, case: Case, phase: Phase, digest: str, waiting: dict[str, Traced]) -> None:
        """Let the step wait for its export, if it can be traced."""
        from conformance.backends.step_trace import trace

        try:
            waiting[digest] = trace(case, phase)
        except Unsupported as reason:
            self._models.put(digest, reason)

    def _export(self, waiting: dict[str, Traced]) -> None:
        jobs = [traced.job() for traced in waiting.values()]
        for digest, outcome in zip(waiting, self._together(jobs) if jobs else (), strict=True):
            made = stated("export", outcome) if isinstance(outcome, Exception) else outcome
            self._models.keep(digest, entry_of(made))

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """Every step; buffers and updated parameters that come out of one go into the next.

        Raises:
            Unsupported: torch, its exporter or onnxruntime refuses a step, in its own words.
        """
        return self._all_steps(case, inputs, optimise=case.export.optimisation == "all")

    def _all_steps(self, case: Case, inputs: Inputs, *, optimise: bool) -> Observation:
        steps: list[StepObservation] = []
        seconds = 0.0
        graphs = self._graphs(case)
        for number, phase in enumerate(phases(case)):
            graph, names = graphs[phase], results(case, inputs, phase)
            seed_runtime(case, number)
            sessions = Sessions() if draws(case) else self._sessions  # one that has drawn goes on where it was
            seen, took = self._step(graph, given(case, inputs, steps, number), names, sessions, optimise=optimise)
            seen.arrays.update(untouched(case, inputs, steps, phase))
            steps.append(seen)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def _step(
        self, graph: bytes, given: list[Array], names: tuple[str, ...], sessions: Sessions, *, optimise: bool
    ) -> tuple[StepObservation, float]:
        try:
            session = sessions.of(graph, optimise=optimise)
        except Exception as error:
            raise stated("load", error) from error
        try:
            ran = run_on_many(session, given)
        except Exception as error:
            raise stated("run", error) from error
        arrays = dict(zip(names, ran.outputs, strict=True))
        structure = {
            "dtype": name_of(arrays["output"].dtype),
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
        model = onnx.load_model_from_string(self._graphs(case)[phase])
        write_backend_test(failure.folder, model, given(case, inputs, seen, step), expected)
        return f"{said}\nstep {step} as a test of an ONNX backend: {failure.folder}"

    def _graphs(self, case: Case) -> dict[Phase, bytes]:
        """The graph of every phase.  Raises Unsupported where the exporter refuses one."""
        order = tuple(dict.fromkeys(phases(case)))
        ready = self._runs.steps(case) or self._ready(case, order)
        if ready[-1].refused:
            raise Unsupported(ready[-1].refused)
        return {phase: step.graph for phase, step in zip(order, ready, strict=True)}

    def _ready(self, case: Case, order: Sequence[Phase]) -> Sequence[ReadyStep]:
        ready: list[ReadyStep] = []
        try:
            for phase in order:
                ready.append(ReadyStep(self._graph(case, phase)))  # noqa: PERF401 - what was made before a refusal stays
        except Unsupported as words:
            ready.append(ReadyStep(b"", str(words)))
        self._runs.keep(case, ready)
        return ready

    def _graph(self, case: Case, phase: Phase) -> bytes:
        digest = _digest(case, phase)
        if digest not in self._models:
            waiting: dict[str, Traced] = {}
            self._trace(case, phase, digest, waiting)
            self._export(waiting)
        found = self._models.entry(digest)
        if isinstance(found, Failed):
            raise Unsupported(found.words)
        assert isinstance(found, Made)
        return found.model


def _digest(case: Case, phase: Phase) -> str:
    """Everything that an exported step depends on."""
    form = form_of(case)
    shape = distinct_shape(case) if form.dynamic else case.shape
    layer = (case.op, case.args, shape, case.dtype, case.param_dtype, phase.mode, form.dynamic, form.opset)
    if phase.update:
        return hashlib.sha256(msgspec.json.encode((layer, phase.update, case.optimizer))).hexdigest()
    return hashlib.sha256(msgspec.json.encode(layer)).hexdigest()


def onnx_step() -> OnnxStep:
    return OnnxStep(Models.kept("step"), runs=KeptRuns.kept("step"))
