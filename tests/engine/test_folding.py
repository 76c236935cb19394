"""Normalizations folded into convolutions, beside the network that has both."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from compress_explorer.engine.folding import Pairs, fold, foldable_pairs
from compress_explorer.engine.follow import followed
from compress_explorer.engine.inference_copy import inference_copy, safe_folds
from tests.case import case


def settled(model: nn.Module) -> nn.Module:
    """With running statistics, scales and shifts that are no ones and zeros."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


def pairs_of(model: nn.Module) -> Pairs:
    graph = followed(model)
    return () if graph is None else foldable_pairs(model, graph)


def images(channels: int = 3, count: int = 5) -> Tensor:
    return torch.randn(count, channels, 9, 9, generator=torch.Generator().manual_seed(4))


class Twice(nn.Module):
    """Reads a convolution in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return self.norm(y) + y


class Seen(nn.Module):
    """Takes another way when it is followed than when it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return self.norm(y) if not isinstance(x, Tensor) else y


class Choosing(nn.Module):
    """Cannot be followed: it decides by numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y if x.mean() > 0 else -y


def test_each_kind_of_convolution_computes_what_both_did():
    kinds = {
        "plain": nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        "bias": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False)),
        "groups": nn.Sequential(nn.Conv2d(6, 12, 3, stride=2, groups=3), nn.BatchNorm2d(12, eps=0.1)),
        "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)),
        "double": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).double(),
        "two": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1), nn.BatchNorm2d(2)),
    }
    for name, made in kinds.items():
        with case(name):
            model = settled(made)
            x = images(6 if "groups" in name else 3).to(next(model.parameters()).dtype)
            before = copy.deepcopy(model.state_dict())
            with torch.no_grad():
                expected = model(x)
                pairs = safe_folds(model, x)
                found = inference_copy(model, pairs)(x)
            assert len(pairs) == (2 if name == "two" else 1)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_what_is_read_twice_shared_hooked_or_computed_is_left_alone():
    shared = nn.Conv2d(4, 4, 3)
    tied = nn.Sequential(shared, nn.BatchNorm2d(4), shared, nn.BatchNorm2d(4))
    hooked = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    hooked[0].register_forward_hook(lambda _module, _given, result: 2 * result)
    normed = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    batch_statistics = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    apart = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    grouped = nn.Sequential(nn.ConvTranspose2d(6, 4, 3, groups=2), nn.BatchNorm2d(4))
    for name, model in {
        "transposed groups": grouped,
        "twice": Twice(),
        "choosing": Choosing(),
        "tied": tied,
        "hooked": hooked,
        "parametrized": normed,
        "batch statistics": batch_statistics,
        "apart": apart,
    }.items():
        with case(name):
            assert pairs_of(settled(model)) == ()


def test_a_network_that_computes_otherwise_than_it_was_followed_is_found_out():
    model = settled(Seen())
    assert pairs_of(model) == (("conv", "norm"),)
    assert safe_folds(model, images()) == ()


def test_a_shortcut_is_folded_on_both_of_its_ways():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.short = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + self.short(x))

    model = settled(Block())
    pairs = pairs_of(model)
    assert sorted(pairs) == [("conv1", "bn1"), ("conv2", "bn2"), ("short.0", "short.1")]
    network = copy.deepcopy(model)
    fold(network, pairs)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.no_grad():
        torch.testing.assert_close(network(images()), model(images()), rtol=1e-4, atol=1e-4)
