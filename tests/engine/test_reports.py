"""What each step did to the one before, counted by hand on small networks."""

import pytest
import torch
from torch import nn

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.compress import compress
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.report import StepReport


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 4))


def reports(*steps: Step) -> tuple[StepReport, ...]:
    return compress(network(), Recipe(steps)).steps


def test_zeros_stay_zero_through_quantization():
    pruned, quantized = reports(Step("magnitude", sparsity=0.5), Step("integer", bits=8))
    assert (pruned.weights, pruned.zeros_before, pruned.zeros_after) == (240, 0, 120)
    assert pruned.sentence() == "2 tensors · zeros 0 → 120"
    assert (quantized.zeros_before, quantized.zeros_kept) == (120, 120)
    assert quantized.zeros_after >= 120
    assert "all 120 zeros stay zero" in quantized.sentence()


def test_codes_are_kept_by_pruning_and_replaced_by_a_second_quantizer():
    _, pruned = reports(Step("integer", bits=4), Step("magnitude", sparsity=0.5))
    assert pruned.codes_kept == ("0.weight", "2.weight")
    assert "2 tensors keep their codes" in pruned.sentence()
    _, again = reports(Step("integer", bits=4), Step("binary", layers="0"))
    assert (again.treated, again.codes_replaced) == (("0.weight",), ("0.weight",))
    assert "1 tensor gets new codes in place of the old" in again.sentence()


def test_a_layer_left_out_is_listed_with_the_reason():
    (report,) = reports(Step("magnitude", sparsity=0.5, overrides={"2": None}))
    assert report.treated == ("0.weight",)
    assert [(entry.name, entry.reason) for entry in report.left_alone] == [
        ("2.weight", "the step leaves this layer out")
    ]
    assert report.sentence() == "1 tensor · zeros 0 → 100 · 1 tensor left alone"


def test_zeros_that_are_lost_are_counted():
    report = StepReport(Step("low"), ("a",), (), 10, 4, 1, 1, (), (), ("a",))
    assert report.sentence() == "1 tensor · zeros 4 → 1 · 3 of 4 zeros are lost · 1 tensor gives up its codes"


@pytest.mark.parametrize("order", [1, -1])
def test_the_bench_reports_the_same(order):
    steps = [Step("magnitude", sparsity=0.5), Step("integer", bits=3), Step("power-of-two")][::order]
    bench = Bench(network())
    recipe = bench.check(Recipe(steps))
    assert bench.reports(recipe) == compress(network(), recipe).steps
