"""What a failure tells to do next."""

from __future__ import annotations

import msgspec
import pytest

from conformance.explain.pages import MISTAKE_PAGES
from conformance.explain.topics import TOPICS
from conformance.record import Cause, Figure, Record
from conformance.report.onward import onward, reproduce, topic
from conformance.report.wording import again


def failed(quantity="output", dtype="float32", verdict="fail", **given):
    figure = Figure(quantity=quantity, step=0, budget=3.0, ok=False)
    return Record(
        id="x::y", key="0123456789ab", backend="onnx-dynamo", op="LayerNorm", dtype=dtype, verdict=verdict,
        figures=(figure,), **given,
    )  # fmt: skip


def test_the_command_names_the_pair_and_the_case_files():
    assert reproduce(failed()) == "conformance repro 0123456789ab --backend onnx-dynamo"
    assert reproduce(failed(), ["my cases.yaml"]).endswith("--path 'my cases.yaml'")


def test_the_code_of_somebody_else_is_run_again_by_a_command_that_a_shell_takes_and_has_no_script():
    mine = msgspec.structs.replace(failed(), backend="check:my.py:Norm?like=LayerNorm&as=module")
    assert [line.partition(":")[0] for line in onward(mine)] == ["next"]
    assert again(mine) == "conformance run --key 0123456789ab --backend 'check:my.py:Norm?like=LayerNorm&as=module'"
    assert "--backend onnx-dynamo" in again(failed())


@pytest.mark.parametrize(
    ("quantity", "dtype", "about"),
    [
        ("buffer.running_mean", "float32", "running-mean"),
        ("buffer.running_var", "float16", "running-var"),
        ("1 (BatchNorm2d) buffer.running_var", "float32", "running-var"),
        ("buffer.num_batches_tracked", "float32", "momentum-none"),
        ("output", "bfloat16", "low-precision-accumulation"),
        ("grad_input", "float64", "allowance"),
    ],
)
def test_the_page_is_that_of_the_quantity(quantity, dtype, about):
    assert topic(failed(quantity, dtype)) == about
    assert about in TOPICS


def test_the_likely_cause_comes_first_where_it_has_a_page():
    cause = Cause(op="LayerNorm", backend="onnx-dynamo", mistakes=(("nobody-knows", "eps-outside-sqrt"),))
    elsewhere = Cause(op="LayerNorm", backend="torch-cpu", mistakes=(("eps-missing",),))
    assert topic(failed(), (elsewhere, cause)) == "eps-outside-sqrt"
    assert topic(failed(), (elsewhere,)) == "allowance"
    assert "eps-outside-sqrt" in MISTAKE_PAGES


def test_a_failure_has_both_lines_a_crash_the_script_alone_and_a_pass_none():
    assert [line.partition(":")[0] for line in onward(failed())] == ["reproduce", "next"]
    assert [line.partition(":")[0] for line in onward(failed(verdict="crash"))] == ["reproduce"]
    assert onward(failed(verdict="pass")) == []
