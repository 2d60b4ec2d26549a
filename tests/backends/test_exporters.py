"""Calling torch's exporters."""

from __future__ import annotations

import copy
import logging

import onnx
import pytest
import torch

from conformance.backends.exporters import with_dynamo, with_script
from conformance.backends.form import Form

EXPORTERS = pytest.mark.parametrize("export", [with_dynamo, with_script])


@EXPORTERS
def test_an_export_is_a_well_formed_model_with_one_input_and_one_output(export):
    model = export(torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["LayerNormalization"]
    assert (len(model.graph.input), len(model.graph.output)) == (1, 1)


@EXPORTERS
def test_an_opset_is_had_as_asked_for_or_refused(export):
    model = export(torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6), Form(opset=18))
    assert [each.version for each in model.opset_import if not each.domain] == [18]
    with pytest.raises(Exception, match=r"opset|99"):
        export(torch.nn.LayerNorm(6).eval(), torch.zeros(2, 6), Form(opset=99))


@EXPORTERS
def test_dynamic_axes_are_open_in_input_and_output(export):
    model = export(torch.nn.BatchNorm2d(3).eval(), torch.zeros(4, 3, 6, 7), Form(dynamic=(0, 2, 3)))
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert [bool(size.dim_param) for size in sizes] == [True, False, True, True]


@EXPORTERS
def test_an_exporter_says_nothing(export, capfd, caplog):
    export(torch.nn.BatchNorm2d(3).train(), torch.ones(2, 3, 2, 2))
    captured = capfd.readouterr()
    heard = [record for record in caplog.records if record.levelno > logging.DEBUG]  # torch traces itself in DEBUG
    assert (captured.out, captured.err, heard) == ("", "", [])


def test_an_exporter_that_fails_says_nothing_either(capfd):
    with pytest.raises(Exception, match="aten::rms_norm"):
        with_script(torch.nn.RMSNorm(6).eval(), torch.zeros(2, 6))
    with pytest.raises(torch.onnx.OnnxExporterError):
        with_dynamo(torch.nn.BatchNorm2d(3, momentum=None).train(), torch.ones(2, 3, 2, 2))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_script_exporter_trains_the_module_that_it_is_given():
    """Which is why only copies are exported."""
    module = torch.nn.BatchNorm2d(3).train()
    before = copy.deepcopy(module.state_dict())
    with_script(module, torch.ones(2, 3, 2, 2))
    assert not torch.equal(module.running_mean, before["running_mean"])
