import math

import numpy as np
import plotly.graph_objects as go

from compress_explorer.figures.bindings import Binding, apply_bindings

FIGURE = go.Figure([go.Scatter(x=[None], y=[0], text=[""])], {"xaxis": {"range": [0, 1]}})
ARRAYS = {"rows": np.array([[1.0, 2.0], [3.0, math.nan]]), "places": np.array([5.0, 6.0]), "all": np.array([0.0, 9.0])}


def test_each_kind_fills_its_place():
    bindings = (
        Binding(("data", 0, "y"), "rows", "row"),
        Binding(("data", 0, "x", 0), "places", "scalar"),
        Binding(("layout", "xaxis", "range"), "all", "whole"),
        Binding(("data", 0, "text", 0), "words", "text"),
    )
    filled = apply_bindings(FIGURE, bindings, ARRAYS, 0, {"words": ["one", "two"]})
    assert list(filled.data[0].y) == [1, 2]
    assert list(filled.data[0].x) == [5]
    assert list(filled.layout.xaxis.range) == [0, 9]
    assert list(filled.data[0].text) == ["one"]
    filled = apply_bindings(FIGURE, bindings, ARRAYS, 1, {"words": ["one", "two"]})
    assert filled.data[0].y[0] == 3
    assert math.isnan(filled.data[0].y[1])


def test_a_floor_raises_small_numbers_only():
    floored = Binding(("data", 0, "y"), "all", "whole", 0.5)
    assert list(apply_bindings(FIGURE, [floored], ARRAYS, 0).data[0].y) == [0.5, 9]


def test_a_scalar_that_is_not_known_takes_the_floor():
    arrays = {"places": np.array([math.nan, 6.0])}
    place, floored = (Binding(("data", 0, "x", 0), "places", "scalar", floor) for floor in (None, -1e9))
    assert math.isnan(apply_bindings(FIGURE, [place], arrays, 0).data[0].x[0])
    assert [apply_bindings(FIGURE, [floored], arrays, frame).data[0].x[0] for frame in (0, 1)] == [-1e9, 6]


def test_the_figure_itself_is_left_alone():
    apply_bindings(FIGURE, [Binding(("data", 0, "x", 0), "places", "scalar")], ARRAYS, 1)
    assert FIGURE.data[0].x[0] is None


def test_plain_data_for_the_browser():
    assert Binding(("data", 1, "y"), "after", "row", 1e-9).to_dict() == {
        "path": ["data", 1, "y"],
        "array": "after",
        "kind": "row",
        "floor": 1e-9,
    }
