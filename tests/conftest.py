"""What many tests need: a case written by hand, the fakes, and Hypothesis profiles.

The profiles are said in full because Hypothesis loads one of its own where it sees a CI system.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from conformance.ops import OPS
from conformance.suite.case import Case, Origin

sys.path.insert(0, str(Path(__file__).parent / "fakes"))  # worker processes import the fakes by name

_CACHE = tempfile.mkdtemp(prefix="conformance-tests-")  # the user's own cache is neither read nor written
os.environ["CONFORMANCE_CACHE_DIR"] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", deadline=None, derandomize=False, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

FIELDS = frozenset(Case.__struct_fields__)


def build(op: str, shape: tuple[int, ...], dtype: str = "float32", **given: object) -> Case:
    """A case whose fields are its keywords; every other keyword is an argument of the layer."""
    fields = {name: value for name, value in given.items() if name in FIELDS}
    arguments = {name: value for name, value in given.items() if name not in FIELDS}
    defaults = {
        "id": f"{op}::by-hand",
        "key": f"{op}-{shape}-{dtype}-{sorted(arguments.items())}",
        "args": OPS[op].complete(OPS[op].defaults() | arguments, shape),
        "param_dtype": dtype,
        "origin": Origin("by-hand.yaml", 1, 1),
    }
    return Case(**{**defaults, "op": op, "shape": shape, "dtype": dtype, **fields})


@pytest.fixture(scope="session")
def case_of() -> Callable[..., Case]:
    """Build a case: ``case_of("LayerNorm", (4, 8), "float32", data="scaled", eps=1e-3)``."""
    return build
