"""The figures of the distillation lab: what they show is what they were given."""

import base64
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from scipy.stats import entropy

from compress_explorer.figures import learning_curves, picture, softened, students, temperature_alpha
from compress_explorer.figures.bindings import apply_bindings
from compress_explorer.figures.students import Mark
from compress_explorer.spec.distillation import Curve, Softened, SurfaceFrame

TEMPERATURES, ALPHAS = (1.0, 2.0, 8.0), (0.0, 1.0)
CLASSES = ("<b>cat</b>", "$x$", "plain")


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))))


def test_pictures_are_what_another_decoder_reads():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (8, 8), (5, 7), (6, 4, 3)):
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(decoded(picture.data_uri(pixels)), pixels), shape


def test_samples_of_every_shape_become_pictures():
    for shape, wanted in (
        ((1, 4, 6), (4, 6)),
        ((3, 4, 6), (4, 6, 3)),
        ((4, 6), (4, 6)),
        ((64,), (8, 8)),
        ((10,), (1, 10)),
        ((2, 3, 6), (6, 6)),
    ):
        values = np.arange(math.prod(shape), dtype=np.float64).reshape(shape) - 7
        pixels = picture.pixels_of(values)
        assert (pixels.shape, pixels.min(), pixels.max()) == (wanted, 0, 255), shape
    assert picture.pixels_of(np.full((2, 2), 3.0)).tolist() == [[0, 0], [0, 0]]


def example() -> tuple[softened.Example, np.ndarray]:
    logits = np.array([2.0, 0.5, -1.0])
    rows = softmax(logits[None] / np.array(TEMPERATURES)[:, None], axis=1)
    soft = Softened(np.array(TEMPERATURES), rows, entropy(rows, base=2, axis=1), 1 - rows[:, 0])
    return softened.Example("data:image/png;base64,x", CLASSES[1], soft, rows[0]), rows


def test_soft_targets_at_every_temperature():
    shown, rows = example()
    panel = softened.panel(CLASSES)
    for variant in (panel, panel.logarithmic):
        assert variant is not None
        for frame in range(len(TEMPERATURES)):
            labels = softened.labels(shown, CLASSES)
            figure = apply_bindings(variant.figure, variant.bindings, softened.arrays(shown), frame, None, labels)
            assert np.allclose(figure.data[0].x, rows[0])
            assert np.allclose(figure.data[1].x, rows[frame])
            assert figure.layout.images[0].source == shown.picture
            # A class's name is shown as it is: neither markup nor TeX.
            assert figure.layout.annotations[1].text == "<b>&#36;x&#36;</b>"
            assert figure.layout.annotations[3].text == "<b>&lt;b&gt;cat&lt;/b&gt;</b>"
    words = softened.texts(shown)
    assert words["entropy"][0] == f"{entropy(rows[0], base=2):.2f}"
    assert words["dark"][2] == f"{100 * (1 - rows[2, 0]):.1f} %"
    assert words["entropy_of"][0] == "of 1.58 at most"  # log2(3)


def test_learning_curves_have_a_line_a_seed_and_a_mean_when_all_are_complete():
    whole, half = Curve((4.0, 2.0), (0.5, 0.7)), Curve((3.0,), (0.6,))
    curves = {("distilled", 0): whole, ("distilled", 1): half, ("hard", 0): whole, ("hard", 1): whole}
    arrays = learning_curves.arrays(curves, (0, 1), 2, 0.9, 3)  # type: ignore[arg-type] # the keys are arms
    nan = math.nan
    assert np.array_equal(arrays["epochs"], [1, 2, nan, 1, 2, nan], equal_nan=True)
    assert np.allclose(arrays["distilled_accuracy"], [50, 70, nan, 60, nan, nan], equal_nan=True)
    assert np.array_equal(arrays["distilled_loss"], [4, 2, nan, 3, nan, nan], equal_nan=True)
    assert np.isnan(arrays["distilled_mean"]).all()
    assert np.allclose(arrays["hard_mean"], [50, 70])
    assert arrays["learning_range"][0] <= 50 < 90 <= arrays["learning_range"][1]
    panel = learning_curves.panel("validation")
    figure = apply_bindings(panel.figure, panel.bindings, arrays, 1, None, learning_curves.labels("a<b, T 4"))
    assert figure.layout.annotations[0].text == "a&lt;b, T 4"
    assert figure.layout.shapes[0].y0 == 90
    none = learning_curves.arrays({}, (0, 1), 2, None, 3)
    assert {name: len(array) for name, array in none.items()} == {name: len(array) for name, array in arrays.items()}


def surface() -> SurfaceFrame:
    means = {(i, j): 0.5 + 0.1 * i + 0.05 * j for i in range(3) for j in range(2)}
    apart = {(i, j): 0.01 * (i + 2 * j) for i in range(3) for j in range(2)}
    grid = tuple(
        tuple((means[i, j] - apart[i, j] / 2, means[i, j] + apart[i, j] / 2) for j in range(2)) for i in range(3)
    )
    return SurfaceFrame(TEMPERATURES, ALPHAS, (0, 1), 30, 50, 3, 5, "validation", grid, grid)


def test_the_surface_shows_means_and_spreads_and_a_click_gives_its_cell():
    positions = (1.0, 4.0, 8.0)
    charted = {(2, 0)}
    arrays = temperature_alpha.arrays(surface(), TEMPERATURES, ALPHAS, positions, 0.5, charted)
    panel = temperature_alpha.panel(TEMPERATURES, ALPHAS)
    labels = temperature_alpha.labels(surface(), TEMPERATURES, ALPHAS, charted)
    figure = apply_bindings(panel.figure, panel.bindings, arrays, 1, None, labels)
    cells, marks, stars = figure.data
    for place in range(6):
        found = temperature_alpha.cell(place, 3, 2)
        assert found == (cells.x[place], cells.y[place])
        assert found is not None
        i, j = found
        assert cells.z[place] == pytest.approx(100 * (0.5 + 0.1 * i + 0.05 * j))
        assert marks.marker.size[place] == pytest.approx(20 * (i + 2 * j) / 4)
        assert f"T = {TEMPERATURES[i]:g}, α = {ALPHAS[j]:g}" in cells.text[place]
        assert f"{i + 2 * j:.2f} points apart" in cells.text[place]
        assert (stars.x[place], stars.y[place]) == found
        assert (stars.marker.size[place] > 0, "★" in cells.text[place]) == (found in charted,) * 2
    here = figure.layout.shapes[0]
    assert (here.xanchor, here.yanchor) == (1.5, 0.5)  # 4 lies midway between 2 and 8 in octaves
    assert cells.zmin <= min(cells.z) <= max(cells.z) <= cells.zmax
    for bad in (6, -1, [2, 0], [0, 3], "1", None, [0], [0.5, 1]):
        assert temperature_alpha.cell(bad, 3, 2) is None, bad
    assert temperature_alpha.cell([1, 2], 3, 2) == (2, 1)
    assert notes(surface()) == {}  # before the end there is neither a choice nor a click
    ended = replace(surface(), epoch=4, epochs=4, split="validation")
    assert notes(ended) == {(2, 1): ["the best on validation"]}
    assert notes(replace(ended, split="test")) == {}
    untrained = temperature_alpha.arrays(None, TEMPERATURES, ALPHAS, positions, None)
    assert np.isnan(untrained["surface"]).all()
    assert (untrained["surface_lowest"] < untrained["surface_highest"]).all()


def notes(frame: SurfaceFrame) -> dict[tuple[int, int] | None, list[str]]:
    """What is said of choosing a cell, by cell."""
    texts = temperature_alpha.labels(frame, TEMPERATURES, ALPHAS)["surface_words"]
    said = {temperature_alpha.cell(place, 3, 2): words.split("<br>") for place, words in enumerate(texts)}
    found = {cell: [line for line in lines if "best" in line] for cell, lines in said.items()}
    assert all(("a click puts" in lines[-1]) == (frame.epoch == frame.epochs) for lines in said.values())
    return {cell: lines for cell, lines in found.items() if lines}


def test_the_figures_are_plain_data_for_the_browser():
    for panel in (
        softened.panel(CLASSES),
        learning_curves.panel("test"),
        temperature_alpha.panel(TEMPERATURES, ALPHAS),
        students.panel(),
    ):
        json.dumps(panel.to_dict(), allow_nan=False)


def test_the_trade_off_shows_every_network_at_its_size_and_accuracy():
    marks = [
        Mark("teacher", "", 20_000, 0.97, 0.96, 0.98),
        Mark("distilled", "(kd)", 5000, 0.94, 0.93, 0.96),
        Mark("distilled", "(a<b)", 2000, 0.90, 0.90, 0.90),
        Mark("quantized", "(2 bits)", 1000, 0.1, 0.08, 0.12),
    ]
    arrays = students.arrays(marks, 5000, 2)
    panel = students.panel()
    figure = apply_bindings(panel.figure, panel.bindings, arrays, 0, None, students.labels(marks))
    by_kind = dict(zip(students.KINDS, figure.data, strict=True))
    distilled = by_kind["distilled"]
    assert np.allclose(np.power(10, distilled.x), [2, 5])
    assert np.allclose(distilled.y, [90, 94])
    assert np.allclose(distilled.error_y.array, [0, 2])
    assert np.allclose(distilled.error_y.arrayminus, [0, 1])
    assert list(distilled.text) == ["(a&lt;b)", "(kd)"]
    assert by_kind["hard"].x == ()
    assert figure.layout.shapes[0].y0 == pytest.approx(97)
    assert figure.layout.shapes[1].x0 == pytest.approx(math.log10(5))
    low, high = figure.layout.xaxis.range
    assert low < 0 < math.log10(20) < high
    assert figure.layout.yaxis.range[0] == 80  # the network that fell below half of the best leaves the axis
    weak = students.arrays([*marks, Mark("distilled", "(T 20)", 5000, 0.4, 0.34, 0.5)], 5000, 2)
    assert weak["student_accuracies_range"][0] == 30  # a student does not, however weak
    empty = students.arrays([], None, 2)
    assert empty.keys() == arrays.keys()
