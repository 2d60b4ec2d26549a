"""The likely mistake: what a failing case says about its cause, and what failing cases have in common."""

from __future__ import annotations

from conformance.diagnose.merge import Diagnosis, diagnose
from conformance.diagnose.suspects import Searches, suspects

__all__ = ["Diagnosis", "Searches", "diagnose", "suspects"]
