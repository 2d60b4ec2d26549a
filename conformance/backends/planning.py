"""The state that each step of a case meets, as torch makes it.

Between the steps the torch module itself trains on, as it does in practice: one trains in torch and exports what came
of it.  So the graph of step k holds the parameters and buffers that torch had after step k - 1.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator

import msgspec
import torch

from conformance.backends.dynamic_axes import example_shape
from conformance.backends.modules import build, load_state
from conformance.backends.planned import Planned, decisive, form_of
from conformance.backends.reasons import stated
from conformance.backends.state import fingerprint, outline
from conformance.backends.tensors import to_array, to_tensor
from conformance.backends.training import Training
from conformance.inputs import Inputs, StepInputs
from conformance.observation import Unsupported
from conformance.suite.case import Case


def plan(case: Case, inputs: Inputs) -> Iterator[Planned]:
    """What to export at each step; the torch module moves its buffers, and its parameters, from one to the next.

    Raises:
        Unsupported: torch itself cannot build or train the module.
    """
    torch.set_num_threads(1)
    module = _new(case)
    try:
        load_state(module, case, inputs)
    except Exception as error:
        raise stated("torch", error) from error
    form = form_of(case)
    shape = example_shape(case) if case.export.dynamic else case.shape
    layer = (case.op, case.args, shape, case.dtype, case.param_dtype, form.dynamic, form.opset)
    training = Training(module, case)
    for number, (mode, given) in enumerate(zip(case.steps, inputs.steps, strict=True)):
        training.before(number)
        state = {name: to_array(tensor) for name, tensor in module.state_dict().items()}
        values = decisive(case, state)
        text = msgspec.json.encode((layer, mode, outline(values)))
        digest = hashlib.sha256(text).hexdigest()
        if mode == "train":
            _move(module.train(), given, training)
        yield Planned(case, mode, given.x, state, digest, f"{digest} {fingerprint(values)}", training.after(mode))


def _new(case: Case) -> torch.nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return build(case)
        except Unsupported:
            raise
        except Exception as error:
            raise stated("torch", error) from error


def _move(module: torch.nn.Module, given: StepInputs, training: Training) -> None:
    """Let the module see the batch as in training; without buffers and an optimizer nothing would come of it."""
    if next(module.buffers(), None) is None and not training.updates:
        return
    with warnings.catch_warnings(), torch.set_grad_enabled(training.updates):
        warnings.simplefilter("ignore")
        try:
            module.zero_grad(set_to_none=True)
            output = module(to_tensor(given.x))
            if training.updates:
                output.backward(to_tensor(given.grad_output))
        except Exception as error:
            raise stated("torch", error) from error
