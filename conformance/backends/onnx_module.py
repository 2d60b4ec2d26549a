"""A layer after deployment: exported to ONNX by torch and run by onnxruntime on the CPU.

Every step is a graph of its own, exported from a copy of the torch module in the mode of that step.  Between the steps
the torch module itself trains on, as it does in practice: one trains in torch and exports what came of it.  So the
graph of step k holds the buffers that torch had after step k - 1, and only outputs are observed.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import msgspec
import onnx
import onnxruntime
import torch

from conformance.backends.batch_export import BatchExport, Job, Outcome
from conformance.backends.exporters import Exporter, with_dynamo, with_script
from conformance.backends.modules import arguments, build, factory_of, load_state
from conformance.backends.onnxruntime_session import load_model, run_model
from conformance.backends.reasons import stated
from conformance.backends.tensors import shape_name, to_array, to_tensor
from conformance.inputs import Inputs, make_inputs
from conformance.observation import Array, Observation, StepObservation, Unsupported
from conformance.suite.case import Case, Mode

TOGETHER = 128  # modules in one call: beyond this the cost per module hardly falls
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Planned:
    """One step to export: the module in its mode (a copy) and the input.

    ``kind`` is what exportability mostly depends on; ``digest`` is all that the resulting graph depends on.
    """

    module: torch.nn.Module
    x: Array
    kind: str
    digest: str


class Models:
    """Exported models and failures to export, by digest; the least recently used go when they grow too large."""

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._outcomes: OrderedDict[str, onnx.ModelProto | Unsupported] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._outcomes

    def get(self, digest: str) -> onnx.ModelProto | Unsupported | None:
        if digest not in self._outcomes:
            return None
        self._outcomes.move_to_end(digest)
        return self._outcomes[digest]

    def put(self, digest: str, outcome: onnx.ModelProto | Unsupported) -> None:
        self._outcomes[digest] = outcome
        self._held += _size(outcome)
        while self._held > self._limit and len(self._outcomes) > 1:
            self._held -= _size(self._outcomes.popitem(last=False)[1])


def _size(outcome: onnx.ModelProto | Unsupported) -> int:
    return 0 if isinstance(outcome, Unsupported) else int(outcome.ByteSize())


class OnnxModule:
    """Outputs of exported graphs.  ``together`` exports many modules at once, where the exporter gains by it."""

    observes: tuple[str, ...] = ("output", "dtype", "shape")

    def __init__(
        self,
        name: str,
        export: Exporter,
        together: Callable[[Sequence[Job]], list[Outcome]] | None,
    ) -> None:
        self.name = name
        self._export = export
        self._together = together
        self._models = Models()

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
        waiting: dict[str, Planned] = {}
        for case in cases:
            if self.unsupported(case) is not None:
                continue
            try:
                for planned in plan(case, make_inputs(case)):
                    if planned.digest not in self._models:
                        waiting[planned.digest] = planned
            except Unsupported:
                continue  # run meets it again, and says so
            if len(waiting) >= TOGETHER:
                self._export_waiting(waiting)
                waiting = {}
        self._export_waiting(waiting)

    def _export_waiting(self, waiting: dict[str, Planned]) -> None:
        if self._together is None or not waiting:
            return
        jobs = [Job(planned.kind, planned.module, to_tensor(planned.x)) for planned in waiting.values()]
        for digest, outcome in zip(waiting, self._together(jobs), strict=True):
            self._models.put(digest, stated("export", outcome) if isinstance(outcome, Exception) else outcome)

    def run(self, case: Case, inputs: Inputs) -> Observation:
        steps = []
        seconds = 0.0
        for planned in plan(case, inputs):
            model = self._model(planned)
            try:
                session = load_model(model)
            except Exception as error:
                raise stated("load", error) from error
            try:
                output, took = run_model(session, planned.x)
            except Exception as error:
                raise stated("run", error) from error
            structure = {"dtype": output.dtype.name, "shape": shape_name(output.shape)}
            steps.append(StepObservation({"output": output}, structure))
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def _model(self, planned: Planned) -> onnx.ModelProto:
        found = self._models.get(planned.digest)
        if found is None:
            try:
                found = self._export(planned.module, to_tensor(planned.x))
            except Exception as error:  # noqa: BLE001 - the exporter's own words are the outcome
                found = stated("export", error)
            self._models.put(planned.digest, found)
        if isinstance(found, Unsupported):
            raise Unsupported(*found.args)
        return found


def onnx_dynamo() -> OnnxModule:
    return OnnxModule("onnx-dynamo", with_dynamo, BatchExport())


def onnx_script() -> OnnxModule:
    """The TorchScript exporter takes milliseconds, so there is nothing to gain by exporting together."""
    return OnnxModule("onnx-script", with_script, None)


def plan(case: Case, inputs: Inputs) -> Iterator[Planned]:
    """What to export at each step; the torch module moves its buffers from one to the next.

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
    for mode, given in zip(case.steps, inputs.steps, strict=True):
        module.train(mode == "train")
        kind = msgspec.json.encode((case.op, case.args, mode)).decode()
        planned = Planned(copy.deepcopy(module), given.x, kind, _digest(case, mode, module))
        if mode == "train":
            _move(module, to_tensor(given.x))
        yield planned


def _move(module: torch.nn.Module, x: torch.Tensor) -> None:
    """Let the module see the batch as in training; without buffers nothing would come of it."""
    if next(module.buffers(), None) is None:
        return
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            module(x)
        except Exception as error:
            raise stated("torch", error) from error


def _digest(case: Case, mode: Mode, module: torch.nn.Module) -> str:
    """Everything that an exported graph depends on: the layer, its mode, the shape, and the bytes of its state."""
    layer = (case.op, case.args, case.shape, case.dtype, case.param_dtype, mode)
    found = hashlib.sha256(msgspec.json.encode(layer))
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(to_array(tensor).tobytes())
    return found.hexdigest()
