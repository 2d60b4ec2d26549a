"""Plans on disk: made once, for the inputs for which they hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from conformance.backends import planning
from conformance.backends.export_cache import ExportCache
from conformance.backends.planning import plan
from conformance.backends.plans import Plans
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.suite.case import Optimizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def disk(tmp_path) -> ExportCache:
    return ExportCache(tmp_path)


@pytest.fixture
def planned(monkeypatch):
    """How many plans torch made."""
    made = []

    def counting(case, inputs):
        made.append(case)
        return plan(case, inputs)

    monkeypatch.setattr(planning, "plan", counting)
    return made


def _same(one, other) -> bool:
    def shown(each):
        arrays = {**each.state, **{f"trained.{name}": array for name, array in each.trained.items()}}
        return (
            each.mode,
            each.digest,
            each.whole,
            each.x.tobytes(),
            [(name, array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()],
        )

    return [shown(each) for each in one] == [shown(each) for each in other]


CASES = [
    ("BatchNorm2d", {"steps": ("train", "train", "eval")}),
    ("BatchNorm2d", {"steps": ("train", "eval"), "dtype": "bfloat16", "param_dtype": "bfloat16"}),
    ("BatchNorm2d", {"steps": ("train", "eval"), "params": "default", "buffers": "default"}),
    ("BatchNorm1d", {"steps": ("train", "train", "eval"), "args": {"momentum": None}}),
    ("BatchNorm2d", {"steps": ("train", "train", "eval"), "resets": (1,)}),
    ("LayerNorm", {"steps": ("train", "train", "eval"), "optimizer": Optimizer(lr=0.1, momentum=0.9)}),
    ("LocalResponseNorm", {"steps": ("eval",), "args": {"size": 3}}),
]


@pytest.mark.parametrize(("op", "fields"), CASES)
def test_a_plan_that_is_read_is_the_one_that_was_made(op, fields, disk, planned, case_of):
    case = case_of(op, **fields)
    inputs = make_inputs(case)
    expected = list(plan(case, inputs))
    assert _same(Plans(disk=disk).of(case, inputs), expected)
    again = Plans(disk=disk)
    assert _same(again.of(case, inputs), expected)
    assert _same(again.of(case, inputs), expected)
    assert len(planned) == 1


def test_other_inputs_are_planned_anew(disk, planned, case_of):
    """Data move buffers in training, and no plan is taken for that of other data."""
    case = case_of("BatchNorm2d", steps=("train", "eval"))
    Plans(disk=disk).of(case, make_inputs(case))
    other = make_inputs(case)
    other.steps[0].x[...] *= 2
    assert _same(Plans(disk=disk).of(case, other), list(plan(case, other)))
    assert len(planned) == 2


def test_data_that_move_nothing_are_not_asked_about(disk, planned, case_of):
    case = case_of("BatchNorm2d", steps=("train", "eval"))
    Plans(disk=disk).of(case, make_inputs(case))
    other = make_inputs(case)
    other.steps[1].x[...] *= 2
    assert np.array_equal(Plans(disk=disk).of(case, other)[1].x, other.steps[1].x)
    assert len(planned) == 1


def test_another_case_or_toolchain_finds_no_plan(disk, planned, case_of):
    case = case_of("LayerNorm", steps=("eval",))
    Plans(disk=disk, scope="torch 2.12").of(case, make_inputs(case))
    assert Plans(disk=disk, scope="torch 2.12").known(case) is not None
    assert Plans(disk=disk, scope="torch 2.13").known(case) is None
    assert Plans(disk=disk, scope="torch 2.12").known(msgspec.structs.replace(case, seed=1)) is None


def test_a_refusal_of_torch_is_remembered_in_its_words(disk, planned, case_of):
    case = case_of("BatchNorm1d", shape=(1, 3), steps=("train",))
    for _ in range(2):
        with pytest.raises(Unsupported, match=r"^torch: ValueError: Expected more than 1 value per channel"):
            Plans(disk=disk).of(case, make_inputs(case))
    assert len(planned) == 1


def test_want_of_memory_is_not_remembered(disk, monkeypatch, case_of):
    case = case_of("LayerNorm", steps=("eval",))

    def refusing(case, inputs):
        raise Unsupported("torch: RuntimeError: not enough memory: you tried to allocate")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(planning, "plan", refusing)
        with pytest.raises(Unsupported, match="not enough memory"):
            Plans(disk=disk).of(case, make_inputs(case))
    assert len(Plans(disk=disk).of(case, make_inputs(case))) == 1


def test_what_is_whole_but_no_plan_is_made_anew(disk, planned, case_of):
    case = case_of("LayerNorm", steps=("eval",))
    plans = Plans(disk=disk)
    disk.put(plans._name(case), msgspec.msgpack.encode("something else"))
    assert len(plans.of(case, make_inputs(case))) == 1
    assert len(Plans(disk=disk).of(case, make_inputs(case))) == len(planned) == 1


WARM = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from conformance.backends import load
from conformance.engine.tools import standard
from conformance.engine.execute import SharedCase, execute, take_seat
from conformance.suite.loader import load_suite
suite = load_suite([Path({root!r}) / "cases/batch_norm_1d.yaml"])
cases = [case for case in suite.cases if case.group == "semantics"][:6]
tools = standard()
for name in ("onnx-script", "onnx-step"):
    seat = take_seat(name, tools)
    seat.backend.prepare(cases)
    for case in cases:
        print(execute(SharedCase(case, tools), seat, tools, {{}}).verdict, seat.versions["torch"])
print("torch" in sys.modules)
"""


def test_a_run_over_a_full_cache_imports_no_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("CONFORMANCE_CACHE_DIR", str(tmp_path))

    def run():
        command = [sys.executable, "-W", "ignore", "-c", WARM.format(root=str(ROOT))]
        *verdicts, imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return verdicts, imported

    cold, warm = run(), run()
    assert cold[1] == "True"
    assert warm == (cold[0], "False")
