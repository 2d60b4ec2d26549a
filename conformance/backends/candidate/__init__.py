"""Somebody's own layer as a backend: found by its name, its kind and its names taken for what they are.

``check:mykernels:BatchNorm2d?like=BatchNorm2d`` is the name of such a backend; ``spec`` says what may stand in it.
Nothing here knows verdicts; what is only worth a remark travels in the structure of the first step.
"""
