"""The copy that is evaluated: the same function, the model untouched, no tensor doubled but convolution kernels."""

import copy
import threading

import torch
from torch import Tensor, nn

from compress_explorer.engine.inference_copy import inference_copy


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 4, 2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(4 * 7 * 7, 5),
    )


X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_copy_computes_the_same_in_evaluation_mode_and_in_channels_last():
    model = network()
    copied = inference_copy(model)
    assert isinstance(copied, nn.Sequential)
    assert not any(module.training for module in copied.modules())
    with torch.no_grad():
        torch.testing.assert_close(copied(X), copy.deepcopy(model).eval()(X))
        assert copied[:1](X).is_contiguous(memory_format=torch.channels_last)


def test_the_model_stays_as_it_is_and_only_kernels_are_doubled():
    model = network()
    before = copy.deepcopy(model)
    copied = inference_copy(model)
    assert all(module.training for module in model.modules())
    for (name, old), new, made in zip(before.named_parameters(), model.parameters(), copied.parameters(), strict=True):
        assert torch.equal(old, new), name
        assert old.stride() == new.stride(), name
        assert torch.equal(old, made), name
        assert (made is new) == (old.ndim < 4), name
    assert all(made is new for new, made in zip(model.buffers(), copied.buffers(), strict=True))


def test_tied_kernels_stay_tied():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    model[1].weight = model[0].weight
    copied = inference_copy(model)
    assert isinstance(copied, nn.Sequential)
    assert copied[0].weight is copied[1].weight


def test_a_network_without_such_kernels_in_evaluation_mode_needs_no_copy():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).eval()
    assert inference_copy(model) is model
    assert inference_copy(model.train()) is not model


class Locked(nn.Module):
    """Has an attribute that deepcopy refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def test_a_model_that_cannot_be_copied_is_used_itself():
    model = Locked()
    assert inference_copy(model) is model
