"""A layer after deployment: exported to ONNX by torch and run by onnxruntime on the CPU.

Every step is a graph of its own, exported from a copy of the torch module in the mode and the state of that step
(conformance.backends.planning), and only outputs are observed.  Where all graphs are at hand, torch is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx

from conformance.backends.failure import Failure
from conformance.backends.kept_runs import KeptRuns, ReadyStep
from conformance.backends.models import Bytewise, Entry, Failed, Made, Models
from conformance.backends.onnx_evidence import blame, observed, write_backend_test
from conformance.backends.onnxruntime_session import Sessions, run_model
from conformance.backends.planned import Planned
from conformance.backends.plans import KeptStep, Plans, arrays_of, kept_plans, kept_tensor
from conformance.backends.reasons import stated
from conformance.backends.seeds import draws, seed_runtime
from conformance.backends.state import bind, template
from conformance.backends.toolchain import not_installed, versions_of
from conformance.errors import UsageError
from conformance.inputs import Inputs, make_inputs
from conformance.observation import Array, Observation, StepObservation, Unsupported
from conformance.ops import OPS
from conformance.suite.case import Case

if TYPE_CHECKING:
    import torch

    from conformance.backends.batch_export import Job, Outcome
    from conformance.backends.exporters import Exporter
    from conformance.backends.form import Form

TOGETHER = 128  # modules in one call: beyond this the cost per module hardly falls

#: many modules at once; a model for each, or the exception that its export ends in
Together = Callable[["Sequence[Job]"], "list[Outcome]"]


class OnnxModule:
    """Outputs of exported graphs.  ``together`` exports many modules at once, where the exporter gains by it."""

    observes: tuple[str, ...] = ("output", "dtype", "shape")

    def __init__(
        self,
        name: str,
        export: Exporter,
        together: Together | None,
        models: Models | None = None,
        *,
        plans: Plans | None = None,
        runs: KeptRuns | None = None,
        needs: tuple[str, ...] = ("torch",),
    ) -> None:
        self.name = name
        self._export = export
        self._together = together
        self._models = Models() if models is None else models
        self._plans = Plans() if plans is None else plans
        self._runs = KeptRuns() if runs is None else runs
        self._sessions = Sessions()
        self._needs = needs

    def available(self) -> str | None:
        return not_installed(*self._needs)

    def versions(self) -> dict[str, str]:
        return versions_of("torch", "onnx", "onnxruntime", *(name for name in self._needs if name != "torch"))

    def unsupported(self, case: Case) -> str | None:
        if case.raises is not None:
            return "checks torch's own exception"
        if "int64" in (case.dtype, case.param_dtype):
            return "checks how torch treats integers"
        if case.optimizer is not None and case.optimizer.implementation != "default":
            return "checks torch's own implementation of the optimizer"
        if case.layout != "contiguous":
            return "tensors of ONNX have no layout but the contiguous one"
        return None

    def prepare(self, cases: Sequence[Case]) -> None:
        """Export all steps of these cases, many at a time; ``run`` then finds the models ready."""
        if self._together is None:
            return
        waiting: list[Planned] = []
        digests: set[str] = set()
        for case in cases:
            if self.unsupported(case) is not None or self._runs.complete(case):
                continue
            missing = self._missing(case)
            waiting += missing
            digests.update(planned.digest for planned in missing)
            if len(digests) >= TOGETHER:
                self._export_waiting(waiting)
                waiting, digests = [], set()
        self._export_waiting(waiting)

    def _missing(self, case: Case) -> list[Planned]:
        """The steps of a case whose graphs nobody made yet; what torch refuses has none, which run says."""
        kept = self._plans.known(case)
        if kept is not None and all(self._entry(step) is not None for step in kept.steps):
            return []  # and its inputs need not be made for this
        try:
            return [planned for planned in self._plans.of(case, make_inputs(case)) if self._entry(planned) is None]
        except Unsupported:
            return []

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
        return planned.whole if bytewise else planned.digest

    def _entry(self, planned: Planned | KeptStep) -> Made | Failed | None:
        entry = self._models.entry(planned.digest)
        if isinstance(entry, Bytewise):
            entry = self._models.entry(planned.whole)
            assert not isinstance(entry, Bytewise)
        return entry

    def _keep(self, planned: Planned, outcome: onnx.ModelProto | Unsupported) -> None:
        entry: Entry = Failed(str(outcome)) if isinstance(outcome, Unsupported) else template(outcome, planned.values)
        self._models.keep(planned.digest, entry)
        if isinstance(entry, Bytewise) and not isinstance(outcome, Unsupported):
            self._models.put(planned.whole, outcome)

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """The outputs of all steps.

        Raises:
            Unsupported: the exporter or the runtime refuses a step, in its own words.
        """
        steps = []
        seconds = 0.0
        optimise = case.export.optimisation == "all"
        sessions = None if draws(case) else self._sessions  # one that has drawn goes on where it was
        for number, (ready, given) in enumerate(zip(self._ready(case, inputs), inputs.steps, strict=True)):
            seed_runtime(case, number)
            output, took = run_graph(ready.graph, given.x, optimise=optimise, sessions=sessions)
            step = observed(output)
            step.arrays.update(arrays_of(ready.trained))
            steps.append(_with_nodes(step, ready.opened, given.x) if ready.opened else step)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def _ready(self, case: Case, inputs: Inputs) -> Iterator[ReadyStep]:
        """The graphs of all steps, each when it is asked for; what is put together anew for a case is kept.

        Raises:
            Unsupported: torch, the exporter or the checker of onnx refuses a step, in its own words.
        """
        own = inputs.are_of(case)
        known = self._runs.steps(case) if own else ()
        for ready in known:
            if ready.refused:
                raise Unsupported(ready.refused)
            yield ready
        if len(known) == len(case.steps):
            return
        steps = list(known)
        later: list[Planned] = []
        try:
            later += self._plans.of(case, inputs)[len(known) :]
            while later:
                steps.append(self._made(case, later.pop(0)))
                yield steps[-1]
        except Unsupported as words:
            later.clear()
            steps.append(ReadyStep(b"", str(words)))
            raise
        finally:  # also where the runtime refuses a step, and nobody asks for the next
            if own:
                self._runs.keep(case, [*steps, *self._at_hand(case, later)])

    def _at_hand(self, case: Case, later: Sequence[Planned]) -> Iterator[ReadyStep]:
        """What later steps come to, as far as their graphs are exported already."""
        for planned in later:
            if self._entry(planned) is None:
                return
            try:
                yield self._made(case, planned)
            except Unsupported as words:
                yield ReadyStep(b"", str(words))
                return

    def _made(self, case: Case, planned: Planned) -> ReadyStep:
        graph = self.graph(planned)
        trained = tuple(kept_tensor(name, array) for name, array in planned.trained.items())
        if OPS[case.op].nodes is None:
            return ReadyStep(graph, trained=trained)
        from conformance.backends.onnx_capture import add_intermediates  # networks alone need it

        opened = add_intermediates(onnx.load_model_from_string(graph)).SerializeToString()
        return ReadyStep(graph, trained=trained, opened=opened)

    def investigate(self, failure: Failure) -> str:
        """Who lost the numbers: the exporter, the optimiser or a kernel; and the graph, for others to run."""
        case = failure.case
        planned = self._plans.of(case, failure.inputs)
        ends = tuple(replace(step, nodes=()) for step in failure.observation.steps)
        if OPS[case.op].nodes is not None and failure.agrees(Observation(ends)):
            return "lost by a kernel of onnxruntime: nodes are judged as the graph was written, each from its own input"
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
        """The graph of a step, with its state.  Raises as ``graph`` does."""
        return onnx.load_model_from_string(self.graph(planned))

    def graph(self, planned: Planned) -> bytes:
        """The same, serialised.

        Raises:
            Unsupported: the exporter, or the checker of onnx, refuses, in its own words.
        """
        found = self._entry(planned)
        if found is None:
            from conformance.backends.tensors import to_tensor

            try:
                self._keep(planned, self._export(planned.module, to_tensor(planned.example), planned.form))
            except Exception as error:  # noqa: BLE001 - the exporter's own words are the outcome
                self._keep(planned, stated("export", error))
            found = self._entry(planned)
        assert found is not None
        if isinstance(found, Failed):
            raise Unsupported(found.words)
        return bind(found, planned.values)


def _with_nodes(step: StepObservation, opened: bytes, x: Array) -> StepObservation:
    """The same step of a network, with every node of its graph as it was written, before any optimisation."""
    from conformance.backends.onnx_capture import capture_opened  # networks alone need it

    model = onnx.load_model_from_string(opened)
    try:
        nodes = capture_opened(model, {model.graph.input[0].name: x})
    except UsageError as error:
        raise Unsupported(f"with all tensors as outputs: {error.message}") from error
    return replace(step, nodes=tuple(node for node in nodes if node.kind != "Constant"))


def run_graph(
    graph: bytes | onnx.ModelProto, x: Array, *, optimise: bool = True, sessions: Sessions | None = None
) -> tuple[Array, float]:
    """The first output and the seconds that it took.

    Raises:
        Unsupported: the runtime refuses, in its own words.
    """
    model = graph if isinstance(graph, bytes) else graph.SerializeToString()
    own = Sessions() if sessions is None else sessions
    try:
        return _run_with(own, model, x, optimise=optimise)
    finally:
        if sessions is None:
            own.close()


def _run_with(sessions: Sessions, model: bytes, x: Array, *, optimise: bool) -> tuple[Array, float]:
    try:
        session = sessions.of(model, optimise=optimise)
    except Exception as error:
        raise stated("load", error) from error
    try:
        return run_model(session, x)
    except Exception as error:
        raise stated("run", error) from error


def _trained_alike(observation: Observation, planned: Sequence[Planned]) -> Observation:
    """The observation with the parameters that torch had, from which its steps are judged."""
    return replace(
        observation,
        steps=tuple(
            replace(step, arrays=step.arrays | dict(each.trained))
            for step, each in zip(observation.steps, planned, strict=True)
        ),
    )


class LateBatchExport:
    """Exports many modules in few calls, and imports what that takes when it is first asked to."""

    def __init__(self) -> None:
        self._made: Together | None = None

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        if self._made is None:
            from conformance.backends.batch_export import BatchExport

            self._made = BatchExport()
        return self._made(jobs)


def with_dynamo(module: torch.nn.Module, x: torch.Tensor, form: Form) -> onnx.ModelProto:
    from conformance.backends import exporters

    return exporters.with_dynamo(module, x, form)


def with_script(module: torch.nn.Module, x: torch.Tensor, form: Form) -> onnx.ModelProto:
    from conformance.backends import exporters

    return exporters.with_script(module, x, form)


def onnx_dynamo() -> OnnxModule:
    needs = ("torch", "onnxscript")
    models = Models.kept("dynamo")
    plans, runs = kept_plans(), KeptRuns.kept("dynamo")
    return OnnxModule("onnx-dynamo", with_dynamo, LateBatchExport(), models, plans=plans, runs=runs, needs=needs)


def onnx_script() -> OnnxModule:
    """The TorchScript exporter takes milliseconds, so there is nothing to gain by exporting together."""
    models, runs = Models.kept("script"), KeptRuns.kept("script")
    return OnnxModule("onnx-script", with_script, None, models, plans=kept_plans(), runs=runs)
