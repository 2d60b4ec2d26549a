"""Random arguments of the layers, which fit together and fit their shapes."""

from __future__ import annotations


def drawn(op, random):
    """Arguments of an op that fit together, and a shape that they fit."""
    size = [random.choice((1, 2, 3)), random.choice((2, 4)), random.randint(5, 9), random.randint(5, 9)]
    shape = tuple(size if random.random() < 0.8 else size[1:])
    sizes = lambda *choice: random.choice([*choice, [random.choice(choice), random.choice(choice)]])  # noqa: E731 - four uses
    if op == "Linear":
        shape = tuple(random.randint(1, 5) for _ in range(random.randint(1, 4)))
        return {"out_features": random.randint(1, 6), "bias": random.random() < 0.7}, shape
    if op == "Conv2d":
        padding = random.choice(("same", "valid", sizes(0, 1, 2)))
        mode = random.choice(("zeros", "zeros", "reflect", "replicate", "circular"))
        stride = 1 if padding == "same" else sizes(1, 2)
        groups = random.choice((1, 2))
        return {
            "out_channels": 2 * random.randint(1, 3), "kernel_size": sizes(1, 2, 3), "stride": stride,
            "padding": padding, "dilation": sizes(1, 2), "groups": groups, "bias": random.random() < 0.7,
            "padding_mode": mode,
        }, shape  # fmt: skip
    given = {
        "kernel_size": sizes(2, 3), "stride": random.choice((None, 1, 2, [1, 2])), "padding": random.choice((0, 1)),
        "ceil_mode": random.random() < 0.5,
    }  # fmt: skip
    if op == "MaxPool2d":
        return given | {"dilation": sizes(1, 2)}, shape
    if op == "AvgPool2d":
        return given | {"count_include_pad": random.random() < 0.5, "divisor_override": random.choice((None, 5))}, shape
    return {}, tuple(random.randint(1, 5) for _ in range(random.randint(1, 5)))
