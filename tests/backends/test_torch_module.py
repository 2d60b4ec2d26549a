"""Running cases in torch."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pytest
import torch

from conformance.backends import load
from conformance.backends.torch_module import TorchModule
from conformance.inputs import make_inputs
from conformance.observation import Unsupported
from conformance.ops import OPS
from conformance.suite.case import Layout, Raises


class Keeps(torch.nn.Module):
    """Returns its input and remembers how it came."""

    seen: list[torch.Tensor]

    def __init__(self, **_):
        super().__init__()
        Keeps.seen = []

    def forward(self, x):
        Keeps.seen.append(x)
        return x * 1


class Doubles(Keeps):
    """Writes into its input."""

    def forward(self, x):
        with torch.no_grad():
            x.mul_(2)
        return x * 1


class WritesBeside(Keeps):
    """Leaves its input alone, but not the memory between its elements."""

    def forward(self, x):
        with torch.no_grad():
            torch.empty(0, dtype=x.dtype).set_(x.detach().untyped_storage())[0] = 1.0
        return x * 1


class FailsLater(Keeps):
    def forward(self, x):
        if not self.training:
            raise ArithmeticError("no evaluation today")
        return x * 1


class Transposes(Keeps):
    def forward(self, x):
        return x.t()


class ReturnsPair(Keeps):
    def forward(self, x):
        return x, x


class Warns(Keeps):
    def forward(self, x):
        warnings.warn("deprecated", stacklevel=1)
        return x * 1


def _run(case, factory=None):
    return TorchModule("test", "cpu", factory).run(case, make_inputs(case))


def _bare(case_of, **fields):
    """A case without parameters."""
    return case_of("LayerNorm", shape=(4, 6), args={"elementwise_affine": False}, **fields)


@pytest.mark.parametrize("op", OPS)
def test_every_op_gives_every_quantity_in_train_and_eval(op, case_of):
    case = case_of(op, steps=("train", "eval"))
    observed = _run(case)
    buffers = {f"buffer.{name}" for name in OPS[op].buffers(case.args)}
    frozen = OPS[op].frozen(case.args)
    gradients = {f"grad.{name}" for name in OPS[op].parameters(case.args) if name not in frozen}
    assert observed.raised is None
    assert observed.seconds > 0
    for step in observed.steps:
        assert set(step.arrays) == {"output", "grad_input"} | buffers | gradients
        assert step.structure["dtype"] == "float32"
        assert step.structure["shape"] == "x".join(map(str, OPS[op].output_shape(case.args, case.shape)))
        assert step.structure["input_modified"] == "no"
        assert set(step.structure["state_dict"].split(",")) - {""} == {*OPS[op].parameters(case.args)} | {
            name.partition(".")[2] for name in buffers
        }


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_layout_feeds_the_values_of_the_inputs(layout, dtype, case_of):
    shape = {"channels_last": (2, 3, 4, 5), "channels_last_3d": (2, 3, 4, 5, 2)}.get(layout, (3, 4))
    fields = {"dtype": dtype, "layout": layout, "grad_layout": layout}
    case = case_of("LayerNorm", shape=shape, args={"elementwise_affine": False}, **fields)
    inputs = make_inputs(case)
    step = TorchModule("test", "cpu", Keeps).run(case, inputs).steps[0]
    assert step.arrays["output"].tobytes() == inputs.steps[0].x.tobytes()
    assert step.arrays["grad_input"].tobytes() == inputs.steps[0].grad_output.tobytes()
    if layout == "strided":
        assert Keeps.seen[0].storage_offset() % 2 == 1
    assert Keeps.seen[0].is_contiguous() == (layout == "contiguous")


def test_an_observed_buffer_does_not_move_with_the_module(case_of):
    case = case_of("BatchNorm2d", steps=("train", "train"))
    first, second = (step.arrays["buffer.running_mean"] for step in _run(case).steps)
    assert not np.array_equal(first, second)


def test_num_batches_tracked_counts_training_steps_as_int64(case_of):
    case = case_of("BatchNorm2d", steps=("train", "eval", "train"), buffers="default")
    counts = [step.arrays["buffer.num_batches_tracked"] for step in _run(case).steps]
    assert [count.dtype for count in counts] == [np.int64] * 3
    assert [int(count) for count in counts] == [1, 1, 2]


def test_gradients_do_not_add_up_over_steps(case_of):
    once = _run(case_of("LayerNorm", steps=("train",)))
    case = case_of("LayerNorm", steps=("eval", "train"))
    inputs = make_inputs(case_of("LayerNorm", steps=("train",)))
    twice = TorchModule("test", "cpu").run(case, type(inputs)(inputs.params, inputs.buffers, inputs.steps * 2))
    assert len(twice.steps) == 2
    for step in twice.steps:
        assert np.array_equal(step.arrays["grad.weight"], once.steps[0].arrays["grad.weight"])


def test_without_anything_to_differentiate_there_is_no_gradient(case_of):
    step = _run(_bare(case_of, requires_grad=False)).steps[0]
    assert set(step.arrays) == {"output"}


def test_parameters_have_gradients_though_the_input_has_none(case_of):
    step = _run(case_of("LayerNorm", requires_grad=False)).steps[0]
    assert set(step.arrays) == {"output", "grad.weight", "grad.bias"}


def test_an_exception_of_the_constructor_is_step_minus_one(case_of):
    inputs = make_inputs(case_of("GroupNorm"))
    observed = load("torch-cpu").run(case_of("GroupNorm", args={"num_groups": 4}), inputs)
    assert observed.steps == ()
    assert (observed.raised.type, observed.raised.step) == ("ValueError", -1)
    assert "divisible" in observed.raised.message


def test_an_exception_keeps_the_steps_before_it(case_of):
    observed = _run(_bare(case_of, steps=("train", "train", "eval")), FailsLater)
    assert len(observed.steps) == 2
    assert (observed.raised.type, observed.raised.message, observed.raised.step) == (
        "ArithmeticError", "no evaluation today", 2,
    )  # fmt: skip


def test_integers_meet_the_module_itself(case_of):
    observed = _run(_bare(case_of, dtype="int64", raises=Raises("RuntimeError", "Long")))
    assert observed.raised.type in ("RuntimeError", "NotImplementedError")
    assert observed.raised.step == 0
    assert "requires_grad" not in observed.raised.message


@pytest.mark.parametrize("factory", [Doubles, WritesBeside])
def test_a_module_that_writes_into_its_input_is_noticed(factory, case_of):
    fields = {"requires_grad": False, "layout": "strided" if factory is WritesBeside else "contiguous"}
    assert _run(_bare(case_of, **fields), factory).steps[0].structure["input_modified"] == "yes"


@pytest.mark.parametrize("data", ["normal", "nan_inf"])
def test_nan_in_the_input_is_no_modification(data, case_of):
    case = _bare(case_of)
    inputs = make_inputs(case)
    if data == "nan_inf":
        inputs.steps[0].x[0, :2] = (np.nan, np.inf)
    step = TorchModule("test", "cpu").run(case, inputs).steps[0]
    assert step.structure["input_modified"] == "no"


def test_an_output_of_another_shape_is_told_by_the_structure(case_of):
    step = _run(_bare(case_of), Transposes).steps[0]
    assert step.structure["shape"] == "6x4"
    assert "grad_input" not in step.arrays


def test_an_output_that_is_no_tensor_is_an_exception_of_its_step(case_of):
    observed = _run(_bare(case_of), ReturnsPair)
    assert observed.raised.message == "the module returned tuple, expected a tensor"


def test_warnings_of_the_module_do_not_reach_stderr(case_of, capfd):
    _run(_bare(case_of), Warns)
    assert capfd.readouterr().err == ""


def test_a_kernel_that_torch_lacks_is_unsupported_in_its_own_words(case_of):
    with pytest.raises(Unsupported, match=r"torch: NotImplementedError: .*avg_pool3d.* not implemented for 'BFloat16'"):
        _run(case_of("LocalResponseNorm", dtype="bfloat16"))


def test_a_layout_that_does_not_fit_is_unsupported(case_of):
    backend = load("torch-cpu")
    assert (
        backend.unsupported(case_of("LayerNorm", layout="channels_last"))
        == "channels_last needs 4 axes, the input has 3"
    )
    assert backend.unsupported(case_of("BatchNorm2d", grad_layout="channels_last")) is None


def test_cuda_says_that_it_is_missing():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert load("torch-cuda").available() == f"no CUDA device (torch {torch.__version__})"


@pytest.mark.cuda
@pytest.mark.parametrize("op", OPS)
def test_cuda_observes_what_the_cpu_observes(op, case_of):
    backend = load("torch-cuda")
    missing = backend.available()
    if missing is not None:
        pytest.skip(f"missing: {missing}; nothing was checked on CUDA")
    case = case_of(op, steps=("train", "eval"), dtype="float64", param_dtype="float64")
    inputs = make_inputs(case)
    there, here = backend.run(case, inputs), load("torch-cpu").run(case, inputs)
    assert there.raised is None
    for got, expected in zip(there.steps, here.steps, strict=True):
        assert got.structure == expected.structure
        assert set(got.arrays) == set(expected.arrays)
        for name, array in expected.arrays.items():
            np.testing.assert_allclose(got.arrays[name], array, rtol=1e-9, atol=1e-9, err_msg=name)
