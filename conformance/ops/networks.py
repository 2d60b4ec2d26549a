"""The networks: which layers they are made of, by the names that their modules have, and how these are wired.

The wiring is the definition that a network is judged by: each layer by its own reference, each tensor between two of
them as what it should be.  Names and order are those of the torch modules, and so are those of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from conformance.ops.entry import INPUT, Args, Argument, Node, Op, Shape
from conformance.ops.misfits import all_of, size_of_axis

#: norms that take an input narrower than their parameters
_MIXED = ("BatchNorm1d", "BatchNorm2d", "LayerNorm")
_NORMS = ("BatchNorm1d", "LayerNorm", "RMSNorm")
_ACTIVATIONS = ("ReLU", "Sigmoid", "Tanh")


def from_shape(name: str, axis: int) -> Callable[[Args, Shape], dict[str, Any]]:
    """Fills in one argument from the shape where none is given."""

    def complete(args: Args, shape: Shape) -> dict[str, Any]:
        given = args[name]
        return {**args, name: given if given is not None else (shape[axis] if len(shape) > axis else 1)}

    return complete


def chain(layers: Sequence[tuple[str, str, Args]], start: str = INPUT) -> tuple[Node, ...]:
    """Layers one after another: (name, op, arguments)."""
    nodes: list[Node] = []
    for name, op, args in layers:
        nodes.append(Node(name=name, op=op, args=args, inputs=(nodes[-1].key if nodes else start,)))
    return tuple(nodes)


# ---- MLP -------------------------------------------------------------------------------------------------------------


def _norm_args(norm: str, channels: int) -> Args:
    return {"num_features": channels} if norm == "BatchNorm1d" else {"normalized_shape": [channels]}


def _mlp_nodes(args: Args) -> tuple[Node, ...]:
    layers: list[tuple[str, Args]] = []
    before, *_ = widths = [int(args["in_channels"]), *args["hidden_channels"]]
    for place, channels in enumerate(widths[1:]):
        hidden = place < len(widths) - 2
        layers.append(("Linear", {"in_features": before, "out_features": channels, "bias": args["bias"]}))
        if hidden and args["norm_layer"] is not None:
            layers.append((args["norm_layer"], _norm_args(args["norm_layer"], channels)))
        if hidden:
            layers.append((args["activation_layer"], {}))
        layers.append(("Dropout", {"p": args["dropout"]}))
        before = channels
    return chain([(str(place), op, given) for place, (op, given) in enumerate(layers)])


# ---- LeNet -----------------------------------------------------------------------------------------------------------


def _lenet_complete(args: Args, shape: Shape) -> dict[str, Any]:
    return from_shape("size", 3)(from_shape("in_channels", 1)(args, shape), shape)


def _conv(before: int, channels: int, kernel: int, **more: Any) -> Args:
    return {"in_channels": before, "out_channels": channels, "kernel_size": kernel, **more}


def _lenet_nodes(args: Args) -> tuple[Node, ...]:
    def stage(place: int, before: int, channels: int) -> list[tuple[str, str, Args]]:
        return [
            (f"features.{place}", "Conv2d", _conv(before, channels, 5)),
            (f"features.{place + 1}", "BatchNorm2d", {"num_features": channels}),
            (f"features.{place + 2}", "Sigmoid", {}),
            (f"features.{place + 3}", "AvgPool2d", {"kernel_size": 2, "stride": 2}),
        ]

    def linear(place: int, before: int, channels: int) -> list[tuple[str, str, Args]]:
        return [
            (f"classifier.{place}", "Linear", {"in_features": before, "out_features": channels}),
            (f"classifier.{place + 1}", "BatchNorm1d", {"num_features": channels}),
            (f"classifier.{place + 2}", "Sigmoid", {}),
        ]

    if args["size"] < 16:
        raise ValueError(f"LeNet takes images of at least 16x16, not of {args['size']}")
    side = (int(args["size"]) - 12) // 4
    return chain(
        [
            *stage(0, int(args["in_channels"]), 6),
            *stage(4, 6, 16),
            ("classifier.0", "Flatten", {}),
            *linear(1, 16 * side * side, 120),
            *linear(4, 120, 84),
            ("classifier.7", "Linear", {"in_features": 84, "out_features": args["num_classes"]}),
        ]
    )


# ---- residual blocks -------------------------------------------------------------------------------------------------


def _residual(convolutions: Sequence[Args], out_channels: int, args: Args) -> tuple[Node, ...]:
    """Convolutions with a norm and an activation after each, and the shortcut added before the last activation."""
    alike = args["in_channels"] == out_channels and args["stride"] == 1
    if not alike and not args["projection"]:
        raise ValueError("a shortcut that changes channels or size needs projection: true")
    nodes: list[Node] = []
    source = INPUT
    last = len(convolutions)
    for number, given in enumerate(convolutions, 1):
        conv, norm = f"conv{number}", f"bn{number}"
        nodes.append(Node(name=conv, op="Conv2d", args={**given, "bias": False}, inputs=(source,)))
        nodes.append(Node(name=norm, op="BatchNorm2d", args={"num_features": given["out_channels"]}, inputs=(conv,)))
        source = norm
        if number < last:
            nodes.append(Node(name="relu", op="ReLU", inputs=(source,), call=number - 1))
            source = nodes[-1].key
    shortcut = INPUT
    if args["projection"]:
        stride = {"stride": args["stride"], "bias": False}
        nodes += chain(
            [
                ("downsample.0", "Conv2d", _conv(int(args["in_channels"]), out_channels, 1, **stride)),
                ("downsample.1", "BatchNorm2d", {"num_features": out_channels}),
            ]
        )
        shortcut = nodes[-1].key
    nodes.append(Node(name="+", op="add", inputs=(source, shortcut)))
    nodes.append(Node(name="relu", op="ReLU", inputs=("+",), call=last - 1))
    return tuple(nodes)


def _basic_nodes(args: Args) -> tuple[Node, ...]:
    before, channels = int(args["in_channels"]), int(args["channels"])
    convolutions = [
        _conv(before, channels, 3, stride=args["stride"], padding=1),
        _conv(channels, channels, 3, padding=1),
    ]
    return _residual(convolutions, channels, args)


def _bottleneck_nodes(args: Args) -> tuple[Node, ...]:
    before, channels = int(args["in_channels"]), int(args["channels"])
    convolutions = [
        _conv(before, channels, 1),
        _conv(channels, channels, 3, stride=args["stride"], padding=1),
        _conv(channels, 4 * channels, 1),
    ]
    return _residual(convolutions, 4 * channels, args)


def _strided(channels: int, args: Args, shape: Shape) -> Shape:
    return (shape[0], channels, *(-(-size // int(args["stride"])) for size in shape[2:]))


# ---- dense block -----------------------------------------------------------------------------------------------------


def _dense_nodes(args: Args) -> tuple[Node, ...]:
    channels, growth = int(args["in_channels"]), int(args["growth_rate"])
    nodes: list[Node] = []
    source = INPUT
    for place in range(int(args["num_layers"])):
        name = f"layers.{place}"
        nodes += chain(
            [
                (f"{name}.norm", "BatchNorm2d", {"num_features": channels}),
                (f"{name}.relu", "ReLU", {}),
                (f"{name}.conv", "Conv2d", _conv(channels, growth, 3, padding=1)),
            ],
            source,
        )
        nodes.append(Node(name=f"cat.{place}", op="concat", inputs=(source, f"{name}.conv")))
        source = nodes[-1].key
        channels += growth
    if args["transition"]:
        nodes += chain(
            [
                ("transition.norm", "BatchNorm2d", {"num_features": channels}),
                ("transition.relu", "ReLU", {}),
                ("transition.conv", "Conv2d", _conv(channels, channels // 2, 1)),
                ("transition.pool", "AvgPool2d", {"kernel_size": 2, "stride": 2}),
            ],
            source,
        )
    return tuple(nodes)


def _dense_shape(args: Args, shape: Shape) -> Shape:
    channels = int(args["in_channels"]) + int(args["num_layers"]) * int(args["growth_rate"])
    if not args["transition"]:
        return (shape[0], channels, *shape[2:])
    return (shape[0], channels // 2, *(size // 2 for size in shape[2:]))


# ---- entries ---------------------------------------------------------------------------------------------------------


def completed(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes with every argument of their layers, those that the network leaves at their defaults as well."""
    from conformance.ops import OPS  # the table holds the networks too

    def whole(node: Node) -> Node:
        if node.op not in OPS:
            return node
        entry = OPS[node.op]
        args = entry.complete(entry.defaults() | dict(node.args), (1,) * entry.ranks[-1])
        return Node(name=node.name, op=node.op, args=args, inputs=node.inputs, call=node.call)

    return tuple(map(whole, nodes))


def _named(nodes: Sequence[Node], kind: str) -> dict[str, Shape]:
    """Parameters or buffers of all layers by their dotted names, in the order of the modules."""
    from conformance.ops import OPS  # the table holds the networks too

    found: dict[str, Shape] = {}
    for node in nodes:
        own: Mapping[str, Shape] = getattr(OPS[node.op], kind)(node.args) if node.op in OPS else {}
        found |= {f"{node.name}.{name}": shape for name, shape in own.items()}
    return found


def layer_dtype(op: str, dtype: str, param_dtype: str) -> str:
    """The dtype of a layer's parameters and buffers inside of a network.

    Norms that take an input narrower than their parameters have them in the ``param_dtype`` of the case, as in mixed
    precision.  Linear and convolutional layers refuse that, and RMSNorm would return the wider type.
    """
    return param_dtype if op in _MIXED else dtype


def state_names(nodes: Sequence[Node]) -> Iterator[str]:
    """The names of a network's state_dict: for each module its parameters, then its buffers."""
    modules = {node.name: (node,) for node in reversed(nodes)}
    for name in dict.fromkeys(node.name for node in nodes):
        yield from _named(modules[name], "parameters")
        yield from _named(modules[name], "buffers")


def _network(
    name: str,
    family: str,
    about: str,
    arguments: tuple[Argument, ...],
    rank: int,
    complete: Callable[[Args, Shape], dict[str, Any]],
    nodes: Callable[[Args], tuple[Node, ...]],
    output_shape: Callable[[Args, Shape], Shape],
    sides: tuple[tuple[str, int], ...] = (),
) -> Op:
    """``sides``: further arguments that are sizes of axes."""

    def whole(args: Args) -> tuple[Node, ...]:
        return completed(nodes(args))

    return Op(
        name=name,
        family=family,
        reference="references.network:Network",
        arguments=arguments,
        ranks=(rank,),
        complete=complete,
        parameters=lambda args: _named(whole(args), "parameters"),
        buffers=lambda args: _named(whole(args), "buffers"),
        facts=lambda args, shape: {
            "rank": len(shape),
            "batch": shape[0] if shape else 0,
            "elements": prod(shape),
            "layers": len(nodes(args)),
        },
        module=f"conformance.backends.networks:{'mlp' if name == 'MLP' else name}",
        judged="network",
        misfit=all_of(*(size_of_axis(argument, axis) for argument, axis in (("in_channels", 1), *sides))),
        output_shape=output_shape,
        nodes=whole,
        about=about,
    )


_IN_CHANNELS = Argument("in_channels", ("int", "null"), None, "null takes the second axis of the shape")
_RESIDUAL = (
    _IN_CHANNELS,
    Argument("channels", ("int",), 4, "of the 3x3 convolutions"),
    Argument("stride", ("int",), 1, "of the first 3x3 convolution and of the shortcut"),
    Argument("projection", ("bool",), False, "whether the shortcut is a 1x1 convolution with a norm"),
)

NETWORKS: tuple[Op, ...] = (
    _network(
        "MLP",
        "mlp",
        "torchvision.ops.MLP: linear, norm, activation and dropout for each hidden layer",
        (
            _IN_CHANNELS,
            Argument("hidden_channels", ("ints",), [8, 8, 4], "sizes of the layers, the last being the output"),
            Argument("norm_layer", ("null", *_NORMS), None, "by its name in torch.nn"),
            Argument("activation_layer", _ACTIVATIONS, "ReLU", "by its name in torch.nn"),
            Argument("inplace", ("bool", "null"), None, "given to activation and dropout; null gives it to neither"),
            Argument("bias", ("bool",), True, "of the linear layers"),
            Argument("dropout", ("float", "int"), 0.0, "probability of an element to be zeroed"),
        ),
        2,
        from_shape("in_channels", 1),
        _mlp_nodes,
        lambda args, shape: (*shape[:-1], int(args["hidden_channels"][-1])),
    ),
    _network(
        "LeNet",
        "lenet",
        "LeNet with sigmoids, and a batch normalisation after every hidden convolution and linear layer",
        (
            _IN_CHANNELS,
            Argument("size", ("int", "null"), None, "height and width of the image; null takes the shape's"),
            Argument("num_classes", ("int",), 10),
        ),
        4,
        _lenet_complete,
        _lenet_nodes,
        lambda args, shape: (shape[0], int(args["num_classes"])),
        (("size", 2), ("size", 3)),
    ),
    _network(
        "BasicBlock",
        "residual",
        "the residual block of ResNet-18: two 3x3 convolutions and a shortcut",
        _RESIDUAL,
        4,
        from_shape("in_channels", 1),
        _basic_nodes,
        lambda args, shape: _strided(int(args["channels"]), args, shape),
    ),
    _network(
        "Bottleneck",
        "residual",
        "the residual block of ResNet-50: 1x1, 3x3 and 1x1 convolutions and a shortcut",
        _RESIDUAL,
        4,
        from_shape("in_channels", 1),
        _bottleneck_nodes,
        lambda args, shape: _strided(4 * int(args["channels"]), args, shape),
    ),
    _network(
        "DenseBlock",
        "dense",
        "a dense block, whose layers see all outputs before them, and a transition layer",
        (
            _IN_CHANNELS,
            Argument("growth_rate", ("int",), 4, "channels that each layer adds"),
            Argument("num_layers", ("int",), 2),
            Argument("transition", ("bool",), True, "whether a 1x1 convolution and a pool halve channels and size"),
        ),
        4,
        from_shape("in_channels", 1),
        _dense_nodes,
        _dense_shape,
    ),
)
