"""Networks in a run: no alarm for correct ones, and a planted fault names its module, in float32 and in bfloat16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted_networks import SWAPPED, TRANSPOSED, WITHOUT_BIAS, early, planted, reordered
from torch import nn

from conformance.backends.modules import factory_of
from conformance.backends.torch_module import TorchModule
from conformance.composition import nodes_of
from conformance.inputs import make_inputs
from conformance.judge import Expectation, judge
from conformance.ops import OPS
from conformance.suite.case import Divergence, Origin

MLP = ("MLP", (5, 6), {"norm_layer": "BatchNorm1d", "activation_layer": "Tanh"})
MLP_LAYER = ("MLP", (5, 6), {"norm_layer": "LayerNorm", "activation_layer": "ReLU"})
LENET = ("LeNet", (2, 1, 16, 16), {})
BASIC = ("BasicBlock", (3, 4, 5, 6), {})
BASIC_DOWN = ("BasicBlock", (3, 3, 7, 6), {"projection": True, "stride": 2})
BOTTLENECK = ("Bottleneck", (3, 16, 5, 5), {})
BOTTLENECK_DOWN = ("Bottleneck", (2, 3, 6, 6), {"projection": True, "stride": 2})
DENSE = ("DenseBlock", (3, 4, 6, 6), {})
NETWORKS = (MLP, LENET, BASIC, BASIC_DOWN, BOTTLENECK, BOTTLENECK_DOWN, DENSE)
DTYPES = ("float32", "bfloat16")  # bfloat16 with the parameters of norms in float32


def judged(case_of, network, dtype="float32", factory=None, **fields):
    op, shape, args = network
    case = case_of(op, shape, dtype, param_dtype="float32", **{"steps": ("train", "train", "eval")} | fields, **args)
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu", factory).run(case, inputs)
    return judge(case, Expectation(case, inputs), observation)


def at_fault(judgement):
    """The modules with figures that fail, the worst first."""
    bad = [figure.quantity for figure in judgement.figures if not figure.ok]
    return list(dict.fromkeys(quantity.partition(" (")[0] for quantity in bad if " (" in quantity))


def names(network, *ops):
    op, shape, args = network
    nodes = OPS[op].nodes(OPS[op].complete(OPS[op].defaults() | args, shape))
    return [node.name for node in nodes if node.op in ops]


def everywhere(*ops):
    """Every module of these ops in every network, in both formats."""
    return [
        pytest.param(network, name, dtype, id=f"{network[0]}-{name}-{dtype}")
        for network in NETWORKS
        for name in names(network, *ops)
        for dtype in DTYPES
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: f"{network[0]}{len(network[2])}")
def test_a_correct_network_raises_no_alarm(network, dtype, case_of):
    for seed in range(2):
        judgement = judged(case_of, network, dtype, key=f"seed {seed}", steps=("train", "eval", "train"))
        assert judgement.verdict == "pass", judgement.reason
        whole = {"output", "grad_input", "grad", "buffer"}  # judged from outside too, where that is sound
        assert (whole <= {f.quantity.split(".")[0] for f in judgement.figures}) == (dtype == "float32")


def test_every_module_has_a_figure_that_names_it(case_of):
    shown = {figure.quantity.partition(")")[0] + ")" for figure in judged(case_of, LENET).figures}
    assert {"features.1 (BatchNorm2d)", "classifier.0 (Flatten)", "classifier.7 (Linear)"} <= shown


@pytest.mark.parametrize(("network", "name", "dtype"), everywhere("BatchNorm1d", "BatchNorm2d"))
def test_a_swapped_variance_names_its_norm(network, name, dtype, case_of):
    judgement = judged(case_of, network, dtype, planted(network[0], name, SWAPPED))
    assert judgement.verdict == "fail"
    assert at_fault(judgement) == [name]


@pytest.mark.parametrize("name", names(MLP_LAYER, "LayerNorm"))
def test_an_unbiased_variance_of_a_layer_norm_names_it(name, case_of):
    judgement = judged(case_of, MLP_LAYER, "float32", planted("MLP", name, SWAPPED))
    assert at_fault(judgement) == [name]


BIASED = {"MLP": ("Linear",), "LeNet": ("Linear", "Conv2d", "BatchNorm1d"), "DenseBlock": ("Conv2d",)}


@pytest.mark.parametrize(
    ("network", "name", "dtype"),
    [one for one in everywhere("Linear", "Conv2d", "BatchNorm1d", "BatchNorm2d")
     if OPS[one.values[0][0]].nodes and one.values[1] in names(
         one.values[0], *BIASED.get(one.values[0][0], ("BatchNorm2d",)))],
)  # fmt: skip
def test_a_dropped_bias_names_its_module(network, name, dtype, case_of):
    judgement = judged(case_of, network, dtype, planted(network[0], name, WITHOUT_BIAS), steps=("train", "eval"))
    assert judgement.verdict == "fail"
    assert at_fault(judgement) == [name]
    assert any(f.quantity.endswith(" grad.bias") and f.got == "nothing" for f in judgement.figures)


SQUARE = [
    (MLP, "4"),
    (LENET, "features.0"),
    (LENET, "features.4"),
    (BASIC, "conv1"),
    (BASIC, "conv2"),
    (BASIC_DOWN, "conv2"),
    (BOTTLENECK, "conv2"),
    (BOTTLENECK_DOWN, "conv2"),
    (DENSE, "layers.0.conv"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("network", "name"), SQUARE, ids=str)
def test_a_transposed_square_weight_names_its_module(network, name, dtype, case_of):
    judgement = judged(case_of, network, dtype, planted(network[0], name, TRANSPOSED), steps=("train", "eval"))
    assert judgement.verdict == "fail"
    assert at_fault(judgement) == [name]


MOVED = [
    (MLP, reordered("MLP", "", 1), "1", "2"),
    (LENET, reordered("LeNet", "features", 1), "features.1", "features.2"),
    (LENET, reordered("LeNet", "classifier", 5), "classifier.5", "classifier.6"),
    (BASIC, early("BasicBlock"), "bn1", "relu"),
    (BASIC_DOWN, early("BasicBlock"), "bn1", "relu"),
    (BOTTLENECK, early("Bottleneck"), "bn1", "relu"),
    (DENSE, reordered("DenseBlock", "layers.1", 0), "layers.1.norm", "layers.1.relu"),
    (DENSE, reordered("DenseBlock", "transition", 0), "transition.norm", "transition.relu"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("network", "factory", "norm", "activation"), MOVED, ids=lambda part: str(part) if not callable(part) else "moved"
)
def test_an_activation_before_its_norm_is_told_with_both(network, factory, norm, activation, dtype, case_of):
    judgement = judged(case_of, network, dtype, factory, steps=("train", "eval"))
    assert judgement.verdict == "fail"
    wrong = {figure.quantity: figure.got for figure in judgement.figures if not figure.ok}
    norm_input = next(
        got for quantity, got in wrong.items() if quantity.startswith(f"{norm} (") and " input" in quantity
    )
    assert norm_input.startswith(f"the output of {activation} (")
    assert {norm, activation} <= set(at_fault(judgement))


def test_a_module_that_is_left_out_is_told(case_of):
    class Skipping(nn.Sequential):
        def forward(self, x):
            for module in list(self)[:2] + list(self)[3:]:
                x = module(x)
            return x

    def make(**args):
        network = factory_of("LeNet")(**args)
        network.features.__class__ = Skipping
        return network

    judgement = judged(case_of, LENET, factory=make, steps=("train",))
    wrong = {figure.quantity: figure.got for figure in judgement.figures if not figure.ok}
    assert wrong["features.2 (Sigmoid)"] == "no call"
    assert wrong["features.3 (AvgPool2d) input"] == "the output of features.1 (BatchNorm2d)"


@pytest.mark.parametrize("change", [lambda x: x[:1], lambda x: x.astype(np.float64)])
def test_a_module_that_was_given_another_shape_or_dtype_is_told_and_not_judged(change, case_of):
    op, shape, args = MLP
    case = case_of(op, shape, param_dtype="float32", **args)
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu").run(case, inputs)
    (step,) = observation.steps
    modules = list(step.modules)
    modules[1] = replace(modules[1], x=change(modules[1].x))
    judgement = judge(
        case, Expectation(case, inputs), replace(observation, steps=(replace(step, modules=tuple(modules)),))
    )
    assert {figure.quantity for figure in judgement.figures if not figure.ok} == {f"{modules[1]} input"}
    assert not [figure for figure in judgement.figures if figure.quantity == f"{modules[1]} output"]


@pytest.mark.parametrize("again", [{"name": "somebody"}, {"call": 7}])
def test_a_call_that_the_network_does_not_have_is_told(again, case_of):
    op, shape, args = MLP
    case = case_of(op, shape, param_dtype="float32", **args)
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu").run(case, inputs)
    (step,) = observation.steps
    extra = replace(step.modules[0], **again)
    more = replace(observation, steps=(replace(step, modules=(*step.modules, extra)),))
    judgement = judge(case, Expectation(case, inputs), more)
    (figure,) = (figure for figure in judgement.figures if not figure.ok)
    assert (figure.quantity, figure.expected) == (str(extra), "no such call in this network")


@pytest.mark.parametrize(
    ("place", "bad"), [(0, set()), (2, {"1 (BatchNorm1d) upstream gradient", "2 (Tanh) grad_input"})]
)
def test_where_the_input_needs_no_gradient_only_the_first_module_may_show_none(place, bad, case_of):
    op, shape, args = MLP
    case = case_of(op, shape, param_dtype="float32", requires_grad=False, **args)
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu").run(case, inputs)
    (step,) = observation.steps
    modules = list(step.modules)
    without = {name: array for name, array in modules[place].arrays.items() if name != "grad_input"}
    modules[place] = replace(modules[place], arrays=without)
    less = replace(observation, steps=(replace(step, modules=tuple(modules)),))
    judgement = judge(case, Expectation(case, inputs), less)
    assert {figure.quantity for figure in judgement.figures if not figure.ok} == bad


def test_a_sum_with_a_factor_is_told(case_of):
    class Scaled(factory_of("BasicBlock")):
        def forward(self, x):
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(out + 0.99 * x)

    judgement = judged(case_of, BASIC, "bfloat16", Scaled, steps=("train",))
    first = next(figure for figure in judgement.figures if not figure.ok)
    assert first.quantity == "relu (ReLU, call 1) input"
    assert first.budget > 1


def test_buffers_that_move_between_the_steps_are_told(case_of):
    class Restless(factory_of("BasicBlock")):
        def train(self, *mode):
            self.bn1.running_mean += 0.01
            return super().train(*mode)

    judgement = judged(case_of, BASIC, "bfloat16", Restless, steps=("eval", "eval"))
    assert at_fault(judgement) == ["bn1"]


def test_a_network_that_shows_nothing_inside_is_judged_by_its_ends(case_of):
    case = case_of(*BASIC[:2], steps=("train", "eval"))
    inputs = make_inputs(case)
    expectation = Expectation(case, inputs)
    observation = TorchModule("torch", "cpu").run(case, inputs)
    opaque = type(observation)(tuple(type(step)(step.arrays, step.structure) for step in observation.steps))
    assert judge(case, expectation, opaque).verdict == "pass"
    opaque.steps[0].arrays["grad.conv1.weight"][...] *= np.float32(1.001)
    judgement = judge(case, expectation, opaque)
    assert (judgement.verdict, judgement.figures[0].quantity) == ("fail", "grad.conv1.weight")


def test_kinks_in_bfloat16_cannot_be_judged_by_the_ends_alone(case_of):
    case = case_of(*BASIC[:2], "bfloat16", param_dtype="float32", steps=("train",))
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu").run(case, inputs)
    opaque = type(observation)(tuple(type(step)(step.arrays, step.structure) for step in observation.steps))
    judgement = judge(case, Expectation(case, inputs), opaque)
    assert judgement.verdict == "unsupported"
    assert "module by module alone" in judgement.reason


def test_nodes_of_a_layer_are_none(case_of):
    assert nodes_of(case_of("LayerNorm", (2, 3))) == ()


def opened(case_of, network, factory=None, **fields):
    """The verdict where only the ends of the network are seen."""
    case = case_of(*network[:2], **fields, **network[2])
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu", factory).run(case, inputs)
    ends = tuple(type(step)(step.arrays, step.structure) for step in observation.steps)
    return judge(case, Expectation(case, inputs), type(observation)(ends))


def test_from_the_ends_buffers_carry_on_from_step_to_step(case_of):
    class Forgetful(factory_of("BasicBlock")):
        def forward(self, x):
            kept = self.bn1.running_mean.clone()
            y = super().forward(x)
            if self.training:
                self.bn1.running_mean = kept
            return y

    steps = ("train", "eval")
    assert opened(case_of, BASIC, steps=steps).verdict == "pass"
    judgement = opened(case_of, BASIC, Forgetful, steps=steps)
    bad = {(figure.quantity, figure.step) for figure in judgement.figures if not figure.ok}
    assert {("buffer.bn1.running_mean", 0), ("output", 1)} <= bad


def test_a_declared_divergence_may_name_quantities_of_modules_by_pattern(case_of):
    def declared(pattern):
        return Divergence(
            id="d", when={}, why="known", size={pattern: (0.0, 10.0)}, quantities=(pattern,), origin=Origin("x", 1, 1)
        )

    op, shape, args = MLP_LAYER
    case = case_of(op, shape, steps=("train",), **args)
    inputs = make_inputs(case)
    observation = TorchModule("torch", "cpu", planted("MLP", "1", {"LayerNorm": Scaled101})).run(case, inputs)
    expectation = Expectation(case, inputs)
    for pattern, verdict in (("* (LayerNorm) *", "known"), ("* (Linear) *", "fail")):
        ends = tuple(
            type(step)({name: array for name, array in step.arrays.items() if "." not in name}, {}, step.modules)
            for step in observation.steps
        )
        shown = ("no quantity of the whole",)
        judgement = judge(case, expectation, type(observation)(ends), shown, (declared(pattern),))
        assert judgement.verdict == verdict, judgement.reason


class Scaled101(nn.LayerNorm):
    """Off by a hundredth."""

    def forward(self, x):
        return 1.01 * super().forward(x)
