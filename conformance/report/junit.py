"""The report as JUnit XML, as CI systems read it: one suite per backend, one test case per record."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from conformance.engine.store import StoredRun
from conformance.record import Record
from conformance.report.summary import INTERRUPTED, Summary
from conformance.report.wording import failure_text

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # what XML 1.0 cannot hold


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("?", text)


def junit(run: StoredRun) -> str:
    """The whole report; an interrupted run has an error of its own, so that nobody takes it for complete."""
    root = ET.Element("testsuites", name="conformance")
    for name in run.header.backends:
        records = [record for record in run.records if record.backend == name]
        suite = ET.SubElement(root, "testsuite", name=name, tests=str(len(records)))
        for record in records:
            _add(suite, record, Summary(run).paths)
        _count(suite)
    if Summary(run).exit_code == INTERRUPTED:
        suite = ET.SubElement(root, "testsuite", name="run", tests="1")
        case = ET.SubElement(suite, "testcase", classname="conformance", name="complete")
        message = f"interrupted after {len(run.records)} of {run.header.expected} records"
        ET.SubElement(case, "error", message=message, type="interrupted")
        _count(suite)
    for kind in ("tests", "failures", "errors", "skipped"):
        root.set(kind, str(sum(int(suite.get(kind, "0")) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _count(suite: ET.Element) -> None:
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(kind, str(sum(case.find(tag) is not None for case in suite)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in suite):.3f}")


def _add(suite: ET.Element, record: Record, paths: tuple[str, ...]) -> None:
    file, _, line = record.where.rpartition(":")
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{record.op}.{record.backend}",
        name=_clean(f"{record.id}[{record.backend}]"),
        file=file,
        line=line,
        time=f"{record.seconds:.3f}",
    )
    match record.verdict:
        case "fail" | "error" | "crash" | "timeout":
            tag = "failure" if record.verdict == "fail" else "error"
            element = ET.SubElement(case, tag, message=_clean(record.reason), type=record.verdict)
            element.text = _clean(failure_text(record, paths))
        case "unsupported" | "missing":
            ET.SubElement(case, "skipped", message=_clean(f"{record.verdict}: {record.reason}"))
        case "known" | "fixed":
            ET.SubElement(case, "system-out").text = _clean(f"{record.verdict} {record.divergence}: {record.reason}")
        case _:
            pass
