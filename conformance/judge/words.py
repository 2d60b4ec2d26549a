"""Figures in words."""

from __future__ import annotations

from conformance.record import Figure


def describe(figure: Figure) -> str:
    """One figure in one sentence."""
    place = f"step {figure.step} {figure.quantity}"
    if figure.budget is None:
        at = f" at {list(figure.index)}" if figure.index else ""
        return f"{place}: got {figure.got}{at}, expected {figure.expected}"
    ulps = "" if figure.ulps is None else f" ({figure.ulps:.3g} ulp)"
    return (
        f"{place}: error {figure.budget:.3g} x allowed at {list(figure.index)}: got {figure.got}, "
        f"expected {figure.expected}{ulps}, {figure.exceeding} of {figure.size} values"
    )
