"""The contributor's guide, carried out as it is written."""

from __future__ import annotations

import re
import sys
from collections import Counter
from math import prod
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from conformance import power
from conformance.backends.torch_module import torch_cpu
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.ops import OPS
from conformance.ops.entry import Argument, Op
from conformance.suite.loader import load_suite
from references.mistakes import MISTAKES, Mistake

GUIDE = Path(__file__).parents[2] / "docs" / "new-layer.md"


def block(name: str) -> str:
    """The fenced block whose first line names the file."""
    found = re.findall(rf"```\w+\n# {re.escape(name)}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1, f"{name} stands once in {GUIDE.name}"
    return str(found[0])


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Reference, entry and case file of the guide in their places; nothing of it stays."""
    reference = ModuleType("references.leaky_relu")
    exec(block("references/leaky_relu.py"), reference.__dict__)
    monkeypatch.setitem(sys.modules, "references.leaky_relu", reference)
    entry: dict[str, Op] = {}
    exec(block("conformance/ops/layers.py"), {"Op": Op, "Argument": Argument, "prod": prod}, entry)
    (op,) = entry.values()
    monkeypatch.setitem(OPS, op.name, op)
    file = tmp_path / "leaky_relu.yaml"
    file.write_text(block("cases/leaky_relu.yaml"), encoding="utf-8")
    return load_suite([file])


def test_every_case_of_the_guide_runs_and_the_counts_are_those_that_it_shows(suite) -> None:
    backend, verdicts = torch_cpu(), Counter[str]()
    for case in suite.cases:
        inputs = make_inputs(case)
        judgement = judge(case, Expectation(case, inputs), backend.run(case, inputs), backend.observes)
        verdicts[judgement.verdict] += 1
        assert judgement.verdict == "pass", (case.id, judgement.reason)
    said = f"{len(suite.cases)} cases on torch-cpu: {verdicts['pass']} pass\n"
    assert said in GUIDE.read_text(encoding="utf-8")


def test_the_mistakes_of_the_guide_are_seen_and_counted_as_it_shows(suite, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, tuple[Mistake, ...]] = {}
    exec(block("references/mistakes/elementwise.py"), {"Mistake": Mistake, "np": np}, made)
    (mistakes,) = made.values()
    for mistake in mistakes:
        monkeypatch.setitem(MISTAKES, mistake.id, mistake)
    found = [seen for group in power.lint(suite.cases) for seen in group]
    assert all(each.ok and each.seen for each in found), found
    said = f"{len(mistakes)} mistakes, {len(found)} by op and dtype: {len(found)} seen, 0 below the limit, 0 wrong\n"
    assert said in GUIDE.read_text(encoding="utf-8")


def test_the_guide_names_files_that_exist() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 4
    for link in links:
        assert (GUIDE.parent / link).exists(), link
