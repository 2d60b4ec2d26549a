"""Mistakes that are made with a frozen teacher."""

from __future__ import annotations

from references.mistakes.catalogue import Mistake

FROZEN_TEACHER: tuple[Mistake, ...] = (
    Mistake(
        "teacher-in-train-mode",
        "the teacher is not in eval mode: it normalises with the batch, and its buffers move",
        "buffer.teacher.running_mean",
        ("frozen_teacher",),
        {"teacher_mode": lambda _self, mode: mode},
    ),
)
