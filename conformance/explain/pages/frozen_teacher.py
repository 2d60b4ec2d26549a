"""Mistakes that are made with a frozen teacher."""

from __future__ import annotations

from conformance.explain.pages.entry import MistakePage

FROZEN_TEACHER: dict[str, MistakePage] = {
    "teacher-in-train-mode": MistakePage(
        "teacher.running_mean = teacher.running_mean    (whatever the mode of the student)",
        "teacher.running_mean = (1 - momentum) * teacher.running_mean + momentum * batch",
        "requires_grad_(False) freezes the parameters alone. train() of the whole reaches the teacher too, so eval() "
        "has to be said to it after every train(), and its buffers move with every forward pass where it is not.",
    ),
}
