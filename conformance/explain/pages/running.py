"""Mistakes in the running buffers and in when they are used."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

_RIGHT = "running = (1 - momentum) * running + momentum * batch"

RUNNING: dict[str, MistakePage] = {
    "momentum-swapped": MistakePage(
        _RIGHT,
        "running = momentum * running + (1 - momentum) * batch",
        "torch's momentum weighs the new value. Keras's and ONNX's weigh the old one: their 0.9 is torch's 0.1.",
    ),
    "momentum-additive": MistakePage(
        _RIGHT,
        "running = running + momentum * batch",
        "The two weights of an average add up to 1; here the old value keeps all of its own, and the buffer grows "
        "with every step. Buffers that start at 0 do not show it in the first.",
    ),
    "buffers-replaced": MistakePage(
        _RIGHT,
        "running = batch",
        "A momentum of 1, in torch's meaning. Evaluation then depends on the last batch alone.",
    ),
    "buffers-not-updated": MistakePage(
        _RIGHT,
        "running = running",
        "Buffers that are rebound in a copy, or an update in a branch that training does not take. Evaluation then "
        "normalises with mean 0 and variance 1.",
    ),
    "buffers-updated-twice": MistakePage(
        _RIGHT,
        "the same line, twice in one step",
        "A forward pass that runs twice for one step, as with activation checkpointing that recomputes it.",
    ),
    "buffers-updated-in-eval": MistakePage(
        _RIGHT + "    (training mode alone)",
        "the same line, in eval mode too",
        "An update that does not look at self.training. Evaluating then changes the model.",
    ),
    "momentum-rounded-to-bfloat16": MistakePage(
        _RIGHT,
        "running = (1 - bf16(momentum)) * running + bf16(momentum) * batch",
        "bfloat16 has eight bits: 0.1 becomes 0.10009765625.",
    ),
    "running-var-biased": MistakePage(
        "running_var = (1 - momentum) * running_var + momentum * v n / (n - 1)",
        "running_var = (1 - momentum) * running_var + momentum * v",
        "torch normalises with the variance over n and stores the one over n - 1. ONNX's BatchNormalization stores "
        "the one over n.",
    ),
    "running-var-with-eps": MistakePage(
        "running_var = (1 - momentum) * running_var + momentum * v n / (n - 1)",
        "running_var = (1 - momentum) * running_var + momentum * (v n / (n - 1) + eps)",
        "eps is added to the variance once, saved so, and added again in eval mode.",
    ),
    "running-std": MistakePage(
        "running_var = (1 - momentum) * running_var + momentum * v n / (n - 1)",
        "running_var = (1 - momentum) * running_var + momentum * sqrt(v n / (n - 1))",
        "What a layer keeps for the backward pass is the standard deviation or its inverse; the buffer is a variance.",
    ),
    "running-mean-and-var-swapped": MistakePage(
        "running_mean takes in m, running_var takes in v n / (n - 1)",
        "running_mean takes in v n / (n - 1), running_var takes in m",
        "Both have the same shape, and functions return them side by side.",
    ),
    "batches-not-counted": MistakePage(
        "num_batches_tracked = num_batches_tracked + 1",
        "num_batches_tracked = num_batches_tracked",
        "Only momentum=None uses the count, so that a layer with any other momentum works without it, and its "
        "state_dict does not.",
    ),
    "batches-counted": MistakePage(
        "num_batches_tracked = num_batches_tracked    (InstanceNorm)",
        "num_batches_tracked = num_batches_tracked + 1",
        "torch's InstanceNorm has the buffer and never moves it.",
    ),
    "cumulative-average-off-by-one": MistakePage(
        "momentum=None: running = running + (batch - running) / k in step k = 1, 2, ...",
        "running = running + (batch - running) / (k + 1)",
        "The count is read before it is raised. Then the first batch weighs one half, and the initial 0 or 1 the rest.",
    ),
    "cumulative-average-as-default": MistakePage(
        "momentum=None: running = running + (batch - running) / k in step k = 1, 2, ...",
        "running = 0.9 * running + 0.1 * batch",
        "None is taken for 'not given'. In torch it asks for the plain average of all batches.",
    ),
    "momentum-zero-as-none": MistakePage(
        "momentum = 0: running = running",
        "running = running + (batch - running) / k, the average that None asks for",
        "`if not momentum` is true of 0.0 and of None.",
    ),
    "running-statistics-in-training": MistakePage(
        "training: xh = (x - m) / sqrt(v + eps), with the batch's own m and v",
        "training: xh = (x - running_mean) / sqrt(running_var + eps)",
        "A graph exported in training mode by torch.onnx.export(dynamo=True) does so (torch 2.13). A fresh layer "
        "then leaves its input nearly as it is.",
    ),
    "batch-statistics-in-eval": MistakePage(
        "eval: xh = (x - running_mean) / sqrt(running_var + eps)",
        "eval: xh = (x - m) / sqrt(v + eps), with the batch's own m and v",
        "model.eval() was forgotten. Results then depend on what else is in the batch.",
    ),
    "untracked-eval-as-standard": MistakePage(
        "track_running_stats=False, eval: xh = (x - m) / sqrt(v + eps)",
        "track_running_stats=False, eval: xh = (x - 0) / sqrt(1 + eps)",
        "Without buffers there is nothing to normalise with but the batch; taking the buffers' initial values does "
        "nothing at all.",
    ),
    "running-var-over-samples": MistakePage(
        "running_var takes in v n / (n - 1), n = N * H * W",
        "running_var takes in v N / (N - 1)",
        "n counts every value of the channel, not the samples. For vectors (N, C) the two are the same.",
    ),
    "instance-variance-over-batch": MistakePage(
        "running_var takes in v n / (n - 1), n = H * W",
        "running_var takes in v n / (n - 1), n = N * H * W",
        "InstanceNorm implemented as BatchNorm over (1, N * C, H, W) is right; over (N, C, H, W) its n is not.",
    ),
    "instance-statistics-of-last-sample": MistakePage(
        "running takes in the mean over the samples of the batch",
        "running takes in the statistics of the last sample",
        "A loop over the samples that overwrites what it should average. A batch of one does not show it.",
    ),
    "buffers-moved-twice": MistakePage(
        "one step: r <- (1 - mu) r + mu m",
        "one step: r <- (1 - mu) r + mu m, twice",
        "The update stands in two places, in forward and in a hook, or in a forward pass that is run again under"
        " activation checkpointing, while the counter is guarded. Momentum 0.1 then acts like 0.19.",
    ),
    "running-buffers-swapped": MistakePage(
        "batch_norm(x, w, b, running_mean, running_var)",
        "batch_norm(x, w, b, running_var, running_mean)",
        "A function of many positional arguments is called with two of them in each other's place. Training outputs"
        " are right, since they do not look at the buffers; evaluation divides by the root of a mean, which may be"
        " negative.",
    ),
    "running-buffers-exchanged": MistakePage(
        "y, mean, var = batch_norm(x, w, b, mean, var)",
        "y, mean, var = batch_norm(x, w, b, var, mean)",
        "A function hands its buffers back, and is given two of them in each other's place. Training outputs are"
        " right, since they do not look at the buffers; every call exchanges the two, evaluation too, which divides by"
        " the root of a mean and may give NaN.",
    ),
    "running-var-from-zero": MistakePage(
        "a new layer: running_mean = 0, running_var = 1",
        "a new layer: running_mean = 0, running_var = 0",
        "Both buffers are made with the same call, as in several tutorials. The first steps then pull the variance"
        " towards 0, and a layer that evaluates before it has trained divides by the root of eps.",
    ),
}
