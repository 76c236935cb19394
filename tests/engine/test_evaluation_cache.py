"""What was measured of equal models on equal data is not measured again; of others it is."""

import copy
import functools
import queue

import torch
from torch import Tensor, nn

from compress_explorer.engine import fingerprint
from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.fingerprint import data_fingerprint, identity, model_fingerprint
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.task import Split, Task, accuracy
from compress_explorer.engine.update import Update
from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.tasks import network, samples, task


class Scaled(nn.Module):
    """Has an attribute that decides what it computes."""

    def __init__(self, scale: object = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.scale = nn.Linear(8, 5), scale

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def test_a_copy_is_equal_and_whatever_counts_makes_a_difference():
    model = Scaled()
    known = model_fingerprint(model)
    assert known is not None
    assert model_fingerprint(copy.deepcopy(model)) == known
    changed = {name: Scaled() for name in ("weight", "dtype", "negative zero")}
    with torch.no_grad():
        changed["weight"].layer.weight[0, 0] += 1e-6
        changed["negative zero"].layer.bias[0] = 0.0
    others = {
        "a weight": changed["weight"],
        "an attribute": Scaled(2.0),
        "a whole number instead": Scaled(1),
        "dtype": changed["dtype"].double(),
        "another class": nn.Sequential(Scaled()),
        "training mode": Scaled().eval(),
        "a tensor as attribute": Scaled(torch.ones(1)),
        "a function": Scaled(torch.nn.functional.softplus),
        "a bias of zero": changed["negative zero"],
    }
    with torch.no_grad():
        minus = copy.deepcopy(changed["negative zero"])
        minus.layer.bias[0] = -0.0
    others["of minus zero"] = minus
    found = {name: model_fingerprint(other) for name, other in others.items()}
    for name, other in found.items():
        with case(name):
            assert other != known
    told = [value for value in found.values() if value is not None]
    assert len(set(told)) == len(told)


def test_a_class_of_the_same_name_is_another_class():
    made = []
    for _ in range(2):
        # A notebook's cell that is run again makes a new class, perhaps with another forward function.
        kind = type("Redefined", (Scaled,), {})
        made.append(model_fingerprint(kind()))
    assert made[0] is not None
    assert made[0] != made[1]


def test_what_cannot_be_compared_is_equal_to_nothing(monkeypatch):
    hooked = Scaled()
    hooked.register_forward_hook(lambda *_: None)
    assert model_fingerprint(Scaled(object())) is None
    assert model_fingerprint(Scaled([object()])) is None
    assert model_fingerprint(hooked) != model_fingerprint(Scaled())
    assert identity(functools.partial(accuracy)) is None
    assert identity(accuracy) == identity(accuracy)
    split = Split(torch.zeros(4, 2), torch.zeros(4))
    monkeypatch.setattr(fingerprint, "MOST_HASHED", 31)
    assert model_fingerprint(Scaled()) is None
    assert data_fingerprint(split) is None


def test_the_samples_and_their_targets_count():
    inputs, targets = samples(40)
    known = data_fingerprint(Split(inputs, targets))
    assert data_fingerprint(Split(inputs.clone(), targets.clone())) == known
    assert data_fingerprint(Split(inputs.flip(0), targets)) != known
    assert data_fingerprint(Split(inputs, targets.flip(0))) != known


class Counting(nn.Module):
    """Counts the batches that all copies of it have seen."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor) -> Tensor:
        BATCHES.append(len(x))
        y: Tensor = self.network(x)
        return y


BATCHES: list[int] = []


def first_point(model: nn.Module, on: Task, cache: EvaluationCache) -> tuple[Evaluation | None, int, Evaluation]:
    """What a fresh engine first tells of a setting, after how many batches, and its exact evaluation."""
    told: queue.Queue[tuple[Update, int]] = queue.Queue()
    BATCHES.clear()
    engine = LiveEngine(model, on, lambda update: told.put((update, len(BATCHES))), cache)
    recipe = engine.bench.check(Recipe(Step("magnitude", sparsity=0.5)))
    engine.request(Setting(recipe, 0, "sparsity", WHOLE_MODEL, "test"))
    engine.wait(60)
    engine.close()
    engine.join()
    for update, _ in told.queue:
        frame = None if update.sweep is None else update.sweep.frames[update.own]
        assert update.state != "exact" or (frame is not None and frame.exact), "a previewed size is not exact"
    points = [(update.sweep, update.own, batches) for update, batches in told.queue if update.kind == "point"]
    found = [(None if sweep is None else sweep.evaluations[place], batches) for sweep, place, batches in points]
    exact = next(evaluation for evaluation, _ in found if evaluation is not None and evaluation.exact)
    return *found[0], exact


def test_a_second_explorer_of_the_same_model_finds_what_the_first_measured():
    cache = EvaluationCache()
    nothing, _, exact = first_point(Counting(), task(), cache)
    assert nothing is None
    known, batches, _ = first_point(Counting(), Task(name="again", test=Split(*samples(3000))), cache)
    assert known == exact
    assert batches == 0
    other = Counting()
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    assert first_point(other, task(), cache)[0] is None


def test_the_cache_forgets_what_was_not_asked_for_longest():
    cache = EvaluationCache(most=2)
    entries = [Evaluation(value, Interval(0, 1), 1, 1, "test") for value in (0.1, 0.2, 0.3)]
    cache.put("a", entries[0])
    cache.put("b", entries[1])
    cache.get("a")
    cache.put("c", entries[2])
    assert [cache.get(key) for key in "abc"] == [entries[0], None, entries[2]]
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0
