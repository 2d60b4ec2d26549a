"""Somebody's own layer in the place of torch's, found and fitted as ``conformance check`` does it."""

from __future__ import annotations

from conformance.errors import ConformanceError, UsageError
from conformance.explain.experiment import Experiment
from conformance.explain.trial import Runner
from conformance.observation import Observation, Unsupported


def runner(target: str) -> Runner:
    """What runs experiments with the layer that ``module:Class`` or ``file.py:Class`` names.

    The layer is taken for the op of each experiment in turn; one whose arguments it does not take is Unsupported.

    Raises:
        UsageError: there is no such module, file or class, or it cannot be imported.
    """
    from conformance.backends.candidate.backend import Candidate
    from conformance.backends.candidate.resolve import resolve
    from conformance.backends.candidate.spec import Spec

    resolve(target)

    def run(experiment: Experiment) -> Observation:
        candidate = Candidate(Spec(target, experiment.case.op))
        try:
            why_not = candidate.unsupported(experiment.case)
        except ConformanceError as misfit:
            raise Unsupported(misfit.message.splitlines()[0]) from misfit
        if why_not is not None:
            raise Unsupported(why_not)
        seen = candidate.run(experiment.case, experiment.inputs)
        if seen.raised is not None and seen.raised.type == UsageError.__name__:
            raise Unsupported(seen.raised.message.splitlines()[0])
        return seen

    return run
