"""What a page is made of, before it is drawn: sentences, drawings, and formulas with the numbers that they give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula and its number.  mistake: the id of the mistake that it is; empty for the definition.

    worked: the arithmetic with numbers in it, without the result; empty where it is too long to be read.
    hidden: rounding may explain the difference here, so that nothing can be told from this number.
    """

    text: str
    value: float
    worked: str = ""
    mistake: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What a framework gave.  follows: the mistake whose formula its number follows; empty for the definition."""

    who: str
    value: float
    follows: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One number of one experiment: by the definition, by mistaken formulas, and as frameworks give it.

    allowed: the error that rounding may explain in it.
    """

    what: str
    right: Formula
    wrong: tuple[Formula, ...]
    seen: tuple[Seen, ...]
    allowed: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Lines that are not to be wrapped."""

    lines: tuple[str, ...]


Block = str | Drawing | Contrast


@dataclass(frozen=True, slots=True)
class Yours:
    """What somebody's own class gave in an experiment, and the formulas that give the same in all of its values.

    matches: formulas, the definition among them where it is met; ``mistake`` names those that are not the definition.
    failed: the exception that it ended in, or what else kept it from being compared; empty where nothing did.
    asked: False where the class does not take the arguments of any layer in which the experiment can be made.
    """

    what: str
    value: float | None
    right: Formula
    matches: tuple[Formula, ...]
    failed: str = ""
    asked: bool = True

    @property
    def agrees(self) -> bool:
        return any(not formula.mistake for formula in self.matches)


@dataclass(frozen=True, slots=True)
class Page:
    topic: str
    title: str
    blocks: tuple[Block, ...]
    see: tuple[str, ...] = ()

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Contrast))
