import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.spec.parameter import Parameter
from compress_explorer.spec.sweep import Sweep
from compress_explorer.widgets import film as films
from tests.figures import synthetic

VALUES = (0.0, 0.5, 0.9)
BEFORE = synthetic.before(synthetic.network())


@pytest.fixture(scope="module")
def sweep():
    return synthetic.sparsity_sweep(values=VALUES)


def film_of(sweep: Sweep) -> dict[str, Any]:
    return films.film(sweep, "key", synthetic.SPARSITY, BEFORE)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two films show the same, NaN included; how many patches made them so does not matter."""
    numbers, others = films.numbers(one), films.numbers(other)
    plain = [
        {name: value for name, value in entry.items() if name not in ("arrays", "patches")} for entry in (one, other)
    ]
    return (
        plain[0] == plain[1]
        and numbers.keys() == others.keys()
        and all(np.array_equal(numbers[name], others[name], equal_nan=True) for name in numbers)
    )


def test_one_entry_a_position(sweep):
    film = film_of(sweep)
    assert film["positions"] == list(VALUES)
    assert film["sizes"] == [frame.file for frame in sweep.frames]
    assert film["accuracies"] == [evaluation.value for evaluation in sweep.evaluations]
    assert film["states"] == ["exact"] * 3
    assert all(len(entries) == 3 for entries in film["texts"].values())
    assert film["texts"]["zeros"] == ["0.0 %", "50.0 %", "90.0 %"]
    assert film["texts"]["sqnr"][0] == "no error"


def test_a_size_from_the_index_is_marked_as_approximate(sweep):
    guessed = replace(sweep, frames=(replace(sweep.frames[0], exact=False), *sweep.frames[1:]))
    assert film_of(guessed)["texts"]["size"][0] == "≈ " + film_of(sweep)["texts"]["size"][0]


def test_what_is_not_known_is_not_shown(sweep):
    partial = replace(sweep, frames=(None, *sweep.frames[1:]), evaluations=(None, *sweep.evaluations[1:]))
    film = film_of(partial)
    assert film["sizes"][0] is film["accuracies"][0] is None
    assert film["states"][0] == ""
    assert film["texts"]["size"][0] == film["texts"]["accuracy"][0] == "…"
    assert np.isnan(films.numbers(film)["after"][0]).all()


def test_nothing_known_at_all(sweep):
    empty = replace(sweep, frames=(None,) * 3, evaluations=(None,) * 3, baseline=None)
    film = film_of(empty)
    assert film["texts"]["size"] == ["…"] * 3
    later = replace(empty, frames=(None, sweep.frames[1], None))
    films.apply_patch(film, films.patch(film, later, 1, BEFORE))
    assert same(film, film_of(later))


@pytest.mark.parametrize("index", range(3))
def test_patches_make_the_same_film_as_a_new_one(sweep, index):
    guess = replace(sweep.frames[index], exact=False, file=sweep.frames[index].file + 7)
    older = replace(
        sweep,
        frames=(*sweep.frames[:index], guess, *sweep.frames[index + 1 :]),
        evaluations=(*sweep.evaluations[:index], None, *sweep.evaluations[index + 1 :]),
        baseline=None,
    )
    film = film_of(older)
    assert films.apply_patch(film, films.patch(film, sweep, index, BEFORE))
    assert same(film, film_of(sweep))


def test_a_wider_row_replaces_the_whole_array(sweep):
    bare = replace(sweep.frames[1], histogram=replace(sweep.frames[1].histogram, levels=()))
    narrow = replace(sweep, frames=(sweep.frames[0], bare, sweep.frames[2]))
    levels = replace(bare, histogram=replace(bare.histogram, levels=(-0.1, 0.0, 0.1)))
    wide = replace(sweep, frames=(sweep.frames[0], levels, sweep.frames[2]))
    film = film_of(narrow)
    films.apply_patch(film, films.patch(film, wide, 1, BEFORE))
    assert same(film, film_of(wide))


def test_a_patch_says_only_what_changed(sweep):
    film = film_of(sweep)
    nothing = films.patch(film, sweep, 1, BEFORE)
    assert nothing.numbers == b""
    assert nothing.message["arrays"] == []
    assert nothing.message["texts"] == {}
    estimate = synthetic.evaluation(0.95, count=2048)
    newer = replace(sweep, evaluations=(sweep.evaluations[0], estimate, sweep.evaluations[2]))
    patch = films.patch(film, newer, 1, BEFORE)
    assert patch.message["state"] == "estimating"
    assert patch.message["texts"].keys() == {"accuracy", "interval", "difference"} | (
        {"verdict"} if film["texts"]["verdict"][1] else set()
    )
    assert "after" not in {entry["name"] for entry in patch.message["arrays"]}
    assert len(patch.numbers) < 200


def test_a_patch_of_another_film_does_nothing(sweep):
    film, other = film_of(sweep), film_of(sweep)
    patch = films.patch({**film, "key": "other"}, replace(sweep, evaluations=(None,) * 3), 0, BEFORE)
    assert not films.apply_patch(film, patch)
    assert same(film, other)


def test_the_positions_of_a_choice_are_its_indices(sweep):
    choice = Parameter(name="sparsity", label="Scheme", kind="choice", default="b", choices=("a", "b", "c"), help="")
    chosen = replace(sweep, values=("a", "b", "c"))
    assert films.film(chosen, "key", choice, BEFORE)["positions"] == [0, 1, 2]


def test_frames_on_different_axes_are_refused(sweep):
    histogram = sweep.frames[0].histogram
    other = replace(sweep.frames[0], histogram=replace(histogram, edges=tuple(2 * edge for edge in histogram.edges)))
    with pytest.raises(CompressExplorerError, match="different histogram bins"):
        film_of(replace(sweep, frames=(other, *sweep.frames[1:])))


def test_frames_of_another_model_are_refused(sweep):
    with pytest.raises(CompressExplorerError, match=r"stores the tensors .*fc1.weight"):
        films.film(sweep, "key", synthetic.SPARSITY, {"conv.weight": 12})


def test_the_figures_are_four_and_their_bindings_find_their_sources(sweep):
    film = film_of(sweep)
    figures = films.figures(sweep, synthetic.SPARSITY, BEFORE)
    assert list(figures) == ["histogram", "tradeoff", "layers", "bytes"]
    for figure in figures.values():
        for panel in (figure, *([figure["log"]] if figure["log"] else [])):
            for binding in panel["bindings"]:
                source = film["texts"] if binding["kind"] == "text" else film["arrays"]
                assert binding["array"] in source


def test_a_drag_long_film_is_small_and_so_is_its_patch(sweep):
    # 100 positions of 161 bins: what opens a film, and what a measurement of one position sends.
    frames = tuple(sweep.frames[index % 3] for index in range(100))
    evaluations = tuple(sweep.evaluations[index % 3] for index in range(100))
    values = tuple(index / 100 for index in range(100))
    long = replace(sweep, values=values, frames=frames, evaluations=evaluations)
    film = film_of(long)
    assert sum(len(array["data"]) for array in film["arrays"].values()) < 120_000
    newer = replace(long, evaluations=(synthetic.evaluation(0.5), *evaluations[1:]))
    patch = films.patch(film, newer, 0, BEFORE)
    assert len(patch.numbers) < 10_000


def test_numbers_are_float32_in_little_endian(sweep):
    film = film_of(sweep)
    array = film["arrays"]["zeros"]
    assert array["shape"] == [3]
    assert np.frombuffer(bytes(array["data"]), "<f4").tolist() == [
        frame.histogram.zeros_after for frame in sweep.frames
    ]
    assert not math.isnan(films.numbers(film)["zeros"][0])
