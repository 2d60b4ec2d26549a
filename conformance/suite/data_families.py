"""The closed list of data generators that a case file may name, without the generators themselves.

A slice is what an op normalises together.  Slices have different scales and means unless said otherwise.
"""

from __future__ import annotations

DATA: dict[str, str] = {
    "normal": "standard normal, all slices alike",
    "scaled": "normal; every slice has a scale in 0.3..6 and a mean of its own",
    "shifted-1e1": "mean / std = 10",
    "shifted-1e3": "mean / std = 1e3",
    "shifted-1e5": "mean / std = 1e5",
    "tiny-variance": "std a thousandth of sqrt(eps)",
    "constant-slice": "one slice constant, the others scaled",
    "f1-eps": "variance in 0.25..4 eps, mean 0.7 std: where and how eps enters",
    "f2-small-n": "scaled; for shapes with 3 to 5 values per slice: ddof, n - 1, dropped rows",
    "f3-offset": "mean / std = 20 (bfloat16), 100 (float16), 3000 (float32), 1e7 (float64): one-pass variances",
    "f4-tail": "scaled; the first element at -4 std and the last at +5: dropped or repeated tails, padding",
    "f5-slices": "a scale for every (sample, channel): axes, groups, instance against batch",
    "f6-long-positive": "mean 3 std: sums that are accumulated in the storage format",
    "f7-stagnation": "gradients of one sign: parameter gradients that are accumulated in the storage format",
    "f8-f16-range": "std 300: squares beyond the range of float16, rounding before the affine map",
    "f9-ulp-jitter": "1.5 with every 24th element one ulp higher: one-pass variance of float16",
    "f10-constant": "every slice constant",
    "f10-denormal": "a few subnormal units of the storage format",
    "f10-heavy-tail": "cubes of normals",
    "f10-wide-range": "normals times powers of two from -20 to 20 (float16: -8 to 8)",
    "f10-absorb": "one large element first, then many small ones",
    "f10-nan": "scaled, with one NaN in one slice, which must not leak into the others",
    "f10-inf": "scaled, with one infinity in one slice, which must not leak into the others",
    "f11-large-n": "scaled, with a sentinel of sqrt(n) std at both ends: index overflow, chunk joins",
    "f12-buffers": "scaled, with one slice whose variance is about eps: running statistics",
    "whole": "small whole numbers, zeros of both signs among them: ties, and what happens at exactly 0",
    "nonzero": "scaled, away from zero, so that every zero in the output was put there",
    "special": "zeros of both signs, infinities, NaN, the smallest and the largest numbers of the storage format",
}
