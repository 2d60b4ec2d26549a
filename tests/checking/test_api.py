"""``conformance.check`` as a test of somebody's own layer calls it."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import candidates
import pytest
import torch

import conformance
from conformance import CheckFailed, check
from conformance.backends.candidate.resolve import HELD, resolve
from conformance.checking import session
from conformance.checking.api import importable
from conformance.checking.wording import findings_text
from conformance.errors import NothingSelected, UsageError
from conformance.suite.loader import load_suite


@pytest.fixture(autouse=True)
def _no_search(monkeypatch, request):
    """The search for the cause takes seconds; one test is about it."""
    if "cause" not in request.node.name:
        monkeypatch.setattr(session, "TOOLS", session.TRIAL_TOOLS)


def quietly(candidate, files, **fields):
    """A check of a few cases without shrinking."""
    given = {"like": "LayerNorm", "case_files": files, "workers": 1, "shrink_seconds": 0} | fields
    return check(candidate, **given)


def failed(candidate, files, **fields):
    with pytest.raises(CheckFailed) as told:
        quietly(candidate, files, **fields)
    return told.value


def test_importing_conformance_imports_nothing_that_checking_needs():
    code = "import conformance, sys; print({'torch', 'numpy', 'conformance.checking'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_check_is_public_and_nothing_else_is_invented():
    assert conformance.check is check
    assert issubclass(CheckFailed, AssertionError)
    with pytest.raises(AttributeError, match="has no attribute 'chekc'"):
        conformance.chekc  # noqa: B018 - the attribute is what is asked for


def test_a_right_layer_passes_in_worker_processes(files):
    findings = quietly(torch.nn.LayerNorm, files)
    assert findings.exit_code == 0
    assert findings.counts == {"pass": 5}
    assert not findings.wanted.here


def test_a_wrong_layer_raises_the_report(files):
    told = failed("candidates:TailDropped", files, in_process=True)
    text = str(told)
    assert text.startswith("candidates:TailDropped as LayerNorm on cpu\n  taken for     module (a subclass of")
    assert "\n5 cases: 4 pass  1 fail\n  grad.weight   1 fail\n" in text
    assert "worst: few::ragged  step" in text
    assert "x allowed at" in text
    assert told.findings.exit_code == 1
    assert {group.symptom.sign for group in told.findings.failures} == {"grad.weight"}


def test_a_crash_and_a_hang_cost_their_cases_and_the_others_go_on(files):
    told = failed(candidates.CrashesAndHangs, files, case_seconds=6.0)
    assert told.findings.counts == {"pass": 3, "crash": 1, "timeout": 1}
    verdicts = {record.id: record.verdict for record in told.findings.records}
    assert (verdicts["few::empty"], verdicts["few::wide"]) == ("crash", "timeout")
    assert "SIGSEGV" in str(told)
    assert "the other cases went on" in str(told)


def test_a_local_class_is_checked_in_this_process_and_the_report_says_why(files):
    class Local(candidates.TailDropped):
        """Known to this function alone."""

    told = failed(Local, files, shrink_seconds=5)
    assert "in process" in str(told)
    assert "Local is not at the top of a module, so no worker process can import it" in str(told)
    assert told.findings.failures[0].smallest.case.shape == (2,)  # of one value xh is 0


def test_the_smallest_case_is_found_in_a_worker_and_saved(files, tmp_path):
    told = failed(candidates.TailDropped, files, shrink_seconds=20, save=tmp_path)
    (group,) = told.findings.failures
    case = group.smallest.case
    assert not group.smallest.hurried
    assert (case.shape, case.dtype, case.data, case.steps, case.args["eps"]) == (
        (2,), "float32", "normal", ("train",), 1e-5,
    )  # fmt: skip
    assert "smallest: shape [2], float32, train\n" in str(told)
    assert f"saved         {group.saved}" in str(told)
    assert load_suite([group.saved]).cases[0].key == case.key
    again = failed(candidates.TailDropped, (group.saved,), in_process=True)
    assert again.findings.counts == {"fail": 1}


def test_strictness_makes_a_missing_refusal_count(files):
    only = {"ids": ("few::refused",), "in_process": True}
    assert sum(key.startswith("refusal") for key in quietly(candidates.Unrefusing, files, **only).remarks) == 1
    told = failed(candidates.Unrefusing, files, strict=True, **only)
    assert [group.symptom.sign for group in told.findings.failures] == ["refusal"]


def test_the_likely_cause_is_named_with_what_it_explains(files):
    told = failed(candidates.EpsOutside, files, ids=("few::ragged",), in_process=True)
    assert "likely cause" in str(told)
    assert "eps" in told.findings.causes[0].mistakes[0][0]
    assert "conformance explain" in str(told)


def test_the_quick_set_is_told_as_what_it_is(files):
    text = findings_text(quietly(candidates.layer_norm, files, quick=True, in_process=True))
    assert "\n4 cases of 5 (quick): 4 pass\n" in text or "\n5 cases: 5 pass" in text


@pytest.mark.parametrize(
    ("candidate", "fields", "says"),
    [
        (candidates.layer_norm, {"like": "LayerNrom"}, "'LayerNrom' is not an op; did you mean 'LayerNorm'"),
        (candidates.layer_norm, {"kind": "magic"}, "'magic' is not a kind"),
        (
            candidates.TailDropped,
            {"map": {"gamma": "wieght"}},
            "'wieght' is not a tensor of LayerNorm; did you mean 'weight'",
        ),
        (candidates.TailDropped, {"map": {"weight": "gamma"}}, "did you mean gamma=weight"),
        (candidates.OtherSignature, {}, "requires 'num_channels'.*\nwrite an adapter, and check that instead"),
        (candidates.Unclear, {}, "--map p=weight --map q=bias"),
        (candidates.Bare, {}, "Bare has no parameters, and LayerNorm has weight, bias unless elementwise_affine=False"),
        (
            candidates.NeverMade,
            {},
            "NeverMade cannot be set up in any of .* cases: ValueError in construction: not today",
        ),
        (torch.nn.LayerNorm(3), {}, "an instance of LayerNorm was given"),
        ("candidates:layer_nrom", {}, "candidates has no 'layer_nrom'; did you mean 'layer_norm'"),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error_that_says_what_to_do(candidate, fields, says, files):
    with pytest.raises(UsageError, match=f"(?s){says}"):
        quietly(candidate, files, **{"in_process": True} | fields)


def test_a_test_that_fails_of_a_usage_error_shows_nothing_of_what_noticed_it(files):
    with pytest.raises(UsageError) as told:
        quietly(candidates.layer_norm, files, like="LayerNrom", in_process=True)
    assert {Path(str(entry.path)).name for entry in told.traceback} == {"test_api.py", "api.py"}
    assert all(entry.ishidden(told) for entry in told.traceback if Path(str(entry.path)).name == "api.py")


def test_one_dtype_may_stand_by_itself(files):
    (file,) = files
    alone = quietly(candidates.layer_norm, file, dtypes="float32", in_process=True)
    assert alone.counts == quietly(candidates.layer_norm, files, dtypes=("float32",), in_process=True).counts
    assert sum(alone.counts.values()) < sum(quietly(candidates.layer_norm, files, in_process=True).counts.values())


def test_a_candidate_that_takes_its_process_down_when_loaded_is_a_usage_error(files, tmp_path):
    deadly = tmp_path / "deadly.py"
    deadly.write_text("import ctypes\nctypes.string_at(0)\n")
    with pytest.raises(UsageError, match="Norm takes its process down when it is loaded: the worker died with SIGSEGV"):
        quietly(f"{deadly}:Norm", files)


def test_a_candidate_that_calls_sys_exit_costs_its_cases_no_process(files):
    with pytest.raises(CheckFailed, match=r"SystemExit in step 0: 3; the definition has a value here"):
        quietly(candidates.Leaving, files, in_process=True, shrink_seconds=0)


def test_a_script_that_checks_its_own_class_unguarded_is_told_instead_of_starting_workers_for_ever(files, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import conformance, torch\n\n\nclass Norm(torch.nn.LayerNorm):\n    pass\n\n\n"
        f"conformance.check(Norm, like='LayerNorm', case_files={files!r})\n"
    )
    with pytest.raises(UsageError, match=r"check is called while .*script\.py is imported, for the candidate in it"):
        quietly(f"{script}:Norm", files, in_process=True)


def test_a_check_of_nothing_does_not_pass(files):
    with pytest.raises(NothingSelected, match="nothing was checked"):
        quietly(candidates.Stub, files, in_process=True)
    with pytest.raises(NothingSelected, match="no case is selected"):
        quietly(candidates.layer_norm, files, keyword="no_such_word")


def test_workers_find_what_stands_at_the_top_of_a_module_and_files_serve_where_names_do_not():
    assert importable(candidates.Renamed) == ("candidates:Renamed", "")
    assert importable(torch.nn.LayerNorm) == ("torch.nn.modules.normalization:LayerNorm", "")
    target, why = importable(test_check_is_public_and_nothing_else_is_invented)
    assert target.rpartition(":")[2] == "test_check_is_public_and_nothing_else_is_invented"
    assert resolve(target).__name__ == "test_check_is_public_and_nothing_else_is_invented"
    assert not why


def test_workers_do_not_find_what_was_made_on_the_way(monkeypatch):
    assert "no name under which" in importable(type("Odd", (), {"__call__": lambda self: 1})())[1]
    assert "not at the top of a module" in importable(lambda x: x)[1]
    home = types.ModuleType("made_here")
    monkeypatch.setitem(sys.modules, "made_here", home)

    class Norm:
        __qualname__, __module__ = "Norm", "made_here"

    assert "is another object by now" in importable(Norm)[1]
    home.Norm = Norm
    assert "made_here is no file" in importable(Norm)[1]


def test_nothing_is_left_behind(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quietly(candidates.layer_norm, files, in_process=True)
    assert not list(tmp_path.iterdir())
    assert not HELD
