"""What lasts long is done in parts: once each, and on from where it was stopped."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional

from compress_explorer.engine.training.plan import Plan
from compress_explorer.papers.parts import Parts, fresh

INPUTS = torch.randn(64, 5, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(64) % 3
PLAN = Plan(epochs=4, batch_size=16, seed=3)


def trained(parts, stop_at=None):
    """A small network, trained; with `stop_at` the program ends at that step."""
    model = fresh(lambda: nn.Sequential(nn.Dropout(0.2), nn.Linear(5, 3)), 1)
    steps = 0

    def after_step():
        nonlocal steps
        steps += 1
        if steps == stop_at:
            raise KeyboardInterrupt

    def loss(chosen):
        return functional.cross_entropy(model(INPUTS[chosen]), LABELS[chosen])

    parts.train("net", model, loss, PLAN, len(LABELS), after_step=after_step)
    return model, steps


def test_a_training_that_was_ended_goes_on_from_its_last_epoch_to_the_same_weights(tmp_path):
    whole, steps = trained(Parts(tmp_path / "whole", "e", 1, say=lambda _: None))
    assert steps == 16
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        trained(Parts(stopped, "e", 1, say=lambda _: None), stop_at=10)
    parts = Parts(stopped, "e", 1, say=lambda _: None)
    before = parts.spent("net")
    resumed, steps = trained(parts)
    assert steps == 16 - 8
    assert torch.equal(resumed[1].weight, whole[1].weight)
    assert not resumed.training
    assert parts.spent("net").seconds > before.seconds > 0
    assert list(parts.folder.glob("*.checkpoint")) == []
    again, steps = trained(parts)
    assert steps == 0
    assert torch.equal(again[1].weight, whole[1].weight)


def test_a_value_and_a_network_are_made_once_for_each_of_the_settings(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"n": len(made)}

    def network():
        made.append(1)
        return fresh(lambda: nn.Linear(2, 2), 5)

    said: list[str] = []
    parts = Parts(tmp_path, "e", {"bits": 3}, say=said.append)
    assert parts.value("a", make) == parts.value("a", make) == {"n": 1}
    assert Parts(tmp_path, "e", {"bits": 4}, say=said.append).value("a", make) == {"n": 2}
    first, second = (parts.made("b", nn.Linear(2, 2), network).state_dict()["weight"] for _ in range(2))
    assert torch.equal(first, fresh(lambda: nn.Linear(2, 2), 5).state_dict()["weight"])
    assert torch.equal(first, second)
    assert len(made) == 3
    assert len(list(tmp_path.iterdir())) == 2
    stored = [json.loads(path.read_text())["seconds"] for path in parts.folder.glob("*.spent.json")]
    assert parts.spent_in_all().seconds == pytest.approx(sum(stored))
    assert len(stored) == 2


def test_a_fresh_network_leaves_the_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fresh(lambda: nn.Linear(4, 4), 1)
    assert torch.equal(torch.rand(3), expected)
