"""Candidates of every kind, run as backends and judged like torch."""

from __future__ import annotations

from collections import Counter
from functools import cache

import candidates
import pytest

from conformance.backends import load
from conformance.backends.candidate.spec import Spec
from conformance.checking.judging import trial_tools
from conformance.checking.quick import quick_set
from conformance.checking.remarks import REMARK
from conformance.engine.execute import SharedCase, execute, take_seat
from conformance.inputs import make_inputs
from conformance.suite.loader import load_suite, shipped_cases

LAYER_NORM = {
    "layer_norm": "function",
    "layer_norm_by_names": "function",
    "numpy_layer_norm": "function",
    "NumpyLayerNorm": "object",
    "AutogradLayerNorm": "autograd",
    "TensorLayerNorm": "object",
    "OwnTensorLayerNorm": "object",
}
BATCH_NORM = {"batch_norm": "function", "Renamed": "module", "factory": "factory", "Uncounted": "module"}


@cache
def shipped(op):
    names = ("layer_norm.yaml", "batch_norm_2d.yaml", "procedures.yaml")
    return [case for case in load_suite([shipped_cases() / name for name in names]).cases if case.op == op]


@cache
def quick(op):
    cases = [case for case in shipped(op) if "slow" not in case.marks]
    return [case for case in quick_set(cases) if not case.optimizer and not case.resets]


TOOLS = trial_tools()


@cache
def shared(key, op):
    """A case with its inputs and expectation, computed once for all candidates."""
    return SharedCase(next(case for case in shipped(op) if case.key == key), TOOLS)


def run(name, like, cases=None, **fields):
    spec = Spec(f"candidates:{name}", like, **fields)
    seat = take_seat(str(spec), TOOLS)
    assert seat.backend is not None, seat.missing
    return [execute(shared(case.key, like), seat, TOOLS, {}) for case in cases or quick(like)]


def told(records):
    lines = [
        line
        for record in records
        for figure in record.figures
        if figure.source == REMARK and figure.quantity == "candidate"
        for line in figure.got.splitlines()
    ]
    return Counter(lines)


@pytest.mark.parametrize(("name", "kind"), LAYER_NORM.items())
def test_a_right_layer_norm_of_every_kind_passes_and_is_taken_for_what_it_is(name, kind):
    records = run(name, "LayerNorm")
    verdicts = Counter(record.verdict for record in records)
    bad = [(record.id, record.reason) for record in records if record.verdict not in ("pass", "unsupported")]
    assert not bad
    assert verdicts["pass"] > verdicts["unsupported"]
    assert all(line.partition(" ")[0] == kind for line in told(records) if "(" in line and " = " not in line)


@pytest.mark.parametrize(("name", "kind"), BATCH_NORM.items())
def test_a_right_batch_norm_of_every_kind_passes_with_its_buffers(name, kind):
    records = run(name, "BatchNorm2d")
    bad = [(record.id, record.reason) for record in records if record.verdict not in ("pass", "unsupported")]
    assert not bad
    compared = {figure.quantity for record in records for figure in record.figures}
    assert {"output", "grad_input", "grad.weight", "buffer.running_mean", "buffer.running_var"} <= compared
    assert any(line.startswith(f"{kind} (") for line in told(records))


def test_a_numpy_function_without_a_gradient_is_judged_forward_alone_and_says_so():
    records = run("numpy_layer_norm", "LayerNorm")
    compared = {figure.quantity for record in records for figure in record.figures if figure.source != REMARK}
    assert "output" in compared
    assert not any(name.startswith("grad") for name in compared)
    assert any("forward only: it has no backward" in line for line in told(records))


def test_a_numpy_function_with_a_gradient_is_judged_by_both():
    records = run("numpy_layer_norm", "LayerNorm", backward="candidates:numpy_layer_norm_gradient")
    assert {record.verdict for record in records} == {"pass", "unsupported"}
    compared = {figure.quantity for record in records for figure in record.figures}
    assert {"output", "grad_input", "grad.weight", "grad.bias"} <= compared


def test_a_function_on_tensors_may_bring_a_gradient_too():
    records = run("layer_norm", "LayerNorm", backward="candidates:tensor_gradient")
    assert {record.verdict for record in records} <= {"pass", "unsupported"}
    compared = {figure.quantity for record in records for figure in record.figures}
    assert {"output", "grad_input", "grad.weight", "grad.bias"} <= compared


def test_numpy_is_not_asked_for_bfloat16():
    records = run("numpy_layer_norm", "LayerNorm")
    half = [record for record in records if record.dtype == "bfloat16"]
    assert half
    assert {record.verdict for record in half} == {"unsupported"}


def test_names_shapes_and_plain_attributes_are_told():
    lines = told(run("Renamed", "BatchNorm2d"))
    assert lines["weight = gamma (known name, reshaped)"]
    assert lines["running_var = moving_var (known name, reshaped, attribute, so missing from the state_dict)"]
    assert lines["num_batches_tracked = count (known name, attribute, so missing from the state_dict)"]


def test_a_count_that_is_not_kept_is_a_remark_and_no_failure():
    records = run("Uncounted", "BatchNorm2d")
    assert told(records)["num_batches_tracked is not kept, and is not compared"]
    assert not any(figure.quantity.endswith("tracked") and not figure.ok for r in records for figure in r.figures)


def test_what_a_candidate_says_that_it_cannot_do_is_unsupported_in_its_own_words():
    records = run("Uncounted", "BatchNorm2d")
    assert "there is no cumulative average here" in {record.reason for record in records}


def test_a_kernel_that_torch_lacks_is_a_refusal_where_one_is_expected():
    cases = [case for case in shipped("LayerNorm") if case.dtype == "int64"]
    assert {record.verdict for record in run("Plain", "LayerNorm", cases)} == {"pass"}


def test_a_gradient_of_its_own_that_is_wrong_fails(monkeypatch):
    right = candidates.numpy_layer_norm_gradient
    monkeypatch.setattr(candidates, "numpy_layer_norm_gradient", lambda *a, **k: (right(*a, **k)[0] * 1.01, {}))
    records = run("NumpyLayerNorm", "LayerNorm")
    bad = {f.quantity for r in records if r.verdict == "fail" for f in r.figures if not f.ok}
    assert bad == {"grad_input", "grad.weight", "grad.bias"}


def test_forward_alone_leaves_gradients_out():
    records = run("TailDropped", "LayerNorm", forward_only=True)
    assert {record.verdict for record in records} <= {"pass", "unsupported"}
    assert {record.verdict for record in run("TailDropped", "LayerNorm")} >= {"fail"}


def test_a_mapping_decides_where_nothing_else_can():
    cases = [case for case in quick("LayerNorm") if case.params != "default"]
    records = run("Unclear", "LayerNorm", cases, names={"p": "weight", "q": "bias"})
    assert {record.verdict for record in records} == {"pass"}
    assert told(records)["weight = p (as given)"]


def test_without_a_mapping_the_unclear_is_answered_with_the_mapping_to_write():
    records = run("Unclear", "LayerNorm")
    asked = {figure.got for record in records for figure in record.figures if figure.source == "usage"}
    assert any("--map p=weight --map q=bias" in text and "map={'p': 'weight', 'q': 'bias'}" in text for text in asked)


def test_an_optimizer_updates_a_module_under_its_own_names():
    cases = [case for case in shipped("BatchNorm2d") if case.optimizer]
    wide = [case for case in cases if case.dtype in ("float32", "float64")]
    records = run("Renamed", "BatchNorm2d", wide)
    assert {record.verdict for record in records} == {"pass"}
    assert any(figure.quantity == "param.weight" for record in records for figure in record.figures)


def test_what_an_optimizer_cannot_hold_is_unsupported():
    cases = [case for case in shipped("BatchNorm2d") if case.optimizer][:2]
    assert {record.verdict for record in run("batch_norm", "BatchNorm2d", cases)} == {"unsupported"}


def test_a_candidate_is_loaded_like_any_backend_and_carries_its_own_name(case_of):
    name = "check:candidates:Renamed?like=BatchNorm2d"
    backend = load(name)
    assert backend.name == name
    assert backend.available() is None
    assert backend.unsupported(case_of("LayerNorm")) == "Renamed is judged as BatchNorm2d"
    case = case_of("BatchNorm2d")
    assert backend.run(case, make_inputs(case)).raised is None


def test_a_network_is_a_module_and_nothing_else():
    assert load("check:conformance.backends.networks:LeNet?like=LeNet").available() is None
    why = load("check:candidates:layer_norm?like=LeNet").available()
    assert "layer_norm is a function, and LeNet is a network, judged layer by layer" in why


def test_a_network_is_looked_into_like_torchs_own():
    (case,) = [case for case in load_suite([shipped_cases() / "lenet.yaml"]).cases if case.id.endswith("::float64")]
    backend = load("check:conformance.backends.networks:LeNet?like=LeNet")
    seen = backend.run(case, make_inputs(case))
    assert seen.raised is None
    assert seen.steps[0].modules
    assert seen.steps[0].structure["candidate"].startswith("module (")


def test_cuda_is_missing_for_candidates_too():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    missing = load("check:candidates:Renamed?like=BatchNorm2d&device=cuda").available()
    assert missing == f"no CUDA device (torch {torch.__version__})"
