"""Sweeps and frames as data."""

import math

import pytest

from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Frame, Histogram, LayerError, Sweep

HISTOGRAM = Histogram(edges=(-1.0, 0.0, 1.0), before=(2, 3), after=(1, 2), zeros_before=0, zeros_after=2)


def frame(*errors: LayerError, file: int = 500) -> Frame:
    return Frame(
        value=0.4,
        exact=True,
        file=file,
        zeros=0.4,
        histogram=HISTOGRAM,
        errors=errors,
        layer_bytes=(("a", 400),),
        layer_zeros=(("a", 0.4),),
        breakdown=(("values", 400), ("header", 100)),
    )


def error(signal: float, noise: float) -> LayerError:
    return LayerError("a", signal, noise, 0.5, 5)


def test_sqnr_by_hand():
    assert frame(error(100.0, 1.0)).sqnr == pytest.approx(20.0)
    assert frame(error(60.0, 0.5), error(40.0, 0.5)).sqnr == pytest.approx(20.0)
    assert frame(error(1.0, 1.0)).sqnr == 0.0


def test_sqnr_without_error_or_without_signal():
    assert frame(error(100.0, 0.0)).sqnr == math.inf
    assert frame(error(0.0, 0.0)).sqnr == math.inf
    assert frame(error(0.0, 1.0)).sqnr == -math.inf
    assert frame().sqnr == math.inf


def test_a_table_has_a_row_a_value_and_gaps_where_nothing_is_known():
    evaluation = Evaluation(0.9, Interval(0.8, 0.95), 100, 400, "test", difference=-0.01)
    sweep = Sweep(
        recipe=Recipe(Step("magnitude", sparsity=0.4)),
        step=0,
        parameter="sparsity",
        values=(0.2, 0.4, 0.6),
        frames=(None, frame(error(100.0, 1.0)), frame(error(100.0, 10.0), file=250)),
        evaluations=(None, evaluation, None),
        baseline_file=1000,
        baseline=None,
    )
    table = sweep.to_frame()
    assert list(table.columns) == [
        *("sparsity", "file_bytes", "times_smaller", "zeros", "sqnr_db"),
        *("metric", "low", "high", "difference", "samples"),
    ]
    assert table["sparsity"].tolist() == [0.2, 0.4, 0.6]
    assert table["file_bytes"].isna().tolist() == [True, False, False]
    assert table["times_smaller"].tolist()[1:] == [2.0, 4.0]
    assert table["sqnr_db"].tolist()[1:] == pytest.approx([20.0, 10.0])
    assert table["metric"].isna().tolist() == [True, False, True]
    measured = {"metric": 0.9, "low": 0.8, "high": 0.95, "difference": -0.01, "samples": 100}
    assert {name: table[name][1] for name in measured} == measured
