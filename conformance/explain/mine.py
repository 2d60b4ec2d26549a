"""Somebody's own class in the place of torch's."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from conformance.errors import UsageError
from conformance.explain.experiment import Experiment
from conformance.explain.trial import Runner
from conformance.observation import Observation


def runner(spec: str) -> Runner:
    """What runs experiments with the class that ``module:Class`` or ``file.py:Class`` names.

    Raises:
        UsageError: there is no such module, file or class, or it cannot be imported.
    """
    factory = _loaded(spec)

    def run(experiment: Experiment) -> Observation:
        from conformance.backends.torch_module import TorchModule

        return TorchModule("yours", "cpu", factory).run(experiment.case, experiment.inputs)

    return run


def _loaded(spec: str) -> Any:
    home, _, name = spec.rpartition(":")
    if not home or not name:
        raise UsageError(f"{spec!r} names no class", hint="write module:Class or file.py:Class, as my_bn.py:BatchNorm")
    try:
        module = _from_file(Path(home)) if home.endswith(".py") else importlib.import_module(home)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{home} cannot be imported: {type(error).__name__}: {error}", hint="it must be importable from this folder"
        ) from error
    if not hasattr(module, name):
        known = [each for each in vars(module) if not each.startswith("_") and callable(getattr(module, each))]
        raise UsageError(f"{home} has no {name}", hint=f"it has: {', '.join(known) or 'nothing that can be called'}")
    return getattr(module, name)


def _from_file(file: Path) -> Any:
    if not file.is_file():
        raise UsageError(f"there is no file {file}", hint="write file.py:Class with the path from this folder")
    made = importlib.util.spec_from_file_location(file.stem, file)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules[file.stem] = module
    made.loader.exec_module(module)
    return module
