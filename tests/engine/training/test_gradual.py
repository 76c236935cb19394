"""Gradual pruning beside torchao's schedule, and the zeros it leaves."""

import pytest
import torch
from torchao.prototype.sparsity.scheduler.cubic_scheduler import CubicSL

from compress_explorer.engine.context import Context
from compress_explorer.engine.steps import apply_step
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods.catalogue import complete
from compress_explorer.methods.gradual import cubic_sparsity
from compress_explorer.methods.sparsity import zeros_for
from compress_explorer.spec.recipe import Step
from tests.case import case
from tests.engine.tasks import network
from tests.engine.training.test_fine_tune import TASK, run

GRADUAL = Step("gradual", sparsity=0.8, every=2, until=0.7, epochs=2, batch_size=50, learning_rate=0.01)


def test_the_schedule_is_that_of_torchao():
    for initial, final, every, times in ((0.0, 0.9, 10, 7), (0.2, 0.95, 1, 30), (0.5, 0.5, 3, 4), (0.0, 1.0, 100, 1)):
        for step in range(every * times + 3):
            expected = CubicSL.sparsity_compute_fn(initial, final, step, 0, every, times)
            found = cubic_sparsity(step, every * times, final, initial)
            assert found == pytest.approx(expected, abs=1e-12), f"step {step} of {every * times}"


def test_zeros_grow_step_by_step_and_never_come_back(monkeypatch):
    from compress_explorer.engine.training.trainee import Trainee

    seen: list[tuple[float, list[int]]] = []
    prune = Trainee.prune

    def watched(self: Trainee, sparsity: float) -> None:
        before = [None if gone is None else gone.clone() for gone in (self.gone("0.weight"), self.gone("4.weight"))]
        prune(self, sparsity)
        after = [self.gone("0.weight"), self.gone("4.weight")]
        for one, other in zip(before, after, strict=True):
            assert other is not None
            assert one is None or bool((other | ~one).all())
        seen.append((sparsity, [int(gone.sum()) for gone in after if gone is not None]))

    monkeypatch.setattr(Trainee, "prune", watched)
    found = run(network(), GRADUAL)
    # 12 steps, of which 8.4 prune: after 2, 4, 6 and 8.
    assert [sparsity for sparsity, _ in seen] == pytest.approx(
        [CubicSL.sparsity_compute_fn(0.0, 0.8, step, 0, 2, 4) for step in (2, 4, 6, 8)]
    )
    for sparsity, counts in seen:
        assert counts == [zeros_for(sparsity, 8 * 24), zeros_for(sparsity, 24 * 5)]
    for name, count in (("0.weight", 8 * 24), ("4.weight", 24 * 5)):
        weight = found.model.get_parameter(name)
        assert int((weight == 0).sum()) == zeros_for(0.8, count)


def test_few_steps_or_weights_pruned_before_still_end_at_the_sparsity_asked_for():
    cases = {
        "more steps between than there are": ((), GRADUAL.replace(every=1000), 0.8),
        "until the end": ((), GRADUAL.replace(until=1.0), 0.8),
        "a single step": ((), GRADUAL.replace(epochs=1, batch_size=1000), 0.8),
        "pruned before": ((Step("magnitude", sparsity=0.5),), GRADUAL, 0.8),
        "pruned more before": ((Step("magnitude", sparsity=0.9),), GRADUAL, 0.9),
        "none": ((), GRADUAL.replace(sparsity=0.0), 0.0),
    }
    for name, (before, step, sparsity) in cases.items():
        with case(name):
            weight = run(network(), *before, step).model.get_parameter("0.weight")
            assert int((weight == 0).sum()) == zeros_for(sparsity, weight.numel())
            for earlier in before:
                gone = run(network(), earlier).model.get_parameter("0.weight") == 0
                assert not weight[gone].any()


def test_quantized_weights_are_left_alone():
    found = run(network(), Step("integer", layers="0.*", bits=4), GRADUAL)
    ((name, reason),) = [(entry.name, entry.reason) for entry in found.steps[-1].left_alone]
    assert (name, reason) == ("0.weight", "it is quantized: pruning while training comes before quantization")
    assert int((found.model.get_parameter("4.weight") == 0).sum()) == zeros_for(0.8, 120)


def test_a_pause_changes_nothing():
    work = open_model(network())
    whole = apply_step(work, complete(GRADUAL), Context(task=TASK))

    class Stop(Exception):  # noqa: N818 -- no error
        pass

    def stop(_text: str) -> None:
        raise Stop

    for _ in range(7):
        with pytest.raises(Stop):
            apply_step(work, complete(GRADUAL), Context(task=TASK, tell=stop))
    resumed = apply_step(work, complete(GRADUAL), Context(task=TASK))
    for name, tensor in whole.state.items():
        assert torch.equal(tensor, resumed.state[name]), name
