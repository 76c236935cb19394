"""Whatever can take long says how far it is, and can be stopped there: a layer, a step, the making of a film."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.context import Context
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.film import Film
from compress_explorer.engine.measurements import Measurements
from compress_explorer.engine.setting import Setting, numeric_parameters
from compress_explorer.engine.steps import apply_step, check_recipe
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.workpiece import Workpiece, open_model
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step

WIDE = 300
LONG: dict[str, tuple[dict[str, Value], list[str]]] = {
    "adaround": ({"iterations": 45}, [f"{done} of 45 iterations" for done in (10, 20, 30, 40)]),
    "gptq": ({}, [f"{done} of 300 columns" for done in (0, 128, 256)]),
    "sparsegpt": ({"structure": "2:4"}, [f"{done} of 300 columns" for done in (0, 128, 256)]),
}
LABELS = {"adaround": "AdaRound", "gptq": "GPTQ", "sparsegpt": "SparseGPT"}


class Stopped(Exception):  # noqa: N818 -- a signal
    """Raised to stop."""


@pytest.fixture(scope="module")
def task() -> Task:
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randn(64, WIDE, generator=generator), torch.randint(0, 3, (64,), generator=generator))
    return Task(name="random", test=split, train=split)


def step_of(name: str, work: Workpiece, task: Task) -> Step:
    """The step with every value filled in."""
    step = Step(name, ("*",), None, **{"samples": 32, **LONG[name][0]})
    return check_recipe(Recipe(step), work.inventory, Context(task=task)).steps[0]


@pytest.mark.parametrize("name", LONG)
def test_the_words_of_a_layer_come_in_its_course(name: str, task: Task):
    told: list[str] = []
    work = open_model(nn.Sequential(nn.Linear(WIDE, 6), nn.ReLU(), nn.Linear(6, 3)))
    apply_step(work, step_of(name, work, task), Context(task=task, tell=told.append))
    head = f"{LABELS[name]}: layer 1 of 2"
    assert [text for text in told if text.startswith(head)] == [head, *(f"{head}, {words}" for words in LONG[name][1])]


@pytest.mark.parametrize("name", LONG)
def test_a_step_can_be_stopped_within_a_layer(name: str, task: Task):
    work = open_model(nn.Sequential(nn.Linear(WIDE, 3)))
    weight = work.weights["0.weight"].matrix.clone()
    last = LONG[name][1][-1]

    def tell(text: str) -> None:
        if text.endswith(last):
            raise Stopped

    with pytest.raises(Stopped):
        apply_step(work, step_of(name, work, task), Context(task=task, tell=tell))
    assert torch.equal(work.weights["0.weight"].matrix, weight)


def stopping_at(place: int) -> Callable[[str], None]:
    """Raises when it is told something for the `place`-th time, counted from 0."""
    times = itertools.count()

    def tell(_text: str) -> None:
        if next(times) == place:
            raise Stopped

    return tell


def test_steps_without_data_tell_of_each_layer_and_films_of_what_takes_long():
    words = {
        "k-means": [f"layer {place} of 2: Weight sharing (k-means)" for place in (1, 2)],
        "lamp": ["2 layers at once: Layer-adaptive magnitude pruning (LAMP)"],
    }
    model = nn.Sequential(nn.Linear(WIDE, 6), nn.ReLU(), nn.Linear(6, 3))
    samples = Task(name="random", test=Split(torch.randn(8, WIDE), torch.zeros(8, dtype=torch.int64)))
    for name, of_step in words.items():
        recipe = check_recipe(Recipe(Step(name)), open_model(model).inventory, Context())
        setting = Setting(recipe, 0, numeric_parameters(name)[0], WHOLE_MODEL, "test")

        def film(tell: Callable[[str], None], setting: Setting = setting) -> Film:
            bench = Bench(model, Context(tell=tell))
            return Film(bench, Measurements(bench, samples, EvaluationCache()), setting, 0)

        told: list[str] = []
        made = film(told.append)
        expected = [*of_step, "measuring the size", "counting the weights"]
        assert told == [], name
        made.settle(made.values.index(setting.value))
        assert told == expected, name
        for place in range(len(expected)):
            stopped = film(stopping_at(place))
            with pytest.raises(Stopped):
                stopped.settle(stopped.values.index(setting.value))
