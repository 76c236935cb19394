"""What a notebook shows of results at the end of a cell: their tables, not pages of numbers."""

from collections import OrderedDict
from typing import Any

from torch import nn

import compress_explorer as ce
from tests.case import case
from tests.engine.distillation.networks import student, task, teacher


def test_results_are_shown_as_tables_with_names_escaped():
    strange = nn.Sequential(OrderedDict([("<i>", nn.Linear(8, 6)), ("relu", nn.ReLU()), ("last", nn.Linear(6, 5))]))
    plan = ce.TrainingPlan(epochs=1)
    results: dict[str, tuple[Any, int]] = {
        "sweep": (ce.sweep(strange, task(), "magnitude", sparsity=[0.25, 0.5, 0.75]), 3),
        "sensitivity": (ce.sensitivity(strange, task(), "integer", bits=[2, 4]), 4),
        "recovery": (ce.recover(strange, ce.Step("magnitude"), task(), means=[]), 1),
        "distillation": (ce.distill(teacher(), student, task(), plan=plan, seeds=(0, 1)), 4),
    }
    for name, (result, rows) in results.items():
        with case(name):
            shown = result._repr_html_()
            assert shown.count("<tr") == 1 + rows
            assert f"{result.to_frame().iloc[0]['low']:.4g}" in shown
            assert "<i>" not in shown
    assert "&lt;i&gt;" in results["sensitivity"][0]._repr_html_()
    distillation = results["distillation"][0]
    assert isinstance(distillation, ce.Distillation)
    assert distillation.verdict in distillation._repr_html_()
    assert len(repr(results["sweep"][0])) < 3000
