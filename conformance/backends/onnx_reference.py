"""What an exported graph means, by the evaluator that ONNX itself ships: the graphs of onnx-dynamo, run in NumPy.

Where it disagrees with onnxruntime, one of the two reads the graph otherwise than it is written; where both agree and
the case fails, the exporter wrote something else than the layer.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from conformance.backends.arrays import Array
from conformance.backends.failure import Failure
from conformance.backends.models import Models
from conformance.backends.onnx_evidence import observed, write_backend_test
from conformance.backends.onnx_module import LateBatchExport, OnnxModule, with_dynamo
from conformance.backends.plans import kept_plans
from conformance.backends.reasons import stated
from conformance.backends.seeds import seed_graph
from conformance.inputs import Inputs
from conformance.observation import Observation
from conformance.suite.case import Case


class OnnxReference(OnnxModule):
    """Outputs of exported graphs under the reference evaluator."""

    def versions(self) -> dict[str, str]:
        return {name: version for name, version in super().versions().items() if name != "onnxruntime"}

    def run(self, case: Case, inputs: Inputs) -> Observation:
        """The outputs of all steps.

        Raises:
            Unsupported: the exporter or the evaluator refuses a step, in its own words.
        """
        steps, seconds = [], 0.0
        for number, planned in enumerate(self._plans.of(case, inputs)):
            model = self.model(planned)
            seed_graph(model, case, number)
            output, took = evaluated(model, planned.x)
            step = observed(output)
            step.arrays.update(planned.trained)
            steps.append(step)
            seconds += took
        return Observation(tuple(steps), None, seconds)

    def investigate(self, failure: Failure) -> str:
        """The graph, for others to run; who lost the numbers is for the backends to say that have a runtime."""
        if failure.folder is None:
            return ""
        step = failure.step
        planned = self._plans.of(failure.case, failure.inputs)[step]
        write_backend_test(failure.folder, self.model(planned), [planned.x], [failure.expected[step]["output"]])
        return f"step {step} as a test of an ONNX backend: {failure.folder}"


def evaluated(model: onnx.ModelProto, x: Array) -> tuple[Array, float]:
    """The first output and the seconds that it took.

    Raises:
        Unsupported: the checker or the evaluator refuses, in its own words.
    """
    try:
        onnx.checker.check_model(model)
        evaluator = ReferenceEvaluator(model)
    except Exception as error:
        raise stated("load", error) from error
    feed = {given.name: np.array(x, order="C", copy=True) for given in model.graph.input}
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # NumPy warns of means of nothing, which is not what is tested
            output: Any = evaluator.run(None, feed)  # a list of outputs, whatever the annotation says
    except Exception as error:
        raise stated("run", error) from error
    seconds = time.perf_counter() - started
    return np.array(output[0], order="C", copy=True), seconds


def onnx_reference() -> OnnxReference:
    needs = ("torch", "onnxscript")
    models = Models.kept("dynamo")
    return OnnxReference("onnx-reference", with_dynamo, LateBatchExport(), models, plans=kept_plans(), needs=needs)
