from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.suite.loader import load_suite
from conformance.suite.problems import CaseFileError
from conformance.suite.suite import Suite

HEAD = "spec: 1\nop: BatchNorm2d\n"
WHOLE = "# whole\n"  # a text that begins so stands for itself


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Suite]:
    """Loads texts, each after a head unless it has its own, as the files a.yaml, b.yaml, ... of the current folder."""
    monkeypatch.chdir(tmp_path)

    def load(*texts: str) -> Suite:
        files = [Path(f"{'abcdef'[place]}.yaml") for place in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text if text.startswith(("spec:", WHOLE)) else HEAD + text, encoding="utf-8")
        return load_suite(files)

    return load


@pytest.fixture
def problems(load: Callable[..., Suite]) -> Callable[..., list[str]]:
    """The problems of texts, each as ``line:col path message``; the head takes two lines."""

    def problems(*texts: str) -> list[str]:
        with pytest.raises(CaseFileError) as caught:
            load(*texts)
        return [f"{each.line}:{each.col} {each.path} {each.message}" for each in caught.value.problems]

    return problems
