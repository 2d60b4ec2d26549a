"""``conformance check`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.suite.loader import load_suite

NORM = """
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        super().__init__()
        self.eps, self.shape = eps, normalized_shape
        self.gamma = nn.Parameter(torch.ones(normalized_shape)) if elementwise_affine else None
        self.beta = nn.Parameter(torch.zeros(normalized_shape)) if elementwise_affine and bias else None

    def forward(self, x):
        y = nn.functional.layer_norm(x, self.shape, self.gamma, self.beta, self.eps)
        return y * WRONG


class Other(nn.Module):
    def __init__(self, C, epsilon=1e-5):
        super().__init__()


def refuses_all(x, params, buffers, *, training, **args):
    raise NotImplementedError("tomorrow")
"""
CASES = """
spec: 1
op: LayerNorm
defaults: {steps: [train, eval], data: scaled}
cases:
  - {id: plain, shape: [8, 6]}
  - {id: wide, shape: [8, 6], dtype: float64}
"""


@pytest.fixture
def check(call, tmp_path):
    """``check(candidate, ...)`` in a folder with ``norms.py``, which is right, and ``wrong.py``, which is 1 % off."""
    (tmp_path / "norms.py").write_text(NORM.replace("WRONG", "1.0"))
    (tmp_path / "wrong.py").write_text(NORM.replace("WRONG", "1.01"))
    (tmp_path / "few.yaml").write_text(CASES)

    def run(candidate, *arguments, like="LayerNorm"):
        # without the search for the cause, which takes seconds
        given = ("--in-process", "--case-file", "few.yaml", "--tools", "conformance.checking.judging:trial_tools")
        return call("check", candidate, "--like", like, *given, *arguments)

    return run


def test_a_right_layer_ends_with_0_and_says_how_much_of_the_allowance_it_used(check):
    ended = check("norms.py:Norm")
    assert ended.code == 0
    assert "2 cases: 2 pass\n" in ended.out
    assert "everything that ran agrees with the definition of LayerNorm; at worst 0." in ended.out
    assert not Path("cases").exists()


def test_a_wrong_layer_ends_with_1_and_its_smallest_case_is_saved_where_check_and_run_find_it(check, call):
    ended = check("wrong.py:Norm", "--shrink", "10")
    assert ended.code == 1
    assert "2 cases: 2 fail\n" in ended.out
    (file,) = Path("cases/found").iterdir()
    assert f"saved         {file}\n" in ended.out
    (case,) = load_suite([file]).cases
    assert len(case.shape) == 1
    assert check("wrong.py:Norm", "--case-file", str(file), "--no-save", "--shrink", "0").code == 1
    assert list(Path("cases/found").iterdir()) == [file]
    (again,) = [line.strip().removeprefix("again         ") for line in ended.out.splitlines() if "again  " in line]
    assert again == f"conformance run {file} --backend 'check:wrong.py:Norm?like=LayerNorm' --in-process"
    backend = "check:wrong.py:Norm?like=LayerNorm&map.gamma=weight"
    ran = call("run", str(file), "--backend", backend, "--in-process")
    assert ran.code == 1
    assert "1 fail" in ran.out


def test_nothing_is_shrunk_or_saved_unless_wanted(check):
    ended = check("wrong.py:Norm", "--shrink", "0")
    assert "smallest" not in ended.out
    assert "again         conformance run --key" in ended.out
    assert not Path("cases").exists()


def test_found_cases_go_where_they_are_asked_for(check):
    check("wrong.py:Norm", "--shrink", "10", "--save", "elsewhere")
    assert len(list(Path("elsewhere").iterdir())) == 1


def test_worker_processes_find_the_candidate_in_this_folder(check, call):
    ended = call("check", "norms:Norm", "--like", "LayerNorm", "--case-file", "few.yaml", "--workers", "1")
    assert ended.code == 0
    assert ended.out.startswith("norms:Norm as LayerNorm on cpu\n")


def test_a_mapping_and_a_kind_are_said_on_the_command_line(check):
    ended = check("norms:Norm", "--map", "gamma=weight", "--map", "beta=bias", "--as", "module")
    assert ended.code == 0
    assert "taken for     module (as asked)" in ended.out
    assert "weight = gamma (as given)" in ended.out


def test_forward_alone_is_said(check):
    assert "forward only  gradients were not checked, as asked" in check("norms:Norm", "--only", "forward").out


def test_the_report_is_kept_and_can_be_drawn_again(check, call):
    ended = check("wrong:Norm", "--shrink", "0", "-o", "report.txt")
    assert Path("report.txt").read_text() == ended.out
    again = call("report")
    assert again.code == 0
    assert "2 fail" in again.out


@pytest.mark.parametrize(
    ("candidate", "arguments", "says"),
    [
        ("nomrs:Norm", (), "there is no module 'nomrs'; did you mean 'norms'"),
        ("norms:Nrom", (), "norms has no 'Nrom'; did you mean 'Norm'"),
        ("norms", (), "'norms' names no candidate"),
        ("norms:nn", (), "torch.nn is a module, not a layer"),
        ("norms:Other", (), "conformance check adapter.py:adapter --like LayerNorm"),
        ("norms:Norm", ("--device", "tpuu"), "'tpuu' is not a device of torch\nsuch as cpu, cuda, xpu, mps, or cuda:1"),
        ("norms:Norm", ("--map", "gamma"), "--map gamma: not of the form YOURS=TORCHS"),
        ("norms:Norm", ("--map", "gamma=wieght"), "did you mean 'weight'"),
        ("norms:Norm", ("--map", "gama=weight"), "did you mean 'gamma'"),
    ],
)
def test_what_cannot_be_used_ends_with_4_in_a_few_words_and_no_traceback(check, candidate, arguments, says):
    ended = check(candidate, *arguments)
    assert ended.code == 4
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_the_adapter_that_is_told_can_be_pasted_and_checked(check):
    Path("called.py").write_text(
        "import norms\n\n\n"
        "class Norm(norms.Norm):\n"
        "    def __init__(self, dim, epsilon, use_affine=True, use_bias=True):\n"
        "        super().__init__(dim, epsilon, use_affine, use_bias)\n"
    )
    ended = check("called.py:Norm")
    assert ended.code == 4
    assert ended.err.count("write an adapter") == 1
    adapter = "# adapter.py" + ended.err.partition("# adapter.py")[2]
    assert adapter.rstrip().endswith("# conformance check adapter.py:adapter --like LayerNorm")
    Path("adapter.py").write_text(adapter)
    assert check("adapter.py:adapter").code == 0


def test_an_unknown_op_ends_with_4(check):
    ended = check("norms:Norm", like="LayerNrom")
    assert ended.code == 4
    assert "'LayerNrom' is not an op; did you mean 'LayerNorm'" in ended.err


def test_nothing_checked_ends_with_5_and_says_so(check):
    ended = check("norms:refuses_all")
    assert ended.code == 5
    assert "not run       2 cases: tomorrow" in ended.out
    assert ended.out.endswith("nothing was checked\n")
    assert check("norms:Norm", "-k", "no_such_word").code == 5


def test_a_device_that_is_missing_ends_with_5(check):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    ended = check("norms:Norm", "--device", "cuda")
    assert ended.code == 5
    assert f"no CUDA device (torch {torch.__version__})" in ended.out
