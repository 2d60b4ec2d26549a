"""Mistakes in the affine map."""

from __future__ import annotations

from typing import Any

import numpy as np

from references.mistakes.catalogue import BIASED, NORMS, Mistake, right


def _of_weight(wrong: Any) -> Any:
    """affine() of a layer that has a weight; nobody adds 1 to a weight that is not there."""

    def affine(self: Any, xh: Any, w: Any, b: Any) -> Any:
        has_weight = self.args.get("affine", self.args.get("elementwise_affine", True))
        return wrong(self, xh, w, b) if has_weight else right(self).affine(xh, w, b)

    return affine


def _of_both(wrong: Any) -> Any:
    """affine() of a layer that has a weight and a bias."""

    def affine(self: Any, xh: Any, w: Any, b: Any) -> Any:
        return wrong(self, xh, w, b) if self.args.get("bias", True) else right(self).affine(xh, w, b)

    return _of_weight(affine)


def _neighbour(self: Any, params: Any, name: str, absent: float, X: Any, fold: Any) -> Any:
    shifted = params | {"weight": np.roll(params["weight"], 1)} if name == "weight" and name in params else params
    return right(self)._spread(shifted, name, absent, X, fold)  # noqa: SLF001 - the method that is replaced


def _back_to_the_neighbour(self: Any, f: Any, gy: Any) -> Any:
    """What reaches the weight that was taken."""
    return np.roll(right(self).weight_gradient(f, gy), -1)


AFFINE = (
    Mistake(
        "bias-before-scale", "w (xh + b) in place of w xh + b", "output", BIASED,
        {"affine": _of_both(lambda _self, xh, w, b: w * (xh + b))},
    ),
    Mistake(
        "weight-plus-one", "(1 + w) xh + b, the convention of libraries that initialise the weight with 0", "output",
        NORMS, {"affine": _of_weight(lambda _self, xh, w, b: (1 + w) * xh + b)},
    ),
    Mistake("weight-ignored", "xh + b in place of w xh + b", "output", NORMS,
        {"affine": lambda _self, xh, _w, b: xh + b},
    ),
    Mistake(
        "bias-ignored", "w xh in place of w xh + b", "output", BIASED,
        {"affine": lambda _self, xh, w, _b: w * xh},
    ),
    Mistake(
        "bias-subtracted", "w xh - b in place of w xh + b", "output", BIASED,
        {"affine": lambda _self, xh, w, b: w * xh - b},
    ),
    Mistake(
        "weight-and-bias-swapped", "b xh + w: the two parameters in each other's place", "output", BIASED,
        {"affine": _of_both(lambda _self, xh, w, b: b * xh + w)},
    ),
    Mistake(
        "weight-made-positive", "|w| xh + b: the sign of the weight is lost", "output", NORMS,
        {"affine": lambda _self, xh, w, b: np.abs(w) * xh + b},
    ),
    Mistake("weight-of-the-neighbour", "the weight's index is off by one", "output", NORMS,
        {"_spread": _neighbour, "weight_gradient": _back_to_the_neighbour},
    ),
)  # fmt: skip
