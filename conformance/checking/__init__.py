"""Checking somebody's own layer: all cases of an op on it, what fails and what that has in common, the smallest case.

``conformance.check`` and ``conformance check`` are the two fronts; ``session`` is what both do.
"""
