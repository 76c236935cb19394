"""Students drawn and trained in several threads at once, as by two labs, are those that are drawn and trained alone."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from compress_explorer.engine.distillation.beginnings import initial
from compress_explorer.engine.own_draws import own_draws
from compress_explorer.engine.training.loop import train
from compress_explorer.engine.training.plan import Plan
from tests.case import case

INPUTS = torch.linspace(-1, 1, 60).view(12, 5)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def drawn(in_the_middle: Callable[[], object] = lambda: None) -> Tensor:
    """The weights of a student of seed 3."""

    def build() -> nn.Module:
        first = nn.Linear(2, 2)
        in_the_middle()
        return nn.Sequential(first, nn.Linear(2, 2))

    return weights(initial(build, 3))


def trained(in_the_middle: Callable[[], object] = lambda: None) -> Tensor:
    """The weights after a step with dropout."""
    with own_draws(3):
        model = nn.Sequential(nn.Linear(5, 40), nn.Dropout(0.5), nn.Linear(40, 1))

    def loss(chosen: Tensor) -> Tensor:
        in_the_middle()
        found: Tensor = model(INPUTS[chosen]).square().mean()
        return found

    list(train(model, loss, Plan(epochs=1, batch_size=12), 12))
    return weights(model)


def test_a_training_that_draws_nothing_leaves_the_numbers_to_others():
    """After its first step torch's numbers are untouched: what another thread draws meanwhile goes on."""
    model = nn.Linear(5, 1)
    touched: list[bool] = []
    torch.manual_seed(5)
    theirs = torch.get_rng_state()

    def loss(chosen: Tensor) -> Tensor:
        touched.append(not torch.equal(torch.get_rng_state(), theirs))
        found: Tensor = model(INPUTS[chosen]).square().mean()
        return found

    list(train(model, loss, Plan(epochs=2, batch_size=4), 12))
    assert touched == [True] + 5 * [False]
    assert torch.equal(torch.get_rng_state(), theirs)


def test_another_thread_that_draws_meanwhile_changes_nothing():
    for work in (drawn, trained):
        wanted = work()
        for other in (drawn, trained):
            begun, other_draws, ended = (threading.Event() for _ in range(3))

            def meet(begun=begun, other_draws=other_draws) -> None:
                begun.set()
                other_draws.wait(0.3)  # it must not get that far before this one has ended

            def draw(other=other, begun=begun, other_draws=other_draws, ended=ended) -> None:
                assert begun.wait(60)
                other(lambda: (torch.rand(7), other_draws.set(), ended.wait(60)))

            before = torch.get_rng_state()
            thread = threading.Thread(target=draw)
            thread.start()
            found = work(meet)
            ended.set()
            thread.join(60)
            with case(work.__name__, other.__name__):
                assert other_draws.is_set()
                assert torch.equal(found, wanted)
                assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers go on where they were"
