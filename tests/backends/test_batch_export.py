"""Exporting many modules in one call."""

from __future__ import annotations

import itertools

import pytest
import torch

from conformance.backends import batch_export
from conformance.backends.batch_export import BatchExport, Job
from conformance.backends.exporters import with_dynamo
from conformance.backends.form import Form
from conformance.backends.planning import plan
from conformance.inputs import make_inputs
from conformance.ops.normalisation import NORMALISATION
from conformance.suite.case import Export


def _bytes(model):
    return model.SerializeToString(deterministic=True)


def _jobs(cases):
    planned = itertools.chain.from_iterable(plan(case, make_inputs(case)) for case in cases)
    return [one.job() for one in planned]


def _layer_norms(count):
    return [Job("good", torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6 * k)[:, :6]) for k in range(1, count + 1)]


def _bad(kind="bad"):
    """The exporter cannot trace the cumulative average, which reads a count from a tensor."""
    return Job(kind, torch.nn.BatchNorm2d(3, momentum=None).train(), torch.ones(2, 3, 2, 2))


def test_every_op_is_exported_the_same_alone_and_among_others(case_of):
    extra = {"InstanceNorm2d": {"affine": True, "track_running_stats": True}, "GroupNorm": {"num_groups": 3}}
    ops = [op.name for op in NORMALISATION]
    jobs = _jobs(case_of(op, args=extra.get(op, {}), steps=("train", "eval")) for op in ops)
    together = BatchExport()(jobs)
    modes = {job.kind: job for job in jobs}  # one per op and mode
    assert len(modes) == len(jobs) == 2 * len(ops)
    for job, model in zip(jobs, together, strict=True):
        if job.module.training or job.kind.startswith(('["Batch', '["Instance')):
            assert _bytes(model) == _bytes(with_dynamo(job.module, job.x)), job.kind


def test_dynamic_graphs_are_exported_the_same_alone_and_among_others(case_of):
    dynamic = Export(dynamic=True, opset=18)
    jobs = _jobs(case_of(op, export=dynamic, steps=("eval",)) for op in ("BatchNorm2d", "LayerNorm", "GroupNorm"))
    fixed = Job("fixed", torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6), form=Form(opset=18))
    *together, _ = BatchExport()([*jobs, fixed])
    for job, model in zip(jobs, together, strict=True):
        assert _bytes(model) == _bytes(with_dynamo(job.module, job.x, job.form)), job.kind


def test_jobs_of_several_opsets_are_exported_each_in_its_own():
    jobs = [
        Job("norm", torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6), form=Form(opset=opset))
        for opset in (18, None, 21, 18)
    ]
    opsets = [model.opset_import[0].version for model in BatchExport()(jobs)]
    assert (opsets[0], opsets[2], opsets[3]) == (18, 21, 18)


def test_equal_layers_stay_apart(case_of):
    jobs = _jobs(case_of("LayerNorm", params="default", seed=seed) for seed in (0, 1, 2))
    models = BatchExport()(jobs)
    assert len({_bytes(model) for model in models}) == 1
    assert all(len(model.graph.node) == 1 for model in models)


def test_only_the_module_that_cannot_be_exported_fails():
    outcomes = BatchExport()([*_layer_norms(2), _bad(), *_layer_norms(1)])
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True, False]
    assert isinstance(outcomes[2], torch.onnx.OnnxExporterError)


def test_what_breaks_a_call_is_found_at_once_and_the_rest_is_exported_together(monkeypatch):
    calls = []
    together, alone = batch_export._together, batch_export.with_dynamo
    monkeypatch.setattr(batch_export, "_together", lambda jobs: calls.append(len(jobs)) or together(jobs))
    monkeypatch.setattr(batch_export, "with_dynamo", lambda *given: calls.append("alone") or alone(*given))
    outcomes = BatchExport()([*_layer_norms(2), _bad(), *_layer_norms(1), _bad(), _bad("another kind")])
    assert calls == [6, "alone", "alone", 3]
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True, False, True, True]
    assert outcomes[2] is outcomes[4]


def test_a_kind_that_failed_does_not_spoil_another_call(monkeypatch):
    export = BatchExport()
    export([_bad()])
    calls = []

    def together(jobs):
        calls.append(len(jobs))
        return [None] * len(jobs)

    monkeypatch.setattr(batch_export, "_together", together)
    outcomes = export([*_layer_norms(2), _bad(), *_layer_norms(1)])
    assert calls == [3]
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True, False]


def test_a_module_of_a_suspect_kind_that_can_be_exported_is(monkeypatch):
    export = BatchExport()
    export([_bad("kind")])
    good = [Job("kind", torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6)) for _ in range(2)]
    outcomes = export([*good, _bad("kind")])
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, True]


def test_a_failing_call_is_halved(monkeypatch):
    calls = []

    def together(jobs):
        calls.append(len(jobs))
        if any(job.kind == "culprit" for job in jobs):
            raise RuntimeError("somebody here")
        return [job.kind for job in jobs]

    def alone(*given):
        raise RuntimeError("me")

    monkeypatch.setattr(batch_export, "_together", together)
    monkeypatch.setattr(batch_export, "with_dynamo", alone)
    kinds = ["a", "b", "c", "d", "e", "culprit", "f", "g"]
    outcomes = BatchExport()([Job(kind, torch.nn.Identity(), torch.zeros(1)) for kind in kinds])
    assert calls == [8, 4, 4, 2, 2]
    assert [str(outcome) for outcome in outcomes[:4]] == ["a", "b", "c", "d"]
    assert str(outcomes[5]) == "me"


def test_nothing_to_export_is_nothing_exported():
    assert BatchExport()([]) == []


@pytest.mark.parametrize("count", [1, 3])
def test_outcomes_come_in_the_order_of_the_jobs(count):
    outcomes = BatchExport()(_layer_norms(count))
    assert len(outcomes) == count
