"""The training loop, beside torch's own optimisers written out, and what interrupts it."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from compress_explorer.engine.training.loop import train
from compress_explorer.engine.training.plan import Plan
from compress_explorer.spec.errors import FileFormatError, ParameterError, TrainingError

torch.manual_seed(0)
X, Y = torch.randn(70, 5), torch.arange(70) % 3


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def loss_of(model):
    return lambda chosen: nn.functional.cross_entropy(model(X[chosen]), Y[chosen])


def run(model, plan, **options):
    return list(train(model, loss_of(model), plan, len(X), **options))


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_it_does_what_the_written_out_loop_does():
    plan = Plan(epochs=3, batch_size=16, optimiser="sgd", learning_rate=0.1, weight_decay=0.01, warm_up=0.25, seed=5)
    ours, theirs = network(), network()
    steps = run(ours, plan)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.9, nesterov=True, weight_decay=0.01)
    losses = []
    for step in range(12):  # 4 whole batches of 16 in 70 samples, 3 epochs
        epoch, place = divmod(step, 4)
        chosen = torch.randperm(70, generator=torch.Generator().manual_seed(5 * 1_000_003 + epoch))[16 * place :][:16]
        rate = 0.1 * (step + 1) / 4 if step < 3 else 0.05 * (1 + math.cos(math.pi * (step - 3) / 9))
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(theirs(X[chosen]), Y[chosen])
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert torch.equal(weights(ours), weights(theirs))
    assert [entry.loss for entry in steps] == losses
    assert [entry.step for entry in steps] == list(range(1, 13))
    assert [entry.epoch for entry in steps] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_a_training_that_was_interrupted_anywhere_ends_like_one_that_was_not(tmp_path):
    plan = Plan(epochs=3, batch_size=16, seed=2)
    whole = network(dropout=0.5)
    run(whole, plan)
    for stop in (1, 4, 6, 11, 12):
        path = tmp_path / f"{stop}.checkpoint"
        begun = network(dropout=0.5)
        steps = train(begun, loss_of(begun), plan, len(X), checkpoint=path)
        for _ in itertools.islice(steps, stop):
            torch.rand(3)  # the caller's own random numbers have no part in it
        steps.close()
        resumed = network(dropout=0.5)
        rest = run(resumed, plan, checkpoint=path)
        assert len(rest) == 12 - stop
        assert torch.equal(weights(resumed), weights(whole)), f"stopped after {stop} steps"


def test_the_callers_random_state_and_the_model_between_steps_are_left_alone():
    torch.manual_seed(9)
    expected = torch.rand(4)
    model = network(dropout=0.5)
    torch.manual_seed(9)
    run(model, Plan(epochs=1))
    assert torch.equal(torch.rand(4), expected)
    model, other = network(dropout=0.5), network(dropout=0.5)
    for _ in train(model, loss_of(model), Plan(epochs=2, batch_size=16), len(X)):
        model.eval()(X)  # evaluated between steps, as for the curve of its accuracy
    run(other, Plan(epochs=2, batch_size=16))
    assert torch.equal(weights(model), weights(other))


def test_a_loss_that_is_no_number_keeps_the_last_good_weights_and_names_the_step():
    model = network()
    plan = Plan(epochs=3, batch_size=16)
    after_epoch = copy.deepcopy(model)
    calls = itertools.count()
    steps = train(after_epoch, loss_of(after_epoch), plan, len(X))
    for _ in itertools.islice(steps, 4):
        pass

    def breaks(chosen):
        return loss_of(model)(chosen) * (math.nan if next(calls) == 6 else 1.0)

    with pytest.raises(TrainingError, match=r"nan at step 7 \(epoch 2 of 3\).*after step 4.*learning_rate=0.001"):
        list(train(model, breaks, plan, len(X)))
    assert torch.equal(weights(model), weights(after_epoch))


def test_a_learning_rate_far_too_high_is_found_out():
    model = network()
    before = weights(model).clone()
    with pytest.raises(TrainingError, match="from before the training"):
        list(train(model, loss_of(model), Plan(optimiser="sgd", learning_rate=1e30), len(X)))
    assert torch.equal(weights(model), before)


def test_after_step_is_called_after_each_step():
    model = network()
    first, mask = model[0], torch.rand(8, 5) > 0.5
    assert isinstance(first, nn.Linear)

    def prune():
        with torch.no_grad():
            first.weight.mul_(mask)

    prune()
    for _ in train(model, loss_of(model), Plan(epochs=2), len(X), after_step=prune):
        assert bool((first.weight[~mask] == 0).all())
    assert bool((first.weight[mask] != 0).all())


def test_bad_values_are_refused_with_the_remedy(tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"batch_size": True}, "batch_size=True"),
        ({"seed": -1}, "seed=-1"),
        ({"learning_rate": 0}, "trains nothing"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"warm_up": 2.0}, "fraction"),
        ({"optimiser": "lion"}, "sgd, adam"),
        ({"decay": "linear"}, "cosine, constant"),
    ]
    for values, words in cases:
        with pytest.raises(ParameterError, match=words):
            Plan(**values)
    model = network().requires_grad_(False)
    with pytest.raises(TrainingError, match=r"requires_grad_\(\)"):
        run(model, Plan())
    path = tmp_path / "checkpoint"
    run(network(), Plan(epochs=1), checkpoint=path)
    with pytest.raises(FileFormatError, match="another training"):
        run(network(), Plan(epochs=2), checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="no checkpoint"):
        run(network(), Plan(epochs=1), checkpoint=path)
