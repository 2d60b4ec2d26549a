"""Mistakes in mean, variance and eps."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

VARIANCE: dict[str, MistakePage] = {
    "eps-outside-sqrt": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / (sqrt(v) + eps)",
        "Adam divides by sqrt(v) + eps, and the LayerNorm of The Annotated Transformer by std + eps; torch's layers"
        " add eps to the variance. The two agree where the variance is far above eps, so that only small variances "
        "show it.",
    ),
    "eps-missing": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / sqrt(v)",
        "Formulas on slides often leave eps out. Nothing is seen until a channel is nearly constant; then the "
        "output is too large, and a constant channel gives 0 / 0.",
    ),
    "eps-times-ten": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / sqrt(v + 10 eps)",
        "Defaults differ: torch's BatchNorm has eps = 1e-5, Keras's BatchNormalization epsilon = 1e-3. Weights that"
        " are carried over without their eps meet the other one.",
    ),
    "eps-squared": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / sqrt(v + eps^2)",
        "An eps that was meant for the standard deviation is squared to fit the variance, or the other way round.",
    ),
    "eps-as-floor": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / sqrt(max(v, eps))",
        "torch.nn.functional.normalize divides by max(norm, eps). There eps is a floor; in the normalisation layers"
        " it is added, and moves every value a little.",
    ),
    "eps-rounded-to-float16": MistakePage(
        "s = 1 / sqrt(v + eps)",
        "s = 1 / sqrt(v + float16(eps))",
        "In float16, 1e-5 is a subnormal number, off by 1.4e-4 of itself, and 1e-8 is 0. A layer that is converted "
        "to half precision as a whole, its constants too, computes with those.",
    ),
    "unbiased-variance": MistakePage(
        "v = sum (x - m)^2 / n",
        "v = sum (x - m)^2 / (n - 1)",
        "torch.var and torch.std divide by n - 1 unless told otherwise, numpy.var and numpy.std by n. All "
        "normalisation layers divide by n where they normalise; BatchNorm's running_var alone holds the variance "
        "over n - 1.",
    ),
    "one-pass-variance": MistakePage(
        "v = mean (x - m)^2",
        "v = mean x^2 - m^2",
        "One pass over the data in place of two makes a faster kernel. Where the mean is large beside the standard "
        "deviation, two nearly equal numbers are subtracted and their rounding is all that is left; it can be "
        "negative, and its square root NaN. Welford's update needs one pass too and does not cancel.",
    ),
    "mean-square-for-variance": MistakePage(
        "v = mean (x - m)^2",
        "v = mean x^2",
        "RMSNorm divides by the root of mean x^2 and subtracts nothing. With a subtraction before, or with data of "
        "mean 0, nobody sees the difference.",
    ),
    "variance-for-std": MistakePage(
        "xh = (x - m) / sqrt(v + eps)",
        "xh = (x - m) / (v + eps)",
        "The square root is forgotten. Data of variance 1 does not show it.",
    ),
    "absolute-deviation": MistakePage(
        "sqrt(v) = sqrt(mean (x - m)^2)",
        "sqrt(v) = mean |x - m|",
        "A cheaper measure of spread: 0.80 times the standard deviation for normal data, another share for other "
        "data, so that no weight makes up for it.",
    ),
    "mean-not-subtracted": MistakePage(
        "xh = s (x - m)",
        "xh = s x",
        "The mean is used for the variance and then forgotten. Data of mean 0, as tests like to take, does not show"
        " it.",
    ),
    "mean-subtracted": MistakePage(
        "xh = x / sqrt(mean x^2 + eps)",
        "xh = (x - m) / sqrt(mean x^2 + eps)",
        "LayerNorm subtracts the mean, RMSNorm does not (Zhang and Sennrich 2019): that it saves the mean is the "
        "point of it.",
    ),
    "norm-for-rms": MistakePage(
        "v = sum (x - m)^2 / n",
        "v = sum (x - m)^2",
        "The Euclidean norm, as in torch.nn.functional.normalize, is sqrt(n) times the root mean square.",
    ),
}
