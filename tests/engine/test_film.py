"""The order in which a curve is filled, and what a film knows."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compress_explorer.engine.bench import WHOLE_MODEL, Bench, positions
from compress_explorer.engine.compress import compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.film import Film, curve_order
from compress_explorer.engine.measurements import Measurements
from compress_explorer.engine.setting import Setting
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.tasks import network, task


def test_neighbours_come_first_in_the_direction_of_the_drag():
    assert curve_order(100, 50, +1)[:4] == [51, 52, 49, 48]
    assert curve_order(100, 50, -1)[:4] == [49, 48, 51, 52]


def test_neighbours_beyond_the_ends_are_left_out():
    assert curve_order(100, 99, +1)[:2] == [98, 97]
    assert curve_order(100, 0, -1)[:2] == [1, 2]


def test_then_come_ever_finer_grids():
    assert curve_order(9, 4, +1) == [5, 6, 3, 2, 0, 8, 1, 7]
    assert curve_order(17, 0, +1) == [1, 2, 16, 8, 4, 12, 6, 10, 14, 3, 5, 7, 9, 11, 13, 15]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100, 101])
def test_every_other_position_comes_once(count):
    for own in {0, count // 2, count - 1}:
        for direction in (1, -1):
            assert sorted(curve_order(count, own, direction)) == [index for index in range(count) if index != own]


def test_a_value_between_two_positions_becomes_one():
    assert positions((0.1, 0.2, 0.3), 0.25) == (0.1, 0.2, 0.25, 0.3)
    assert positions((0.1, 0.2, 0.3), 0.2) == (0.1, 0.2, 0.3)
    assert positions((1, 2, 4), 3) == (1, 2, 3, 4)
    assert positions(("a", "b"), "b") == ("a", "b")


def film_of(step: Step, parameter: str) -> Film:
    bench = Bench(network())
    recipe = bench.check(Recipe(step))
    setting = Setting(recipe, 0, parameter, WHOLE_MODEL, "test")
    return Film(bench, Measurements(bench, task(), EvaluationCache()), setting, 1000)


def test_a_film_is_first_a_preview_and_becomes_exact_where_it_is_settled():
    film = film_of(Step("integer", bits=4), "bits")
    assert film.values == (1, 2, 3, 4, 5, 6, 7, 8)
    frames = film.sweep().frames
    assert all(frame is not None and not frame.exact for frame in frames)
    film.settle(2)
    frames = film.sweep().frames
    assert [frame is not None and frame.exact for frame in frames] == [False, False, True] + [False] * 5
    assert film.untold == {2}
    film.untold.clear()
    film.settle(2)
    assert film.untold == set()
    assert frames[2] is not None
    assert frames[2].file == compress(network(), Step("integer", bits=3)).size().file


def test_a_new_film_looks_at_no_weight_and_becomes_exact_at_its_first_settled_position(monkeypatch):
    """Beyond the index, which is built once: a film of another method must show before its weights are counted."""
    bench = Bench(network())
    model = network()
    asked: list[str] = []
    for name in ("apply", "size", "view", "frame"):
        monkeypatch.setattr(bench, name, functools.partial(_noted, asked, name, getattr(bench, name)))
    for step, parameter in ((Step("magnitude"), "sparsity"), (Step("integer", bits=4), "bits")):
        recipe = bench.check(Recipe(step))
        film = Film(
            bench,
            Measurements(bench, task(), EvaluationCache()),
            Setting(recipe, 0, parameter, WHOLE_MODEL, "test"),
            1000,
        )
        assert asked == [], step
        previews = film.sweep().frames
        film.settle(3)
        assert {"apply", "size", "view", "frame"} == set(asked), step
        exact = film.sweep().frames
        assert exact[3] is not None
        edges = np.array(exact[3].histogram.edges)
        weights = np.concatenate([model.get_parameter(name).detach().numpy().ravel() for name in bench.layers])
        counted = np.histogram(weights.astype(np.float64), edges)[0].tolist()
        for preview, frame in zip(previews, exact, strict=True):
            assert preview is not None
            assert frame is not None
            assert list(frame.histogram.before) == counted
            assert preview.histogram.edges == frame.histogram.edges
            assert sum(preview.histogram.before) == len(weights)
            furthest = np.abs(np.cumsum(preview.histogram.before) - np.cumsum(counted)).max()
            assert furthest <= 0.005 * len(weights), step
        asked.clear()


def _noted(asked: list[str], name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    asked.append(name)
    return function(*arguments)


def test_settling_stops_between_its_parts_when_nobody_waits_and_keeps_what_is_done():
    film = film_of(Step("integer", bits=4), "bits")

    def stop(_text: str) -> None:
        raise InterruptedError

    film._bench.context = Context(tell=stop)
    with pytest.raises(InterruptedError):
        film.settle(2)
    film._bench.context = Context()
    assert not film.is_settled(2)
    assert film.untold == set()
    film.settle(2)
    assert film.is_settled(2)


def test_a_method_without_a_preview_has_no_frames_at_first():
    film = film_of(Step("random", sparsity=0.3), "sparsity")
    assert film.sweep().frames == (None,) * 100
    assert not film.has_frame(30)
    film.settle(30)
    assert film.has_frame(30)


def test_only_positions_that_the_index_can_tell_have_frames_at_first():
    """Of binary weights those of one bit; further bits code what the first leaves."""
    film = film_of(Step("binary", bits=2, granularity="tensor"), "bits")
    frames = film.sweep().frames
    assert [frame is not None for frame in frames] == [value == 1 for value in film.values]
    assert frames[0] is not None
    assert frames[0].value == 1


def test_a_step_that_leaves_all_layers_out_has_no_frames_at_first():
    film = film_of(Step("magnitude", overrides={"*": None}), "sparsity")
    assert not film.has_frame(30)
    film.settle(30)
    frame = film.sweep().frames[30]
    assert frame is not None
    assert frame.zeros == 0


def test_every_preview_is_that_of_its_own_recipe():
    film = film_of(Step("magnitude", sparsity=0.305, overrides={"0": {"sparsity": 0.9}}), "sparsity")
    previews = film.sweep().frames
    assert film.values.index(0.305) == 31
    for place in (0, 31, 40, 90, 99):
        preview = previews[place]
        film.settle(place)
        exact = film.sweep().frames[place]
        assert preview is not None
        assert exact is not None
        assert (preview.value, preview.exact, exact.exact) == (film.values[place], False, True)
        assert preview.zeros == exact.zeros
        assert preview.layer_zeros == exact.layer_zeros


def test_what_a_bench_keeps_of_the_last_call_is_never_that_of_another():
    bench = Bench(network())
    recipes = [bench.check(Recipe(Step("integer", bits=bits))) for bits in (3, 5)]
    views = [(WHOLE_MODEL, 0.0), ("0.weight", 0.0), ("0.weight", 9.0)]
    for recipe in (*recipes, *reversed(recipes)):
        assert bench.size(recipe) == Bench(network()).size(recipe)
        assert bench.size(recipe) is bench.size(recipe)
    for layer, largest in (*views, *reversed(views)):
        view, expected = bench.view(layer, largest), Bench(network()).view(layer, largest)
        assert (view.layer, view.shown, view.axis) == (layer, expected.shown, expected.axis)
        assert view.before.tolist() == expected.before.tolist()
        assert view is bench.view(layer, largest)


def test_measuring_tells_every_batch():
    film = film_of(Step("integer", bits=4), "bits")
    told: list[int] = []

    def news() -> None:
        evaluation = film.evaluations[3]
        assert evaluation is not None
        told.append(evaluation.count)

    film.measure(3, None, lambda: False, news)
    assert told == [256, 512, 1024, 2048, 3000]
    assert film.evaluations[3] == evaluate(compress(network(), Step("integer", bits=4)), task())
    assert (film.measured, film.untold) == (1, {3})
    film.measure(3, None, lambda: False, news)
    assert told[5:] == [3000]


def test_a_film_shows_its_family_only():
    film = film_of(Step("integer", bits=4), "bits")
    recipe = Bench(network()).check(Recipe(Step("integer", bits=7)))
    assert film.shows(Setting(recipe, 0, "bits", WHOLE_MODEL, "test"))
    assert not film.shows(Setting(recipe, 0, "bits", "0.weight", "test"))
    assert not film.shows(Setting(recipe, 0, "bits", WHOLE_MODEL, "validation"))
    assert not film.shows(Setting(recipe, 0, "group_size", WHOLE_MODEL, "test"))
    other = Bench(network()).check(Recipe(Step("integer", bits=7, scheme="affine")))
    assert not film.shows(Setting(other, 0, "bits", WHOLE_MODEL, "test"))


def test_the_baseline_is_news_once():
    film = film_of(Step("integer", bits=4), "bits")
    assert film.sweep().baseline is None
    assert film.measure_baseline()
    assert film.sweep().baseline == evaluate(network(), task())
    assert not film.measure_baseline()
