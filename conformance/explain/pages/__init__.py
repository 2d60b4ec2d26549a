"""The words of the pages of mistakes, keyed by the mistake's id in ``references.mistakes``.

A new mistake gets its page by one entry in one of these tables, or in a new module here that GROUPS names; a test names
those that have none.  The numbers of a page need nothing else: a small case that shows the mistake is found by
computing it.
"""

from __future__ import annotations

from conformance.explain.pages.affine import AFFINE
from conformance.explain.pages.backward import BACKWARD
from conformance.explain.pages.elementwise import ACTIVATIONS, DROPOUT, FLATTEN
from conformance.explain.pages.entry import MistakePage
from conformance.explain.pages.frozen_teacher import FROZEN_TEACHER
from conformance.explain.pages.geometry import GEOMETRY
from conformance.explain.pages.linear import CONVOLUTION, LINEAR
from conformance.explain.pages.low_precision import LOW_PRECISION
from conformance.explain.pages.pooling import POOLING
from conformance.explain.pages.response import RESPONSE
from conformance.explain.pages.running import RUNNING
from conformance.explain.pages.variance import VARIANCE

#: heading of the list of topics -> id -> page
GROUPS: dict[str, dict[str, MistakePage]] = {
    "mean, variance and eps": VARIANCE,
    "the affine map": AFFINE,
    "what is normalised together": GEOMETRY,
    "too little precision": LOW_PRECISION,
    "gradients": BACKWARD,
    "running buffers": RUNNING | FROZEN_TEACHER,
    "local response normalisation": RESPONSE,
    "the linear layer": LINEAR,
    "convolution": CONVOLUTION,
    "pooling": POOLING,
    "flattening": FLATTEN,
    "activations": ACTIVATIONS,
    "dropout": DROPOUT,
}

MISTAKE_PAGES: dict[str, MistakePage] = {id_: page for group in GROUPS.values() for id_, page in group.items()}

__all__ = ["GROUPS", "MISTAKE_PAGES", "MistakePage"]
