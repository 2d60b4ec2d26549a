"""What a call of the exporter does on the side, left out or done once where nothing of it reaches a graph.

Each of these is a switch or a function deep inside of torch; a torch that keeps them elsewhere is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest.mock import patch

_REGISTRIES: dict[tuple[Any, ...], Any] = {}


@contextmanager
def one_registry() -> Iterator[None]:
    """The exporter reads its translations of operators anew in every call, for the larger part of a small call's time.

    They depend on the version of the operators alone, so that one table for each version will do.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        make = ONNXRegistry.from_torchlib
    except (ImportError, AttributeError):
        yield
        return

    def kept(*arguments: Any, **named: Any) -> Any:
        key = (*arguments, *sorted(named.items()))
        if key not in _REGISTRIES:
            _REGISTRIES[key] = make(*arguments, **named)
        return _REGISTRIES[key]

    with patch.object(ONNXRegistry, "from_torchlib", staticmethod(kept)):
        yield


@contextmanager
def many_together() -> Iterator[None]:
    """For a call that exports many modules, and that is repeated in parts where it fails.

    Nobody reads where a node was traced, nor the source of a graph; one way of capturing is tried, since what that way
    does not capture is exported by itself afterwards, in every way; and operators are looked up once.
    """
    with ExitStack() as stack:
        for each in (one_registry, _without_traces, _without_sources, _one_way, _operators_once):
            with suppress(ImportError, AttributeError):
                stack.enter_context(each())
        yield


@contextmanager
def _without_traces() -> Iterator[None]:
    from torch.fx import config

    with patch.object(config, "do_not_emit_stack_traces", True):  # noqa: FBT003 - the value of a setting
        yield


@contextmanager
def _without_sources() -> Iterator[None]:
    from torch.fx._lazy_graph_module import _use_lazy_graph_module

    with _use_lazy_graph_module(True):  # noqa: FBT003 - the only argument of somebody else's function
        yield


@contextmanager
def _one_way() -> Iterator[None]:
    from torch.onnx._internal.exporter import _capture_strategies as ways

    with patch.object(ways, "CAPTURE_STRATEGIES", (ways.TorchExportNonStrictStrategy,)):
        yield


@contextmanager
def _operators_once() -> Iterator[None]:
    """In one call torch asks its dispatcher for all composite operators anew for every namespace, and then again."""
    from torch._export import utils

    ask: Callable[[], None] = utils._materialize_cpp_cia_ops  # noqa: SLF001 - torch has no public way
    asked: list[bool] = []

    def once() -> None:
        if not asked:
            ask()
            asked.append(True)

    with patch.object(utils, "_materialize_cpp_cia_ops", once):
        yield
