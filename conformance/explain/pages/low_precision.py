"""Too little precision somewhere in the middle."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

LOW_PRECISION: dict[str, MistakePage] = {
    "statistics-accumulated-in-storage-format": MistakePage(
        "m and v summed in float32, whatever x is stored in",
        "m and v summed in bfloat16 or float16",
        "A sum in bfloat16 stops growing once it is 256 times its terms: adding 1 to 256 gives 256 again. float16 "
        "stops at 2048 times, and overflows beyond 65504.",
    ),
    "statistics-stored-in-storage-format": MistakePage(
        "m and s kept in float32 until y is stored",
        "m and s rounded to bfloat16 or float16 before use",
        "Where the mean is large, its rounding to eight bits (bfloat16) is as large as the values that are left "
        "after it is subtracted. torch's CPU kernels round so where the parameters are half precision as well.",
    ),
    "normalised-rounded-before-affine": MistakePage(
        "y = round(w xh + b)",
        "y = round(w round(xh) + b)",
        "Llama's RMSNorm in the transformers library casts xh back to the input's dtype before it multiplies by the"
        " weight. Where b cancels w xh, the first rounding is what is left.",
    ),
    "coarse-reciprocal-root": MistakePage(
        "s = 1 / sqrt(v + eps), good to float32's 24 bits",
        "s = 1 / sqrt(v + eps), good to 12 bits",
        "The rsqrtps instruction of x86 promises a relative error of 1.5 * 2^-12; one Newton step makes it float32.",
    ),
    "tf32-inputs": MistakePage(
        "x as it is stored, with 24 significant bits",
        "x rounded to 11 significant bits",
        "TF32 on NVIDIA's tensor cores keeps ten bits behind the point. torch allows it in cuDNN's convolutions "
        "unless told otherwise, and in matrix products on request.",
    ),
    "float32-inside": MistakePage(
        "float64 data computed in float64",
        "float64 data computed in float32",
        "A kernel that casts everything to float, and ONNX's stash_type = 1, which is the default of "
        "LayerNormalization.",
    ),
    "bfloat16-inside": MistakePage(
        "float32 data computed in float32",
        "float32 data rounded to bfloat16 on the way in",
        "An autocast region that reaches further than was meant.",
    ),
}
