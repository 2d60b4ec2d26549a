"""Mistakes in the running buffers and in when they are used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from references.expected import Quantity
from references.mistakes.catalogue import RUNNING, Mistake, right
from references.mistakes.low_precision import rounded


def _after(change: Any) -> Any:
    """update() whose result is changed: ``change(self, before, after)`` on the train steps of tracked layers."""

    def update(self: Any, f: Any, state: Any, mode: Any) -> Any:
        after = right(self).update(f, state, mode)
        return change(self, state, after) if self.tracks and mode == "train" else after

    return update


def _value(buffer: Quantity, value: Any) -> Quantity:
    return replace(buffer, value=value)


def _swapped(_self: Any, _before: Any, after: Any) -> Any:
    return after | {"running_mean": after["running_var"], "running_var": after["running_mean"]}


def _not_counted(_self: Any, before: Any, after: Any) -> Any:
    return after | {"num_batches_tracked": before["num_batches_tracked"]}


def _counted(_self: Any, before: Any, after: Any) -> Any:
    count = before["num_batches_tracked"]
    return after | {"num_batches_tracked": _value(count, count.value + 1)}


def _twice(self: Any, f: Any, state: Any, mode: Any) -> Any:
    once = right(self).update(f, state, mode)
    return right(self).update(f, once, mode) if self.tracks and mode == "train" else once


def _moved_twice(self: Any, f: Any, state: Any, mode: Any) -> Any:
    once = right(self).update(f, state, mode)
    if not self.tracks or mode != "train":
        return once
    before = once | {"num_batches_tracked": state["num_batches_tracked"]}
    return right(self).update(f, before, mode)


def _exchanged(state: Any) -> Any:
    """The state with mean and variance in each other's place."""
    if "running_mean" not in state:
        return state
    return state | {"running_mean": state["running_var"], "running_var": state["running_mean"]}


def _handed_over_swapped(self: Any, f: Any, state: Any, mode: Any) -> Any:
    if not self.tracks or mode != "train":
        return right(self).update(f, state, mode)
    return right(self).update(f, _exchanged(state), mode)


def _from_zero(self: Any, buffers: Any) -> Any:
    """initial() of a layer whose new buffers are zero: only those that are still as the constructor left them."""
    state = right(self).initial(buffers)
    fresh = all(not buffers[name].any() for name in ("running_mean", "num_batches_tracked") if name in buffers)
    if fresh and "running_var" in buffers and (buffers["running_var"] == 1).all():
        state["running_var"] = _value(state["running_var"], 0 * state["running_var"].value)
    return state


def _in_eval_too(self: Any, f: Any, state: Any, mode: Any) -> Any:
    if mode == "train" or not self.tracks:
        return right(self).update(f, state, mode)
    m, v = self.statistics(f.x, f.fold)
    return right(self).update(replace(f, m=m, v=v), state, "train")


def _running_in_train(self: Any, fold: Any, state: Any, mode: Any) -> Any:  # noqa: ARG001 - the method's signature
    return right(self).running_statistics(fold, state, "eval")


def _batch_in_eval(self: Any, fold: Any, state: Any, mode: Any) -> Any:  # noqa: ARG001 - the method's signature
    return None


def _untracked_as_standard(self: Any, fold: Any, state: Any, mode: Any) -> Any:
    if self.tracks or mode == "train":
        return right(self).running_statistics(fold, state, mode)
    zero = np.zeros((fold.slices, 1), self.precision.reference)
    return Quantity(zero, zero, self.param_dtype), Quantity(zero + 1, zero, self.param_dtype)


def _over_batch(self: Any, f: Any, state: Any, mode: Any) -> Any:
    """The population variance over the whole batch's values, n times the number of samples."""
    after = right(self).update(f, state, mode)
    n, values = f.fold.elements, f.fold.terms
    if not self.tracks or mode != "train" or n < 2 or values < 2:
        return after
    mu = self.real(self.momentum(int(after["num_batches_tracked"].value) or 1))
    batch = self.per_channel(f.v).mean(axis=0) * (self.real(values) / self.real(values - 1))
    moved = self.moved(state["running_var"].value, batch, mu)
    return after | {"running_var": _value(after["running_var"], moved)}


def _over_samples(self: Any, f: Any, state: Any, mode: Any) -> Any:
    """n / (n - 1) with the number of samples in the place of n."""
    after = right(self).update(f, state, mode)
    samples = f.fold.shape[0]
    if not self.tracks or mode != "train" or samples < 2:
        return after
    mu = self.real(self.momentum(int(after["num_batches_tracked"].value) or 1))
    batch = self.per_channel(f.v).mean(axis=0) * (self.real(samples) / self.real(samples - 1))
    return after | {"running_var": _value(after["running_var"], self.moved(state["running_var"].value, batch, mu))}


RUNNING_BUFFERS = (
    Mistake(
        "momentum-swapped", "the momentum weighs the old value, as in Keras and ONNX, in place of the new one",
        "buffer.running_mean", RUNNING,
        {"moved": lambda self, old, new, momentum: right(self).moved(new, old, momentum)},
    ),
    Mistake(
        "momentum-additive", "old + mu new: the old value is never scaled down", "buffer.running_mean", RUNNING,
        {"moved": lambda self, old, new, momentum: old + self.real(momentum) * new},
    ),
    Mistake(
        "buffers-replaced", "the batch's statistics replace the running ones", "buffer.running_mean", RUNNING,
        {"moved": lambda _self, _old, new, _momentum: new},
    ),
    Mistake(
        "buffers-not-updated", "running statistics never move", "buffer.running_mean", RUNNING,
        {"moved": lambda _self, old, _new, _momentum: old},
    ),
    Mistake("buffers-updated-twice", "one step moves the buffers twice", "buffer.running_mean", RUNNING,
            {"update": _twice}),
    Mistake("buffers-moved-twice", "one step moves mean and variance twice and is counted once", "buffer.running_mean",
            RUNNING, {"update": _moved_twice}),
    Mistake(
        "running-buffers-swapped", "running mean and variance are handed over in each other's place", "output", RUNNING,
        {
            "running_statistics": lambda self, fold, state, mode: right(self).running_statistics(
                fold, _exchanged(state), mode),
            "update": _handed_over_swapped,
        },
    ),
    Mistake(
        "running-buffers-exchanged", "running mean and variance are handed over in each other's place and handed back "
        "so: each call exchanges them", "output", RUNNING,
        {
            "running_statistics": lambda self, fold, state, mode: right(self).running_statistics(
                fold, _exchanged(state), mode),
            "update": lambda self, f, state, mode: right(self).update(f, _exchanged(state), mode),
        },
    ),
    Mistake("running-var-from-zero", "the running variance of a new layer is 0 in place of 1", "output",
            ("batch_norm",), {"initial": _from_zero}),
    Mistake("buffers-updated-in-eval", "eval mode moves the buffers too", "buffer.running_mean", RUNNING,
            {"update": _in_eval_too}),
    Mistake(
        "momentum-rounded-to-bfloat16", "the momentum passes through bfloat16", "buffer.running_mean", RUNNING,
        {"moved": lambda self, old, new, momentum: right(self).moved(
            old, new, float(rounded(np.asarray(momentum, np.float64), "bfloat16")))},
    ),
    Mistake(
        "running-var-biased", "running_var takes the variance over n in place of n - 1", "buffer.running_var", RUNNING,
        {"stored_variance": lambda _self, v, _n: v},
    ),
    Mistake(
        "running-var-with-eps", "eps is added to what running_var takes in", "buffer.running_var", RUNNING,
        {"stored_variance": lambda self, v, n: right(self).stored_variance(v, n) + self.real(self.eps)},
    ),
    Mistake(
        "running-std", "the standard deviation is kept in place of the variance", "buffer.running_var", RUNNING,
        {"stored_variance": lambda self, v, n: np.sqrt(right(self).stored_variance(v, n))},
    ),
    Mistake("running-mean-and-var-swapped", "each is written to the other's place", "buffer.running_mean", RUNNING,
            {"update": _after(_swapped)}),
    Mistake("batches-not-counted", "num_batches_tracked stays where it was", "buffer.num_batches_tracked",
            ("batch_norm",), {"update": _after(_not_counted)}),
    Mistake("batches-counted", "InstanceNorm counts batches, which torch's never does", "buffer.num_batches_tracked",
            ("instance_norm",), {"update": _after(_counted)}),
    Mistake(
        "cumulative-average-off-by-one", "momentum None weighs with 1 / (k + 1) in place of 1 / k",
        "buffer.running_mean", ("batch_norm",),
        {"momentum": lambda self, batches: 1 / (batches + 1) if self.args["momentum"] is None
         else right(self).momentum(batches)},
    ),
    Mistake(
        "cumulative-average-as-default", "momentum None is taken for 0.1", "buffer.running_mean", ("batch_norm",),
        {"momentum": lambda self, batches: 0.1 if self.args["momentum"] is None else right(self).momentum(batches)},
    ),
    Mistake(
        "momentum-zero-as-none", "momentum 0.0 is falsy and taken for None", "buffer.running_mean", RUNNING,
        {"momentum": lambda self, batches: right(self).momentum(batches) or 1 / max(batches, 1)},
    ),
    Mistake("running-statistics-in-training", "training normalises with the running statistics", "output", RUNNING,
            {"running_statistics": lambda self, fold, state, mode: _running_in_train(self, fold, state, mode)
             if self.tracks else None}),
    Mistake("batch-statistics-in-eval", "eval normalises with the batch's own statistics, as after a forgotten eval()",
            "output", RUNNING, {"running_statistics": _batch_in_eval}),
    Mistake("untracked-eval-as-standard", "without running statistics eval takes mean 0 and variance 1", "output",
            RUNNING, {"running_statistics": _untracked_as_standard}),
    Mistake("running-var-over-samples", "n / (n - 1) with the batch size in place of the number of values",
            "buffer.running_var", RUNNING, {"update": _over_samples}),
    Mistake("instance-variance-over-batch", "n / (n - 1) counts the values of the whole batch", "buffer.running_var",
            ("instance_norm",), {"update": _over_batch}),
    Mistake("instance-statistics-of-last-sample", "running statistics take the last sample, not the batch's average",
            "buffer.running_mean", ("instance_norm",), {"batch_mean": lambda _self, per_sample: per_sample[-1]}),
)  # fmt: skip
