"""Every mistake that can be recognised: those of the catalogue, and those that change the shape of a buffer."""

from __future__ import annotations

from references.mistakes import MISTAKES, Mistake
from references.mistakes.per_pixel import SHAPED

KNOWN: dict[str, Mistake] = MISTAKES | {mistake.id: mistake for mistake in SHAPED}
