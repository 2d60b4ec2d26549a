"""Backends that do on purpose what real ones do by accident; a case says what in its ``about``."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass

import msgspec

from conformance.engine.execute import Tools
from conformance.observation import Observation, Raised, Unsupported
from conformance.record import Figure, Verdict
from conformance.suite.case import Case, Origin

OVER = Figure(
    quantity="output",
    step=1,
    budget=4.1,
    got="0.5127",
    expected="0.5142",
    index=(1, 0, 3),
    ulps=6.6,
    exceeding=4,
    size=48,
    relative=0.003,
    ok=False,
)
NAUGHTY = ("fake-a", "torch-cpu")  # the backends that do what a case's ``about`` says; the others behave
_ran: list[str] = []


def make_case(number: int, about: str = "", *, op: str = "BatchNorm2d", **fields) -> Case:
    """A case ``fake::n<number>`` whose ``about`` tells the fake backend ``fake-a`` what to do."""
    return Case(
        id=f"fake::n{number}",
        key=f"{number:012x}",
        op=op,
        args={},
        shape=(2, 3),
        about=about,
        origin=Origin("cases/fake.yaml", 10 + number, 3),
        **fields,
    )


@dataclass
class FakeBackend:
    name: str
    observes: tuple[str, ...] = ()
    why_missing: str | None = None

    def available(self):
        return self.why_missing

    def versions(self):
        return {"fake": "1.0"}

    def unsupported(self, case):
        return "fakes do not do this" if case.about == "unsupported" else None

    def prepare(self, cases):
        if self.name in NAUGHTY:
            for case in cases:
                if case.about == "prepare-segfault":
                    segfault()
                if case.about == "prepare-raise":
                    raise RuntimeError("cannot prepare this")

    def run(self, case, inputs):
        first, _ran[:] = not _ran, [case.id]
        if self.name in NAUGHTY:
            misbehave(case.about, first=first)
        return Observation(steps=(), raised=Raised("E", case.about, 0) if case.about.startswith("judge-") else None)


def segfault():
    os.write(2, b"about to read address 0\n")
    ctypes.string_at(0)


def misbehave(about: str, *, first: bool) -> None:
    match about:
        case "segfault" | "prepare-segfault":
            segfault()
        case "exit":
            os._exit(7)
        case "casualty" if not first:
            segfault()
        case "hang":
            time.sleep(1000)
        case "hog":
            hoard = [bytearray(1 << 26) for _ in range(64)]
            for block in hoard:
                block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
            time.sleep(1000)
        case "slow":
            time.sleep(0.05)
        case "raise":
            raise ValueError("a fault of our own")
        case "late-unsupported":
            raise Unsupported("export: UnsupportedOperatorError: no aten::fake\nmore words")
        case "interrupt":
            raise KeyboardInterrupt


@dataclass
class Said:
    verdict: Verdict
    reason: str = ""
    figures: tuple[Figure, ...] = ()
    divergence: str = ""


def judge(case, expectation, observation, observes, divergences):
    if observation.raised is None:
        return Said("pass", figures=(Figure(quantity="output", step=0, budget=0.5),))
    verdict = observation.raised.message.removeprefix("judge-")
    figure = OVER if verdict == "fail" else msgspec.structs.replace(OVER, budget=0.25, ok=True)
    return Said(
        verdict, reason="as told", figures=(figure,), divergence="fake-gap" if verdict in ("known", "fixed") else ""
    )


def load(name: str):
    if name == "fake-uninstalled":
        raise ModuleNotFoundError("No module named 'fakeruntime'")
    if name == "fake-dies":
        segfault()
    return FakeBackend(name, why_missing="no fake device" if name in ("fake-missing", "torch-cuda") else None)


def tools() -> Tools:
    return Tools(
        load=load,
        make_inputs=lambda case: None,
        expect=lambda case, inputs: None,
        judge=judge,
        devices=lambda: {"cuda": "none"},
    )


def broken_tools() -> Tools:
    raise RuntimeError("these tools are broken")
