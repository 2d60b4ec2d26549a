"""A stored run with one record of every verdict, for the tests of the reports."""

from __future__ import annotations

from collections import Counter

import msgspec
from conformance_fakes import OVER, make_case

from conformance.engine.plan import plain_record
from conformance.engine.store import StoredRun
from conformance.record import Figure, Footer, Header

CLOSE = Figure(quantity="grad_input", step=0, budget=0.64)
SHAPE = Figure(quantity="shape", step=0, budget=None, got="4x3", expected="3x4", ok=False)

HEADER = Header(
    conformance="0.1.0",
    versions={"numpy": "2.4.6", "onnx": "1.23.2", "onnxruntime": "1.31.1", "torch": "2.13.0+cpu"},
    machine={"system": "Linux", "machine": "x86_64", "python": "3.11.7", "cuda": "none (no CUDA device)"},
    cases=9,
    backends=("torch-cpu", "torch-cuda", "onnx-dynamo"),
    missing={"torch-cuda": "no CUDA device"},
    left_out={"onnx-dynamo": 1234},
    extra={
        "divergences": {"gap": {"why": "drops <train> mode | always", "see": "https://x/1", "where": "cases/f.yaml:52"}}
    },
)


def record(number, verdict, reason="", *, backend="torch-cpu", op="BatchNorm2d", **fields):
    plain = plain_record(make_case(number, op=op), backend, verdict, reason)
    return msgspec.structs.replace(plain, **fields)


def every_verdict() -> tuple:
    gap = {"backend": "onnx-dynamo", "divergence": "gap", "figures": (OVER,)}
    return (
        record(0, "pass", figures=(CLOSE,)),
        record(1, "fail", "step 1 output: error 4.1 x allowed", figures=(OVER, SHAPE, CLOSE)),
        record(2, "error", "ValueError in step 0: bad; the definition has a value here", detail="Traceback\n  line"),
        record(
            3, "crash", "the worker died with SIGSEGV", detail="Fatal Python error: Segmentation fault\n\x1b[31mred\x00"
        ),
        record(4, "timeout", "did not end within its limit of 60 s", op="LayerNorm"),
        record(5, "known", "drops <train> mode", **gap),
        record(6, "fixed", "divergence gap (cases/f.yaml:52:3) is no longer seen here: delete it", **gap),
        record(7, "unsupported", "export: no aten::fake", backend="onnx-dynamo"),
        record(8, "missing", "no CUDA device", backend="torch-cuda"),
    )


def stored(records=None, *, complete=True, header=HEADER) -> StoredRun:
    records = every_verdict() if records is None else tuple(records)
    verdicts = dict(Counter(record.verdict for record in records))
    footer = Footer(records=len(records), verdicts=verdicts, seconds=12.0) if complete else None
    return StoredRun(msgspec.structs.replace(header, expected=len(records)), records, footer)
