"""``conformance explain`` as it is typed."""

from __future__ import annotations

from conformance.cli.command import USAGE


def test_without_a_topic_all_are_listed(call):
    done = call("explain")
    assert done.code == 0
    assert "running-mean" in done.out
    assert "eps-outside-sqrt" in done.out


def test_a_topic_is_printed(call):
    done = call("explain", "running_mean")
    assert done.code == 0
    assert "0.9 * 0 + 0.1 * 5.5 = 0.55" in done.out
    assert "<- the definition" in done.out


def test_the_width_is_obeyed(call):
    done = call("explain", "running-mean", "--width", "50")
    assert max(map(len, done.out.splitlines())) <= 50


def test_a_misspelt_topic_is_a_usage_error(call):
    done = call("explain", "runing-mean")
    assert done.code == USAGE
    assert "did you mean 'running-mean'" in done.err
    assert "Traceback" not in done.err


def test_a_class_of_ones_own_that_differs_makes_the_command_fail(call, tmp_path):
    (tmp_path / "swapped.py").write_text(
        "import torch\n"
        "class Norm(torch.nn.BatchNorm1d):\n"
        "    def __init__(self, num_features, momentum=0.1, **rest):\n"
        "        super().__init__(num_features, momentum=1 - momentum, **rest)\n"
    )
    done = call("explain", "running-mean", "--mine", "swapped.py:Norm")
    assert done.code == 1
    assert "momentum-swapped" in done.out.partition("yours is")[2]


def test_a_class_that_agrees_makes_it_succeed(call):
    assert call("explain", "running-mean", "--mine", "torch.nn:BatchNorm1d").code == 0


def test_a_class_that_fits_no_experiment_is_a_usage_error(call):
    done = call("explain", "dropout-scaling", "--mine", "torch.nn:LayerNorm")
    assert done.code == USAGE
    assert "can be asked of" in done.err
