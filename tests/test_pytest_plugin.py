"""The plugin, in pytest runs of its own."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
FAKES = ROOT / "tests" / "fakes"
ASKED = ("-p", "conformance.pytest_plugin", "--conformance-tools", "conformance_fakes:tools", "-p", "no:cacheprovider")
CASES = """spec: 1
op: LayerNorm
defaults:
  shape: [2, 3]
  steps: [train]
cases:
"""


@pytest.fixture
def cases(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{FAKES}")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def write(*abouts):
        each = "".join(f"  - id: n{n}\n    about: '{about}'\n    seed: {n}\n" for n, about in enumerate(abouts))
        return pytester.path.joinpath("some.yaml").write_text(CASES + each)

    return write


def torch_only(pytester, *arguments):
    return pytester.runpytest_subprocess(*ASKED, "--conformance-backend", "torch-cpu", *arguments)


def test_it_does_nothing_unless_it_is_asked_for(pytester, cases):
    cases("")
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", ".")
    result.assert_outcomes()
    result.stdout.no_fnmatch_line("*conformance:*")


def test_it_can_be_asked_for_in_the_ini_file(pytester, cases):
    cases("")
    pytester.makeini("[pytest]\nconformance = true\naddopts = -p conformance.pytest_plugin")
    result = pytester.runpytest_subprocess("--conformance-tools", "conformance_fakes:tools", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)


def test_there_is_one_item_for_each_case_and_backend_named_after_both(pytester, cases):
    cases("", "")
    result = pytester.runpytest_subprocess(*ASKED, "--collect-only", "-q", "--conformance-exports=all")
    result.stdout.fnmatch_lines(
        [
            "some.yaml::some::n0?torch-cpu?",
            "some.yaml::some::n0?onnx-dynamo?",
            "some.yaml::some::n0?onnx-script?",
            "some.yaml::some::n1?torch-cpu?",
        ]
    )


def test_verdicts_become_outcomes(pytester, cases):
    cases("", "judge-fail", "judge-known", "judge-fixed", "unsupported", "raise")
    torch_only(pytester).assert_outcomes(passed=2, failed=2, xfailed=1, skipped=1)


def test_a_failure_reads_like_the_report_and_points_to_the_case_file(pytester, cases):
    cases("", "judge-fail")
    result = torch_only(pytester)
    result.stdout.fnmatch_lines(
        [
            "F  some::n1  torch-cpu  step 1 output    some.yaml:10",
            "   error 4.1 x allowed at [[]1, 0, 3[]]: got 0.5127, expected 0.5142 (6.6 ulp), 4 of 48 values",
            "   again: conformance run some.yaml --key * --backend torch-cpu",
        ]
    )


def test_skips_say_why(pytester, cases):
    cases("unsupported")
    torch_only(pytester, "-rs").stdout.fnmatch_lines(["*unsupported: fakes do not do this"])


def test_selection_by_keyword_node_id_and_first_failure_work(pytester, cases):
    cases("", "judge-fail", "judge-fail")
    torch_only(pytester, "-k", "n0").assert_outcomes(passed=1, deselected=2)
    torch_only(pytester, "some.yaml::some::n0[torch-cpu]").assert_outcomes(passed=1)
    torch_only(pytester, "-x").assert_outcomes(passed=1, failed=1)


def test_last_failed_runs_only_what_failed(pytester, cases):
    cases("", "judge-fail")
    asked = ("-p", "conformance.pytest_plugin", "--conformance-tools", "conformance_fakes:tools")
    pytester.runpytest_subprocess(*asked, "--conformance-backend", "torch-cpu").assert_outcomes(passed=1, failed=1)
    result = pytester.runpytest_subprocess(*asked, "--conformance-backend", "torch-cpu", "--lf")
    result.assert_outcomes(failed=1, deselected=1)


def test_it_works_on_two_xdist_workers(pytester, cases):
    cases("", "judge-fail", "", "")
    torch_only(pytester, "-n", "2").assert_outcomes(passed=3, failed=1)


def test_junit_xml_names_the_items(pytester, cases):
    cases("", "judge-fail")
    torch_only(pytester, "--junitxml=results.xml")
    names = [case.get("name") for case in ET.parse(pytester.path / "results.xml").iter("testcase")]
    assert names == ["n0[torch-cpu]", "n1[torch-cpu]"]


def test_a_broken_case_file_is_a_collection_error_with_its_line(pytester, cases):
    cases("")
    file = pytester.path / "some.yaml"
    file.write_text(file.read_text().replace("[train]", "[trian]"))
    result = torch_only(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*some.yaml:5:*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_other_yaml_files_are_left_alone(pytester, cases):
    cases("")
    pytester.path.joinpath("other.yaml").write_text("a: 1\n")
    torch_only(pytester, ".").assert_outcomes(passed=1)


def test_a_sampled_backend_is_told_in_the_summary(pytester, cases):
    cases("", "", "")
    result = pytester.runpytest_subprocess(*ASKED)
    result.stdout.fnmatch_lines(["2 cases were not sent to onnx-dynamo*"])


def test_collection_imports_no_framework_and_no_numpy(pytester, cases):
    cases("")
    pytester.makeconftest(
        """
        import sys
        def pytest_collection_finish(session):
            heavy = sorted({"torch", "onnx", "onnxruntime", "numpy"} & set(sys.modules))
            print("collected", len(session.items), "imported", heavy)
        """
    )
    result = pytester.runpytest_subprocess(*ASKED, "--collect-only", "-s", "-p", "no:hypothesispytest")
    result.stdout.fnmatch_lines(["*collected 3 imported []*"])
