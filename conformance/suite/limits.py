"""Bounds that keep a hostile or mistyped case file from eating the machine."""

from __future__ import annotations

FILE_BYTES = 1 << 20
DEPTH = 32
NODES = 100_000
FILES = 2_000
CASES_PER_FILE = 20_000
STEPS = 64
RANK = 8
ELEMENTS = 32_000_000  # of the inputs of all steps of a case together
PAIRS = 50_000  # pairs of values that a pairwise group may have to cover
