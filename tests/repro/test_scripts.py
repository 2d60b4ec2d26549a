"""Scripts are executed where nothing of ours can be imported, and show the error that the harness found."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.record import Record
from conformance.repro.fault import Fault
from conformance.repro.find import _fault
from conformance.repro.script import MOST_LINES, lines_of, written

LONGEST = 90  # lines of a whole step that is exported, with what must be taken apart for it
ALLOWED_IMPORTS = {"torch", "numpy", "onnx", "onnxruntime"}

RUNNER = """
import builtins, contextlib, io, json, runpy, sys, traceback, warnings
warnings.simplefilter("ignore")

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("conformance", "references"):
            raise ModuleNotFoundError(f"no {name} here")

sys.meta_path.insert(0, Nothing())
results = []
for script in SCRIPTS:
    said = io.StringIO()
    sys.argv = [script]
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        code, _ = 99, said.write(traceback.format_exc())
    results.append((code, said.getvalue()))
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("conformance", "references"))
print(json.dumps({"results": results, "ours": ours}))
"""


def executed(scripts: list[Path]) -> list[tuple[int, str]]:
    """Exit code and output of each script, all in one interpreter that cannot import our packages."""
    import json

    text = RUNNER.replace("SCRIPTS", repr([str(each) for each in scripts]))
    done = subprocess.run([sys.executable, "-I", "-c", text], capture_output=True, text=True, check=True, timeout=300)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ours"] == [], "a script imported something of ours"
    return [(code, said) for code, said in told["results"]]


def imported_by(text: str) -> set[str]:
    """The packages that a script imports, in whatever line."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found


def check(faults: list[Fault], folder: Path) -> None:
    """Each script fails, and prints the error at the index of the harness's figure; without the fault it succeeds."""
    scripts = []
    for place, fault in enumerate(faults):
        text = written(fault)
        assert imported_by(text) - set(sys.stdlib_module_names) <= ALLOWED_IMPORTS, fault.record.id
        assert 20 <= lines_of(text) <= LONGEST, fault.record.id
        scripts.append(folder / f"script{place}.py")
        scripts[-1].write_text(text)
    gone = folder / "gone.py"  # a fault within its allowance: the script does not fail by itself
    shown = next(script for script, fault in zip(scripts, faults, strict=True) if fault.kind == "value")
    gone.write_text(re.sub(r"ALLOWED = (\(.*?\), |)\S+", r"ALLOWED = \g<1>1e99", shown.read_text()))
    *results, (code, said) = executed([*scripts, gone])
    assert code == 0, said
    for fault, (code, said) in zip(faults, results, strict=True):
        where = f"{fault.record.id} on {fault.backend.name}:\n{said}"
        assert code == 1, where
        if fault.kind == "value" and fault.figure.error is not None:
            error = float(re.search(r"error (\S+), allowed", said)[1])
            alone = " " in fault.quantity  # of one layer of a network, run by itself
            step = 0 if alone else fault.figure.step
            assert f"{fault.quantity.split(' ')[-1]}{list(fault.figure.index)} of step {step}" in said, where
            assert error == pytest.approx(fault.figure.error, rel=1e-3, abs=2e-4 * fault.figure.allowed), where


def test_torch_scripts_of_every_op_show_the_same_error(faults, tmp_path):
    found = list(faults("torch-cpu", "-torch-"))
    assert {fault.case.op for fault in found} >= {
        "BatchNorm2d",
        "InstanceNorm1d",
        "LayerNorm",
        "GroupNorm",
        "LocalResponseNorm",
    }
    assert {fault.kind for fault in found} >= {"value", "raises", "accepts"}
    assert all(20 <= lines_of(written(fault)) <= MOST_LINES for fault in found), "too long to be pasted"
    check(found, tmp_path)


def test_exported_scripts_show_the_same_error(faults, tmp_path):
    small = lambda case: len(case.steps) <= 2  # noqa: E731 - a word for the call below
    found = [
        *faults("onnx-training", "batch_norm_1d-onnx-training", wanted=small),
        *faults(
            "onnx-script",
            "layer_norm-onnx-epsilon",
            "group_norm-onnx-script-mixed",
            "batch_norm_1d-onnx-epsilon",
            wanted=small,
        ),
        *faults("onnx-dynamo", "batch_norm_1d-onnx-dynamo-training", wanted=small),
    ]
    assert {fault.backend.name for fault in found} == {"onnx-training", "onnx-script", "onnx-dynamo"}
    check(found, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx-dynamo", "onnx-script", "onnx-training", "onnx-reference", "onnx-step"])
def test_every_declared_divergence_of_an_exporter_has_a_script_that_shows_it(faults, tmp_path, backend):
    found = list(faults(backend, "-", wanted=lambda case: 0 not in case.shape))  # onnxruntime dies of some empty ones
    assert len(found) > 4
    check(found, tmp_path)


def test_a_network_that_is_off_as_a_whole_is_shown_beside_its_modules_in_float64(faults, tmp_path):
    found = list(faults("onnx-dynamo", "mlp-onnx-epsilon"))
    assert [fault.whole for fault in found] == [True]
    text = written(found[0])
    assert "twin = copy.deepcopy(layer).double()" in text
    assert 20 <= lines_of(text) <= MOST_LINES
    check(found, tmp_path)


def test_a_step_that_is_exported_shows_the_same_error_before_and_after_its_update(faults, tmp_path):
    found = list(faults("onnx-step", "procedures-linear-step", "rms_norm-step-small-eps"))
    assert [fault.quantity.partition(".")[0] for fault in found] == ["param", "grad_input"]
    assert all("expected = {" not in written(fault) for fault in found), "the formula is inline"
    check(found, tmp_path)


def test_the_death_of_a_process_is_shown_from_outside(suite, tmp_path):
    plain = (case for case in suite.cases if case.op == "GroupNorm" and case.layout == "contiguous")
    case = next(case for case in plain if 0 in case.shape and case.raises is None and case.dtype == "float32")
    record = Record(
        id=case.id, key=case.key, backend="onnx-script", op=case.op, dtype=case.dtype, verdict="known",
        reason="onnxruntime dies (the worker died with SIGFPE)",
    )  # fmt: skip
    fault = _fault(case, "onnx-script", record, suite.divergences)
    assert fault.kind == "dies"
    script = tmp_path / "dies.py"
    script.write_text(written(fault))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1
    assert re.search(r"the child ended with -\d+, expected 0", done.stdout)
