"""Named wrong ways to compute a layer, each one switch on its reference.

They show whether the suite could see a mistake at all (``conformance lint``), and what a deviation looks like.
"""

from __future__ import annotations

from references.mistakes.affine import AFFINE
from references.mistakes.backward import BACKWARD
from references.mistakes.catalogue import Mistake, mistaken
from references.mistakes.elementwise import ELEMENTWISE
from references.mistakes.frozen_teacher import FROZEN_TEACHER
from references.mistakes.geometry import GEOMETRY
from references.mistakes.linear_maps import LINEAR_MAPS
from references.mistakes.low_precision import LOW_PRECISION
from references.mistakes.response import RESPONSE
from references.mistakes.running import RUNNING_BUFFERS
from references.mistakes.variance import VARIANCE
from references.mistakes.windows import POOLING

MISTAKES: dict[str, Mistake] = {
    mistake.id: mistake
    for group in (
        *(VARIANCE, AFFINE, GEOMETRY, LOW_PRECISION, BACKWARD, RUNNING_BUFFERS, RESPONSE),
        *(LINEAR_MAPS, POOLING, ELEMENTWISE, FROZEN_TEACHER),
    )
    for mistake in group
}

__all__ = ["MISTAKES", "Mistake", "mistaken"]
