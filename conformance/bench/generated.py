"""Case files of any number of cases, alike in cost: BatchNorm2d over three steps with all its buffers and gradients."""

from __future__ import annotations

from pathlib import Path

PER_FILE = 10_000  # half of what a case file may hold
_FILE = """\
spec: 1
op: BatchNorm2d
about: Cases of one size, for measuring.
defaults:
  shape: [4, 3, 5, 6]
  steps: [train, train, eval]
groups:
  - id: measured
    vary:
      args.momentum: {{m1: 0.1, m3: 0.3}}
      args.eps: {{e3: 1e-3, e5: 1e-5}}
      dtype: [float32, float64]
      seed: {{{seeds}}}
"""
_COMBINATIONS = 8


def write(folder: Path, cases: int) -> Path:
    """Files in ``folder`` with this many cases, rounded up to a multiple of eight; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = -(-cases // _COMBINATIONS)
    step = PER_FILE // _COMBINATIONS
    for first in range(0, seeds, step):
        some = range(first, min(seeds, first + step))
        text = _FILE.format(seeds=", ".join(f"s{seed}: {seed}" for seed in some))
        (folder / f"measured_{first // step:03}.yaml").write_text(text, encoding="utf-8")
    return folder
