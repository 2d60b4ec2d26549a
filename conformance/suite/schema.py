"""The format of a case file, as the structs that it is decoded into and that its JSON Schema is generated from."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from conformance.suite import limits
from conformance.suite.case import BuffersKind, Dtype, Layout, ParamsKind, StepWord

T = TypeVar("T")

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$(?!\n)", max_length=80)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Size = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Shape = Annotated[list[Size], Meta(max_length=limits.RANK)]
Steps = Annotated[list[StepWord], Meta(min_length=1, max_length=limits.STEPS)]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
FloatDtype = Literal["float64", "float32", "bfloat16", "float16"]
Labelled = Annotated[dict[Name, T], Meta(min_length=1, max_length=1)]
Positive = Annotated[float, Meta(ge=0)]
When = Annotated[dict[str, Any], Meta(min_length=1)]
Marks = list[Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]*$(?!\n)", max_length=40)]]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class RaisesEntry(_Strict, frozen=True, kw_only=True):
    """The exception that the case must end in."""

    type: Annotated[
        str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$(?!\n)", max_length=100, description="name of its class")
    ]
    match: Annotated[
        str, Meta(min_length=1, max_length=500, description="regular expression found anywhere in its message")
    ]


class ToleranceEntry(_Strict, frozen=True, kw_only=True):
    """Replaces the allowance of a quantity (rtol, atol, ulp), or scales it (budget)."""

    rtol: Positive | UnsetType = UNSET
    atol: Positive | UnsetType = UNSET
    ulp: Positive | UnsetType = UNSET
    budget: Annotated[float, Meta(gt=0)] | UnsetType = UNSET


Opset = Annotated[int, Meta(ge=7, le=99)]
Optimisation = Literal["all", "off"]


class ExportEntry(_Strict, frozen=True, kw_only=True):
    """How the case is exported and run as a graph."""

    dynamic: Annotated[bool, Meta(description="the graph leaves the sizes of batch and space open")] | UnsetType = UNSET
    opset: (
        Annotated[Opset | None, Meta(description="version of the ONNX operators; null: the exporter's choice")]
        | UnsetType
    ) = UNSET
    optimisation: Annotated[Optimisation, Meta(description="of the graph, by the runtime")] | UnsetType = UNSET


class OptimizerEntry(_Strict, frozen=True, kw_only=True):
    """Stochastic gradient descent after every train step, with the arguments of torch.optim.SGD."""

    lr: Annotated[float, Meta(gt=0, description="learning rate")]
    momentum: Annotated[Positive, Meta(description="weight of the old direction; 0: no momentum buffers")] = 0.0
    dampening: Annotated[float, Meta(description="what the new gradient loses when it enters the buffer")] = 0.0
    weight_decay: Annotated[Positive, Meta(description="times the parameter, added to its gradient")] = 0.0
    nesterov: Annotated[bool, Meta(description="look ahead; needs momentum and no dampening")] = False
    implementation: Annotated[
        Literal["default", "foreach", "fused"], Meta(description="which of torch's own; the graphs have one alone")
    ] = "default"


class Fields(_Strict, frozen=True, kw_only=True):
    """What may be said of a case, in ``defaults``, in the ``set`` of a group and in an explicit case."""

    args: (
        Annotated[dict[str, Any], Meta(description="arguments of the constructor, as torch names them")] | UnsetType
    ) = UNSET
    shape: Annotated[Shape | Labelled[Shape], Meta(description="shape of the input of every step")] | UnsetType = UNSET
    dtype: Annotated[Dtype | Labelled[Dtype], Meta(description="dtype of the input")] | UnsetType = UNSET
    param_dtype: (
        Annotated[
            FloatDtype | Labelled[FloatDtype | None] | None,
            Meta(description="dtype of parameters and buffers; null: that of the input"),
        ]
        | UnsetType
    ) = UNSET
    layout: Annotated[Layout | Labelled[Layout], Meta(description="memory layout of the input")] | UnsetType = UNSET
    grad_layout: (
        Annotated[Layout | Labelled[Layout], Meta(description="memory layout of the upstream gradient")] | UnsetType
    ) = UNSET
    requires_grad: (
        Annotated[bool | Labelled[bool], Meta(description="whether the input requires a gradient")] | UnsetType
    ) = UNSET
    data: Annotated[str | Labelled[str], Meta(description="name of a data generator")] | UnsetType = UNSET
    params: Annotated[ParamsKind | Labelled[ParamsKind], Meta(description="values of the parameters")] | UnsetType = (
        UNSET
    )
    buffers: Annotated[BuffersKind | Labelled[BuffersKind], Meta(description="values of the buffers")] | UnsetType = (
        UNSET
    )
    steps: (
        Annotated[
            Steps | Labelled[Steps],
            Meta(description="train and eval, each on a fresh batch; reset: the buffers of a new layer"),
        ]
        | UnsetType
    ) = UNSET
    optimizer: (
        Annotated[OptimizerEntry | None, Meta(description="updates the parameters after every train step")] | UnsetType
    ) = UNSET
    seed: Annotated[Seed | Labelled[Seed], Meta(description="other data of the same kind")] | UnsetType = UNSET
    robustness: Annotated[bool, Meta(description="more than 20 % of the elements may be undetermined")] | UnsetType = (
        UNSET
    )
    raises: RaisesEntry | UnsetType | None = UNSET
    tolerance: (
        Annotated[dict[str, ToleranceEntry], Meta(description="by quantity, or a pattern such as grad.*")] | UnsetType
    ) = UNSET
    export: Annotated[ExportEntry, Meta(description="how it becomes a graph, where it does")] | UnsetType = UNSET
    about: Annotated[str, Meta(max_length=2000, description="why this is here")] | UnsetType = UNSET
    marks: Annotated[Marks, Meta(description="slow: left out unless asked for")] | UnsetType = UNSET


class GroupFields(Fields, frozen=True, kw_only=True):
    """What a group sets for its cases, over the defaults of the file."""

    op: Annotated[str, Meta(description="another op than that of the file")] | UnsetType = UNSET


class ExplicitEntry(GroupFields, frozen=True, kw_only=True):
    """One case, spelled out over the defaults of the file."""

    id: Name


class RuleEntry(_Strict, frozen=True, kw_only=True):
    """What is different where ``when`` holds."""

    when: When
    skip: Annotated[Text, Meta(description="removes the combination, for this reason")] | UnsetType = UNSET
    raises: RaisesEntry | UnsetType = UNSET
    tolerance: dict[str, ToleranceEntry] | UnsetType = UNSET
    set: Fields | UnsetType = UNSET
    marks: Marks | UnsetType = UNSET
    robustness: bool | UnsetType = UNSET
    about: Annotated[str, Meta(max_length=2000, description="why the rule is here")] | UnsetType = UNSET


class GroupEntry(_Strict, frozen=True, kw_only=True):
    """Cases that vary some axes."""

    id: Name
    about: Annotated[str, Meta(max_length=2000)] | UnsetType = UNSET
    set: GroupFields | UnsetType = UNSET
    vary: Annotated[dict[str, list[Any] | dict[Name, Any]], Meta(description="axis: its values, or label: value")] = {}
    combine: Annotated[Literal["all", "pairwise"], Meta(description="every combination, or every pair of values")] = (
        "all"
    )
    rules: list[RuleEntry] = []
    marks: Marks | UnsetType = UNSET
    slow: Annotated[bool, Meta(description="leave the group out unless asked for")] = False


class DivergenceEntry(_Strict, frozen=True, kw_only=True):
    """A deviation that is known: whose, why, and how large it may be."""

    id: Name
    when: When
    why: Text
    see: Annotated[str, Meta(max_length=500, description="where it is reported")] = ""
    size: Annotated[
        dict[str, Annotated[list[Positive], Meta(min_length=2, max_length=2)]],
        Meta(description="quantity: [smallest, largest] error relative to the data"),
    ] = {}
    precision: Annotated[Literal["B", "float32"], Meta(description="the class to meet instead of A")] | None = None
    reference: (
        Annotated[str, Meta(min_length=1, max_length=40, description="the definition to meet, such as onnx")] | None
    ) = None
    quantities: list[Text] = []
    raises: RaisesEntry | UnsetType = UNSET
    always: bool = True


class CaseFile(_Strict, frozen=True, kw_only=True):
    """A case file."""

    spec: Annotated[Literal[1], Meta(description="version of the format")]
    op: Annotated[str, Meta(description="what is tested")]
    about: Annotated[str, Meta(max_length=2000, description="what the file is for")] = ""
    defaults: Fields | UnsetType = UNSET
    groups: list[GroupEntry] = []
    divergences: list[DivergenceEntry] = []
    cases: list[ExplicitEntry] = []


AXES: dict[str, Any] = {
    "shape": Shape,
    "dtype": Dtype,
    "param_dtype": FloatDtype | None,
    "layout": Layout,
    "grad_layout": Layout,
    "requires_grad": bool,
    "data": str,
    "params": ParamsKind,
    "buffers": BuffersKind,
    "steps": Steps,
    "optimizer": OptimizerEntry | None,
    "seed": Seed,
    "export.dynamic": bool,
    "export.opset": Opset | None,
    "export.optimisation": Optimisation,
}
"""The fields that a group may vary, beside the arguments of the op, with the type of one value."""
