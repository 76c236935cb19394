"""The search for winning tickets: what must be identical, and exactly how many weights are left."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compress_explorer as ce
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.loop import train
from compress_explorer.engine.training.lottery import TicketRound, lottery_ticket
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.errors import DataError, ParameterError
from tests.case import case
from tests.engine.tasks import task
from tests.engine.test_purity import model_state
from tests.engine.training.test_fine_tune import SPLIT, plain

POINTS = task(test=300, validation=200)
TASK = Task(name="points", test=POINTS.test, validation=POINTS.validation, train=SPLIT)
PLAN = Plan(epochs=2, batch_size=50, learning_rate=0.02, seed=4)
WEIGHTS = {"0.weight": 96, "2.weight": 60}


def search(**options: Any) -> list[TicketRound]:
    return list(lottery_ticket(plain(), TASK, **{"rounds": 3, "plan": PLAN, "look_every": 3, **options}))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def trained(steps: int, plan: Plan = PLAN) -> nn.Sequential:
    """The dense network after so many steps of the loop that all trainings share."""
    model = plain()

    def loss(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(SPLIT.inputs[chosen]), SPLIT.targets[chosen])

    for _ in itertools.islice(train(model, loss, plan, 300), steps):
        pass
    return model.eval()


def test_masks_are_nested_counts_are_exact_and_weights_begin_at_the_initial_ones():
    model = plain()
    before = model_state(model)
    found = list(lottery_ticket(model, TASK, rounds=3, plan=PLAN, look_every=3))
    assert model_state(model) == before
    initial = plain().state_dict()
    left = dict(WEIGHTS)
    for number, entry in enumerate(found):
        with case(f"round {number}"):
            assert entry.number == number
            for name in initial:
                expected = initial[name] * entry.kept[name] if name in WEIGHTS else initial[name]
                assert torch.equal(entry.ticket.start[name], expected)
            for name, mask in entry.kept.items():
                assert int(mask.sum()) == left[name]
                assert not entry.ticket.model.get_parameter(name)[~mask].any()
                if number:
                    assert not (mask & ~found[number - 1].kept[name]).any()
            assert entry.sparsity == pytest.approx(1 - sum(left.values()) / 156)
            # Of the weights that are left a fifth goes, of the last layer's a tenth.
            left = {name: count - round((0.1 if name == "2.weight" else 0.2) * count) for name, count in left.items()}
    dense = trained(12)
    assert same(dense.state_dict(), found[0].ticket.model.state_dict())
    # The smallest after training went, whatever they were before.
    for name, mask in found[1].kept.items():
        magnitudes = dense.get_parameter(name).abs()
        assert magnitudes[mask].min() >= magnitudes[~mask].max()


def test_rewinding_to_a_step_begins_with_the_weights_of_the_dense_training_after_it():
    after = trained(5).state_dict()
    for entry in search(rewind_to=5, rounds=2)[1:]:
        for name, tensor in after.items():
            expected = tensor * entry.kept[name] if name in WEIGHTS else tensor
            assert torch.equal(entry.ticket.start[name], expected)
        assert entry.ticket.losses[0][0] == 5
        assert [step for step, _ in entry.ticket.losses] == [5, 6, 9, 12]


def test_a_ticket_is_measured_as_evaluate_measures_it_and_stops_early_where_the_loss_is_smallest():
    for entry in search(reinitialise=True, rounds=1):
        assert entry.reinitialised is not None
        for found in (entry.ticket, entry.reinitialised):
            assert found.test == ce.evaluate(found.model, TASK, device="cpu")
            assert found.validation == ce.evaluate(found.model, TASK, "validation", device="cpu")
            assert [step for step, _ in found.losses] == [0, 3, 6, 9, 12]
            assert POINTS.validation is not None
            with torch.no_grad():
                loss = nn.functional.cross_entropy(found.model(POINTS.validation.inputs), POINTS.validation.targets)
            assert found.losses[-1][1] == pytest.approx(loss.item(), rel=1e-5)
            assert dict(found.losses)[found.early_stop] == min(dict(found.losses).values())
    # At a rate far too high the first look is the best: the weights of early stopping are those of the beginning.
    wild = Plan(epochs=2, batch_size=50, optimiser="sgd", learning_rate=3.0, seed=4)
    (entry,) = search(plan=wild, rounds=0)
    early = ce.evaluate(trained(entry.ticket.early_stop, wild), TASK, device="cpu")
    assert entry.ticket.early == early


def test_other_initial_weights_are_the_same_values_in_another_order_under_the_same_mask():
    initial = plain().state_dict()
    for entry in search(reinitialise=True, rounds=2):
        assert entry.reinitialised is not None
        for name in WEIGHTS:
            other = entry.reinitialised.start[name]
            assert not other[~entry.kept[name]].any()
            assert torch.isin(other[entry.kept[name]], initial[name]).all()
            assert not torch.equal(other, initial[name] * entry.kept[name])
    assert all(entry.reinitialised is None for entry in search(rounds=1))


def test_it_repeats_from_its_seed_and_goes_on_only_when_asked():
    told: list[str] = []
    rounds = lottery_ticket(plain(), TASK, rounds=3, plan=PLAN, progress=told.append)
    assert told == []
    first = next(rounds)
    assert len(told) == 12
    rounds.close()  # type: ignore[attr-defined] # it is a generator
    again = search(rounds=0)[0]
    assert same(dict(first.ticket.model.state_dict()), dict(again.ticket.model.state_dict()))

    def stop(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(lottery_ticket(plain(), TASK, plan=PLAN, progress=stop))


def test_bad_values_and_missing_splits_are_refused_at_once():
    cases: list[tuple[dict[str, Any], str]] = [
        ({"rounds": -1}, "rounds=-1"),
        ({"rate": 1.2}, "rate=1.2"),
        ({"rate": "a fifth"}, "rate='a fifth'"),
        ({"plan": None}, "plan=None must be a TrainingPlan"),
        ({"output_rate": -0.1}, "output_rate=-0.1"),
        ({"rewind_to": 12}, "rewind_to=12 must be a whole number from 0 to 11"),
        ({"look_every": 0}, "look_every=0"),
    ]
    for options, words in cases:
        with pytest.raises(ParameterError, match=words):
            lottery_ticket(plain(), TASK, **{"plan": PLAN, **options})
    with pytest.raises(DataError, match="weights are float64; check that the data"):
        lottery_ticket(plain().double(), TASK, plan=PLAN)
    with pytest.raises(DataError, match="train split"):
        lottery_ticket(plain(), POINTS)
    with pytest.raises(DataError, match="no validation split"):
        lottery_ticket(plain(), Task(name="two", test=POINTS.test, train=SPLIT))


def test_the_bundled_initial_weights_are_those_a_ticket_begins_with():
    initial = ce.load_initial("lenet-300-100")
    _, mnist = ce.load("lenet-300-100")
    assert mnist.validation is not None
    inputs, targets = mnist.validation.inputs, mnist.validation.targets
    few = [ce.Split(inputs[start : start + 240], targets[start : start + 240]) for start in (0, 240, 480)]
    small = Task(name="few", train=few[0], validation=few[1], test=few[2])
    rounds = list(ce.lottery_ticket(initial, small, rounds=1, plan=Plan(epochs=3, batch_size=60, learning_rate=1.2e-3)))
    assert rounds[1].sparsity == pytest.approx((47_040 + 6_000 + 100) / 266_200)
    for name, tensor in initial.state_dict().items():
        assert torch.equal(rounds[1].ticket.start[name], tensor * rounds[1].kept.get(name, torch.tensor(1.0)))
    assert rounds[1].ticket.test.value > 0.5
