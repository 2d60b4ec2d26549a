"""What is wrong with a layer beside its numbers, named."""

from __future__ import annotations

from collections.abc import Sequence

from conformance.judge.structure import expected_structure
from conformance.observation import Observation
from conformance.record import Figure
from conformance.suite.case import Case

#: id -> what it says; each is seen in the structure of an observation and needs no search.
STRUCTURAL: dict[str, str] = {
    "state-missing-from-state-dict": "parameters or buffers are not in the state_dict, so saving a model loses them",
    "state-dict-has-more": "the state_dict holds names that torch's layer does not have",
    "state-dict-in-another-order": "the state_dict has the right names in another order",
    "input-modified": "the layer writes into its input or into the upstream gradient",
    "output-dtype-changed": "the output has another dtype than the input",
    "output-shape-changed": "the output has another shape than the definition gives it",
    "memory-format-lost": "the output does not keep the memory format of the input",
    "gradient-missing": "a gradient is not computed at all: the output is detached from what it depends on",
    "buffer-missing": "a running buffer is not there",
    "not-refused": "arguments or shapes that must be refused are taken in silence",
    "refused": "an exception is raised where the definition has a value",
    "refused-in-other-words": "the exception is not the one that torch raises",
}


def structural(case: Case, observation: Observation, figures: Sequence[Figure]) -> tuple[str, ...]:
    """The named faults of an observation's structure, each once, in the order of STRUCTURAL."""
    found = {name for figure in figures if not figure.ok for name in _of(figure)}
    found |= _of_state(case, observation)
    if case.raises is not None:
        found.add("not-refused" if observation.raised is None else "refused-in-other-words")
    elif observation.raised is not None:
        found.add("refused")
    return tuple(name for name in STRUCTURAL if name in found)


_NAMES = {
    "input_modified": "input-modified",
    "dtype": "output-dtype-changed",
    "shape": "output-shape-changed",
    "memory_format": "memory-format-lost",
}


def _of(figure: Figure) -> tuple[str, ...]:
    if figure.source != "structure":
        return ()
    if figure.quantity in _NAMES:
        return (_NAMES[figure.quantity],)
    if figure.got != "nothing":
        return ()
    kind = figure.quantity.rpartition(" ")[2].partition(".")[0]  # behind the name of a module of a network
    return ("buffer-missing",) if kind == "buffer" else ("gradient-missing",)  # without which there is no momentum


def _of_state(case: Case, observation: Observation) -> set[str]:
    """What is wrong with the names in the state_dict, but for those that a layer says it does not keep."""
    if not observation.steps or "state_dict" not in observation.steps[0].structure:
        return set()
    told = observation.steps[0].structure
    left_out = set(told.get("not_kept", "").split(","))
    got = [name for name in told["state_dict"].split(",") if name]
    expected = [name for name in expected_structure(case)["state_dict"].split(",") if name and name not in left_out]
    if got == expected:
        return set()
    names = set()
    if set(expected) - set(got):
        names.add("state-missing-from-state-dict")
    if set(got) - set(expected) - left_out:
        names.add("state-dict-has-more")
    return names or {"state-dict-in-another-order"}
