"""Every figure, filled from a sweep that numpy made, shows numpy's numbers."""

import math
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from compress_explorer.figures import breakdown, layers, text, theme, trade_off, weights_histogram
from compress_explorer.figures.bindings import apply_bindings
from compress_explorer.figures.panel import Panel
from compress_explorer.spec.size import PARTS
from compress_explorer.spec.sweep import LayerError, Sweep
from compress_explorer.widgets import film
from tests.figures import synthetic

VALUES = (0.0, 0.3, 0.5, 0.9, 0.97)


@pytest.fixture(scope="module")
def weights():
    return synthetic.network()


@pytest.fixture(scope="module")
def pruning(weights):
    return synthetic.sparsity_sweep(weights, VALUES)


@pytest.fixture(scope="module")
def quantization(weights):
    return synthetic.bits_sweep(weights)


def logarithmic(panel: Panel) -> Panel:
    assert panel.logarithmic is not None
    return panel.logarithmic


def filled(panel: Panel, sweep: Sweep, index: int, before: dict[str, int]) -> go.Figure:
    made = film.film(sweep, "key", parameter_of(sweep), before)
    return apply_bindings(panel.figure, panel.bindings, film.numbers(made), index, made["texts"])


def parameter_of(sweep: Sweep):
    return synthetic.SPARSITY if sweep.parameter == "sparsity" else synthetic.BITS


def trace(figure: go.Figure, name: str):
    return next(entry for entry in figure.data if entry.name == name)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("index", range(len(VALUES)))
def test_the_histogram_counts_every_weight_once(weights, pruning, index, scale):
    panel = weights_histogram.panel(pruning)
    figure = filled(panel if scale == "linear" else logarithmic(panel), pruning, index, synthetic.before(weights))
    count = sum(weight.size for weight in weights.values())
    zeros = trace(figure, "zeros").y[1]
    assert round(sum(trace(figure, "before").y)) == count
    assert round(sum(trace(figure, "after").y) + zeros) == count
    assert round(zeros) == sum(round(VALUES[index] * weight.size) for weight in weights.values())


def test_steps_stand_on_the_bins_bounds(weights, pruning):
    figure = filled(weights_histogram.panel(pruning), pruning, 0, synthetic.before(weights))
    edges = pruning.frames[0].histogram.edges
    before = trace(figure, "before")
    # Shape "hv": the height at x_i holds until x_(i+1).
    assert before.line.shape == "hv"
    assert np.allclose(before.x, [edges[0], *edges], rtol=1e-6)
    assert np.allclose(before.y, [0, *pruning.frames[0].histogram.before, 0])


def test_marks_of_the_histogram(weights, pruning, quantization):
    before = synthetic.before(weights)
    panel = weights_histogram.panel(pruning)
    lower, upper, arrow, zeros = filled(panel, pruning, 3, before).layout.shapes
    threshold = pruning.frames[3].histogram.threshold
    assert upper.x0 == upper.x1 == pytest.approx(threshold, rel=1e-6)
    assert lower.x0 == lower.x1 == pytest.approx(-threshold, rel=1e-6)
    assert zeros.label.text == "239,580 zeros"
    assert arrow.xanchor == 0  # more zeros than the axis reaches
    low, high = filled(panel, pruning, 0, before).layout.xaxis.range
    untouched = filled(panel, pruning, 0, before).layout.shapes
    assert untouched[3].label.text == ""
    assert all(not low < mark.x0 < high for mark in untouched[:2])
    assert not low < untouched[2].xanchor < high
    levels = trace(filled(weights_histogram.panel(quantization), quantization, 3, before), "levels").x
    assert np.allclose([level for level in levels if math.isfinite(level)], quantization.frames[3].histogram.levels)


def test_the_count_axis_holds_all_bins(weights, quantization):
    panel = weights_histogram.panel(quantization)
    for index, frame in enumerate(quantization.frames):
        largest = max(*frame.histogram.before, *frame.histogram.after)
        figure = filled(panel, quantization, index, synthetic.before(weights))
        assert figure.layout.yaxis.range[1] > largest
        figure = filled(logarithmic(panel), quantization, index, synthetic.before(weights))
        low, high = figure.layout.yaxis.range
        assert low < 0 < math.log10(max(largest, frame.histogram.zeros_after)) < high


def test_the_legend_names_levels_only_where_there_are_some(pruning, quantization):
    assert [label for label, _ in weights_histogram.panel(pruning).legend] == ["before", "after"]
    assert [label for label, _ in weights_histogram.panel(quantization).legend] == ["before", "after", "levels"]
    assert weights_histogram.panel(pruning, "fc1.<b>").title == "fc1.<b>"


def test_the_curve_leaves_out_what_was_not_measured(weights, quantization):
    figure = filled(trade_off.panel(quantization, "Bit width"), quantization, 3, synthetic.before(weights))
    curve = trace(figure, "after")
    assert np.allclose(curve.x, [frame.file / 1000 for frame in quantization.frames])
    assert math.isnan(curve.y[1])
    assert curve.y[3] == pytest.approx(97.8)
    baseline, line, disc = figure.layout.shapes
    assert baseline.y0 == pytest.approx(98.33)
    assert line.x0 == disc.xanchor == pytest.approx(quantization.frames[3].file / 1000)
    assert disc.yanchor == pytest.approx(97.8)
    unmeasured = filled(trade_off.panel(quantization, "Bit width"), quantization, 1, synthetic.before(weights))
    assert unmeasured.layout.shapes[2].yanchor < unmeasured.layout.yaxis.range[0]


def test_the_band_runs_along_the_upper_ends_and_back_along_the_lower(weights, quantization):
    figure = filled(trade_off.panel(quantization, "Bit width"), quantization, 3, synthetic.before(weights))
    band = figure.data[0]
    known = [entry for entry in quantization.evaluations if entry is not None]
    assert len(band.x) == 2 * len(quantization.values)
    assert band.y[0] == pytest.approx(100 * known[0].interval.high, rel=1e-6)
    assert band.y[-1] == pytest.approx(100 * known[0].interval.low, rel=1e-6)
    assert all(math.isfinite(height) for height in band.y)


def test_the_logarithmic_size_axis_shows_exponents_under_plain_numbers(weights, pruning):
    panel = logarithmic(trade_off.panel(pruning, "Sparsity"))
    figure = filled(panel, pruning, 3, synthetic.before(weights))
    assert np.allclose(trace(figure, "after").x, [math.log10(frame.file / 1000) for frame in pruning.frames])
    assert np.allclose(trace(figure, "after").customdata, [frame.file / 1000 for frame in pruning.frames])
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert ticks["1,000"] == 3
    assert ticks["50"] == pytest.approx(math.log10(50))


def test_an_unmeasured_sweep_draws(weights, pruning):
    empty = replace(pruning, evaluations=(None,) * len(VALUES), baseline=None)
    figure = filled(trade_off.panel(empty, "Sparsity"), empty, 0, synthetic.before(weights))
    assert all(math.isnan(height) for height in trace(figure, "after").y)
    assert list(figure.layout.yaxis.range) == [0, 102]


def test_layers_show_bytes_zeros_and_error(weights, pruning):
    before = synthetic.before(weights)
    figure = filled(layers.panel(before), pruning, 3, before)
    assert np.allclose(trace(figure, "before").x, [size / 1000 for size in before.values()])
    assert np.allclose(trace(figure, "after").x, [size / 1000 for _, size in pruning.frames[3].layer_bytes])
    assert list(figure.layout.yaxis.ticktext) == ["fc1", "fc2", "fc3"]
    assert list(trace(figure, "zeros").text) == ["90.0 %"] * 3
    pruned = synthetic.prune(weights["fc1.weight"], 0.9)[0]
    noise = np.sum((weights["fc1.weight"] - pruned) ** 2)
    wanted = 10 * math.log10(np.sum(weights["fc1.weight"] ** 2) / noise)
    assert trace(figure, "SQNR").text[0] == f"{wanted:.1f} dB"
    assert list(trace(filled(layers.panel(before), pruning, 0, before), "SQNR").text) == ["no error"] * 3


def test_a_layer_without_treatment_has_bytes_but_no_error(weights, pruning):
    frame = replace(pruning.frames[3], errors=pruning.frames[3].errors[1:])
    sweep = replace(pruning, frames=(*pruning.frames[:3], frame, pruning.frames[4]))
    before = synthetic.before(weights)
    assert trace(filled(layers.panel(before), sweep, 3, before), "SQNR").text[0] == text.NOTHING


def test_sqnr_of_one_layer():
    assert layers.sqnr(LayerError("w", 100.0, 1.0, 0.1, 10)) == pytest.approx(20)
    assert layers.sqnr(LayerError("w", 100.0, 0.0, 0.0, 10)) == math.inf
    assert math.isnan(layers.sqnr(LayerError("w", 0.0, 1.0, 0.0, 10)))


def test_names_of_layers_are_escaped_wherever_plotly_reads_them():
    figure = layers.panel({"<b>evil</b> & $x$": 400, "fc": 40}).figure
    assert figure.layout.yaxis.ticktext[0] == "&lt;b&gt;evil&lt;/b&gt; &amp; &#36;x&#36;"
    assert figure.data[0].customdata[0] == "&lt;b&gt;evil&lt;/b&gt; &amp; &#36;x&#36;"
    assert "\\u003cb\\u003e" not in figure.to_json()  # plotly writes "<" so


def test_many_layers_make_a_taller_figure():
    few, many = ({f"layer{index}": 100 for index in range(count)} for count in (3, 30))
    taller = layers.panel(many).figure.layout.height - layers.panel(few).figure.layout.height
    assert taller == 27 * layers.ROW_HEIGHT


def test_the_parts_sum_to_the_file(weights, pruning):
    before = synthetic.before(weights)
    arrays = breakdown.rows(pruning, 3)
    assert arrays["parts"].sum() == pruning.frames[3].file
    assert arrays["part_shares"].sum() == pytest.approx(100)
    figure = filled(breakdown.panel(), pruning, 3, before)
    assert list(figure.layout.yaxis.ticktext) == [
        *(part.replace("_", " ") for part in PARTS),
        "left alone",
        "header",
    ]
    parts = dict(pruning.frames[3].breakdown)
    assert figure.data[1].text[0] == text.in_bytes(parts["values"])
    assert figure.data[1].text[4] == text.NOTHING  # no codebook
    assert figure.data[2].text[-1] == text.percent(parts["header"] / pruning.frames[3].file, 1)


def test_both_modes_tell_text_from_ground(pruning):
    figure = weights_histogram.panel(pruning).figure
    light, dark = (theme.themed(figure, mode).layout.template.layout for mode in ("light", "dark"))
    assert brightness(light.font.color) < 100
    assert brightness(dark.font.color) > 180
    assert light.paper_bgcolor == dark.paper_bgcolor == "rgba(0,0,0,0)"


def brightness(colour: str) -> float:
    return sum(int(colour[start : start + 2], 16) for start in (1, 3, 5)) / 3


def test_panels_travel_without_a_template(pruning):
    plain = weights_histogram.panel(pruning).to_dict()
    assert "template" not in plain["figure"]["layout"]
    assert plain["log"]["figure"]["layout"]["yaxis"]["type"] == "log"
    assert plain["legend"][0] == ["before", theme.BEFORE]
