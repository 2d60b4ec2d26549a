"""In which form a graph is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """dynamic: the axes of the input whose sizes the graph must leave open.
    opset: the version of the ONNX operators; None is what the exporter chooses.
    """

    dynamic: tuple[int, ...] = ()
    opset: int | None = None


PLAIN = Form()
