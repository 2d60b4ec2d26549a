"""What calls of the exporter leave out changes no graph, lasts for the call alone, and needs no certain torch."""

from __future__ import annotations

import pytest
import torch
from torch._export import utils
from torch.fx import _lazy_graph_module as lazy
from torch.fx import config
from torch.onnx._internal.exporter import _capture_strategies as ways
from torch.onnx._internal.exporter._registration import ONNXRegistry

from conformance.backends.batch_export import BatchExport, Job
from conformance.backends.call_costs import many_together, one_registry
from conformance.backends.exporters import with_dynamo


def settings():
    return (
        config.do_not_emit_stack_traces,
        lazy._use_lazy_graph_module_flag,
        ways.CAPTURE_STRATEGIES,
        utils._materialize_cpp_cia_ops,
        ONNXRegistry.from_torchlib,
    )


@pytest.mark.parametrize("ending", [None, ValueError])
def test_torch_is_as_it_was_afterwards(ending):
    before = settings()
    try:
        with many_together():
            during = settings()
            if ending is not None:
                raise ending
    except ValueError:
        pass
    assert all(one != other for one, other in zip(before, during, strict=True))
    assert settings() == before


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (config, "do_not_emit_stack_traces"),
        (ways, "TorchExportNonStrictStrategy"),
        (utils, "_materialize_cpp_cia_ops"),
        (ONNXRegistry, "from_torchlib"),
    ],
)
def test_a_torch_that_keeps_one_of_them_elsewhere_is_left_alone_in_that(monkeypatch, place, name):
    before = settings()
    with monkeypatch.context() as patched:
        patched.delattr(place, name)
        with many_together():
            assert not hasattr(place, name)
            assert lazy._use_lazy_graph_module_flag
    assert settings() == before


def test_a_table_of_operators_is_read_once(monkeypatch):
    reads = []
    monkeypatch.setattr("conformance.backends.call_costs._REGISTRIES", {})
    monkeypatch.setattr(ONNXRegistry, "from_torchlib", staticmethod(lambda *given: reads.append(given) or given))
    for _ in range(2):
        with one_registry():
            assert ONNXRegistry.from_torchlib(18) == (18,)
    assert reads == [(18,)]


def test_the_dispatcher_is_asked_once_in_a_call(monkeypatch):
    asked = []
    monkeypatch.setattr(utils, "_materialize_cpp_cia_ops", lambda: asked.append(1))
    for calls in (1, 2):
        with many_together():
            utils._materialize_cpp_cia_ops()
            utils._materialize_cpp_cia_ops()
        assert len(asked) == calls


class OnlyStrict(torch.nn.Module):
    """What the way of capturing that is tried first refuses; only where the module itself is executed does it show."""

    def forward(self, x):
        if not torch.compiler.is_dynamo_compiling():
            raise ValueError("not this way")
        return x + 1


def test_a_module_that_needs_another_way_of_capturing_is_exported_by_itself_in_that():
    norm = Job("norm", torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6))
    jobs = [norm, Job("strict", OnlyStrict(), torch.zeros(2, 6)), norm]
    outcomes = BatchExport()(jobs)
    for job, outcome in zip(jobs, outcomes, strict=True):
        alone = with_dynamo(job.module, job.x)
        assert outcome.SerializeToString(deterministic=True) == alone.SerializeToString(deterministic=True)
