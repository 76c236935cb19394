"""Scores that grow: each sample once, the same as in one go, also after a fault."""

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.evaluate import scores_of
from compress_explorer.engine.growing import GrowingScores
from compress_explorer.spec.errors import DataError
from tests.engine.tasks import network, task

TASK = task(test=1300)


class Counting(nn.Module):
    """Notes how many samples it was shown; fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.shown, self.is_broken = network().eval(), 0, False

    def forward(self, x: Tensor) -> Tensor:
        if self.is_broken:
            raise ValueError("broken")
        self.shown += len(x)
        outputs: Tensor = self.inner(x)
        return outputs


def test_every_prefix_is_that_of_measuring_all_and_no_sample_is_measured_twice():
    model = Counting().eval()
    whole = scores_of(model, TASK)
    model.shown = 0
    growing = GrowingScores(model, TASK, "test")
    assert len(growing.known) == model.shown == 0
    for count, shown in ((10, 256), (256, 256), (300, 512), (200, 512), (1300, 1300), (9999, 1300)):
        found = growing.first(count)
        assert len(found) == min(count, 1300)
        assert torch.equal(found.scores, whole.scores[:count])
        assert found.predictions is not None
        assert whole.predictions is not None
        assert torch.equal(found.predictions, whole.predictions[:count])
        assert model.shown == shown


def test_the_looks_end_with_all_samples():
    growing = GrowingScores(network().eval(), TASK, "test")
    assert [len(look) for look in growing.looks(lambda seen: seen + 500)] == [500, 1000, 1300]


def test_after_a_fault_it_goes_on_where_it_was():
    model = Counting().eval()
    growing = GrowingScores(model, TASK, "test")
    growing.first(300)
    model.is_broken = True
    for _ in range(2):
        with pytest.raises(DataError, match="broken"):
            growing.first(1300)
        assert len(growing.known) == 512
    model.is_broken = False
    assert torch.equal(growing.first(1300).scores, scores_of(model, TASK).scores)
    assert model.shown == 2 * 1300
