"""The order of the samples: a permutation whose every prefix holds the classes in their shares."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.engine.order import stratified_order
from compress_explorer.engine.task import Split

GENERATOR = torch.Generator().manual_seed(3)

TARGETS: dict[str, Tensor] = {
    "ten-classes": torch.randint(0, 10, (5000,), generator=GENERATOR),
    "sorted": torch.arange(10).repeat_interleave(50),
    "one-large-many-small": torch.cat([torch.zeros(2500), torch.arange(1, 51).repeat_interleave(50)]).long(),
    "long-tail": (torch.rand(3000, generator=GENERATOR) ** 5 * 40).long(),
    "every-one-its-own": torch.arange(700),
    "one-class": torch.full((300,), 7),
    "negative-labels": torch.tensor([-3, 5] * 40),
    "bytes": torch.randint(0, 3, (200,), generator=GENERATOR).to(torch.uint8),
    "bools": torch.randint(0, 2, (201,), generator=GENERATOR).bool(),
    "single": torch.tensor([4]),
}


def largest_imbalance(targets: Tensor, order: Tensor) -> float:
    """Over all prefixes and classes, the largest distance of a class's count from its share."""
    sizes = torch.arange(1, len(targets) + 1, dtype=torch.float64)
    worst = 0.0
    for label in targets.unique():
        there = (targets[order] == label).double()
        worst = max(worst, float((there.cumsum(0) - there.mean() * sizes).abs().max()))
    return worst


@pytest.mark.parametrize("name", TARGETS)
def test_every_prefix_holds_the_classes_in_their_shares(name):
    targets = TARGETS[name]
    order = stratified_order(targets)
    assert sorted(order.tolist()) == list(range(len(targets)))
    assert largest_imbalance(targets, order) < 1


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_the_shares_hold_for_any_class_sizes(sizes):
    targets = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    order = stratified_order(targets)
    assert sorted(order.tolist()) == list(range(len(targets)))
    assert largest_imbalance(targets, order) < 1


@pytest.mark.parametrize(
    "targets",
    [torch.rand(400), torch.rand(400, 3), torch.zeros(400, dtype=torch.complex64)],
    ids=["1d", "2d", "complex"],
)
def test_other_targets_are_shuffled(targets):
    order = stratified_order(targets)
    assert sorted(order.tolist()) == list(range(400))
    assert order.tolist() != list(range(400))


def test_unique_whole_numbers_are_not_measured_in_their_own_order():
    """Counts or years as targets: the first samples must not be those of the smallest targets."""
    order = stratified_order(torch.arange(1000)).double()
    assert float(order[:200].mean()) == pytest.approx(499.5, abs=70)


def test_samples_within_a_class_are_shuffled():
    order = stratified_order(torch.zeros(1000, dtype=torch.int64)).double()
    assert float(order[:200].mean()) == pytest.approx(499.5, abs=70)


def test_the_order_is_always_the_same_and_touches_no_random_state():
    before = torch.get_rng_state()
    first = stratified_order(TARGETS["ten-classes"])
    torch.manual_seed(123)
    second = stratified_order(TARGETS["ten-classes"])
    assert torch.equal(first, second)
    torch.set_rng_state(before)
    stratified_order(TARGETS["ten-classes"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_split_orders_its_samples_once():
    split = Split(torch.zeros(500, 2), TARGETS["ten-classes"][:500])
    assert split.order is split.order
    assert torch.equal(split.order, stratified_order(split.targets))


def test_samples_come_in_order_whether_a_copy_is_kept_or_not(monkeypatch):
    inputs, targets = torch.arange(60.0).view(30, 2), torch.arange(30) % 3
    kept, gathered = Split(inputs, targets), Split(inputs, targets)
    kept.in_order(range(1))
    monkeypatch.setattr("compress_explorer.engine.task.MOST_COPIED", inputs.nbytes - 1)
    for places in (range(4), range(11, 30), range(30)):
        chosen = kept.order[list(places)]
        for split in (gathered, kept):
            x, y = split.in_order(places)
            assert torch.equal(x, inputs[chosen])
            assert torch.equal(y, targets[chosen])
