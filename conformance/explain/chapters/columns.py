"""A row of LayerNorm as the one channel of BatchNorm, so that classes of either kind can be asked the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conformance.explain.experiment import by_hand
from conformance.explain.trial import Trial


def or_batch_norm(trial: Trial) -> Trial:
    """The same numbers asked of a BatchNorm1d: the row is the batch of its one channel."""

    def asked() -> Iterator[Trial]:
        case, inputs = trial.experiment.case, trial.experiment.inputs
        params = {name: array[0] for name, array in inputs.params.items()}
        columns = by_hand("BatchNorm1d", [inputs.steps[0].x.reshape(-1, 1)], params=params, eps=case.args["eps"])
        index = (trial.index[1], 0)
        yield replace(trial, experiment=columns, index=index, what=trial.what.replace("LayerNorm", "BatchNorm1d"))

    return replace(trial, others=asked)
