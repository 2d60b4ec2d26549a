"""The names of candidates."""

from __future__ import annotations

import pytest

from conformance.backends.candidate.spec import KINDS, Spec, read_spec
from conformance.errors import UsageError

SPECS = [
    Spec("mykernels:Norm", "LayerNorm"),
    Spec("some folder/a?b&c.py:Outer.Norm", "BatchNorm2d", kind="factory", device="cuda:1", forward_only=True),
    Spec("m:f", "RMSNorm", kind="numpy", backward="m:g", names={"scale": "weight", "a.b": "bias"}),
    Spec("@3:check.<locals>.Norm", "LayerNorm"),
    Spec("\udce4/norm.py:Norm", "LayerNorm"),  # a name that the locale does not know
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_a_name_says_everything_that_another_process_needs(spec):
    assert read_spec(str(spec)) == spec
    assert str(spec).isprintable()
    assert " " not in str(spec)


def test_a_plain_candidate_has_a_plain_name():
    assert str(SPECS[0]) == "check:mykernels:Norm?like=LayerNorm"
    assert SPECS[0].title == "Norm"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("check:m:f", "no like=OP"),
        ("check:?like=LayerNorm", "is not the name"),
        ("check:m:f?like=LayerNorm&as=magic", "as=magic"),
        ("check:m:f?like=LayerNorm&colour=red", "colour="),
    ],
)
def test_what_is_no_such_name_is_a_usage_error(text, says):
    with pytest.raises(UsageError, match=says):
        read_spec(text)


def test_every_kind_is_described():
    from conformance.backends.candidate.spec import ABOUT

    assert tuple(ABOUT) == KINDS
