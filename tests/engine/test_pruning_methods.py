"""Every method that prunes, on a small convolutional network: what the compressed model says of itself is so."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import compress_explorer as ce
from compress_explorer.methods.catalogue import METHODS
from tests.engine.recipes import step_id, steps_of

PRUNERS = [method for method in METHODS if method.result == "mask" and not method.needs_data]
"""Those that need data are in `test_calibrated.py`."""


class Network(nn.Module):
    """Convolutions of several kinds, and two linear layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)
        self.norm = nn.BatchNorm2d(5)
        self.inner = nn.Linear(5, 5)
        self.outer = nn.Linear(5, 5)
        self.outer.weight = self.inner.weight

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.up(self.grouped(self.first(images).relu()).relu()))
        return self.outer(self.inner(maps.mean(dim=(2, 3))).relu())


WEIGHTS = {"first.weight": 216, "grouped.weight": 216, "up.weight": 120, "inner.weight": 25}
"""Every weight that is treated, and how many numbers it has; the shared one once."""


def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network().eval()


STEPS = [ce.Step(method.name) for method in PRUNERS] + [step for method in PRUNERS for step in steps_of(method)]
every_step = pytest.mark.parametrize("step", STEPS, ids=step_id)


def masks(compressed: ce.CompressedModel) -> dict[str, Tensor]:
    """What is kept of every treated weight, [output channels, weights of one channel]."""
    return {entry.name: entry.kept for entry in compressed.stored if entry.kept is not None}


def zeros(compressed: ce.CompressedModel) -> dict[str, int]:
    return {name: int((~kept).sum()) for name, kept in masks(compressed).items()}


@every_step
def test_what_is_kept_is_unchanged_and_the_rest_is_zero(step):
    model = network()
    compressed = ce.compress(model, step)
    before, after = model.state_dict(), compressed.model.state_dict()
    assert set(masks(compressed)) == set(WEIGHTS)
    for entry in compressed.stored:
        if entry.kept is None:
            assert torch.equal(after[entry.name], before[entry.name])
        else:
            kept = entry.layout.from_matrix(entry.kept)
            assert torch.equal(after[entry.name], torch.where(kept, before[entry.name], 0.0))


@every_step
def test_the_report_counts_the_zeros_that_are_there(step):
    compressed = ce.compress(network(), step)
    report = compressed.size()
    counted = {tensor.name: tensor for tensor in report.tensors if tensor.treated}
    there = {name: int((compressed.model.get_parameter(name) == 0).sum()) for name in WEIGHTS}
    assert {name: tensor.zeros for name, tensor in counted.items()} == there == zeros(compressed)
    assert {name: tensor.weights for name, tensor in counted.items()} == WEIGHTS
    assert report.sparsity == pytest.approx(sum(there.values()) / sum(WEIGHTS.values()))
    for name, tensor in counted.items():
        assert tensor.part("values") >= 4 * (WEIGHTS[name] - there[name])
        assert tensor.bytes() <= 4 * WEIGHTS[name]


@every_step
def test_shared_weights_are_pruned_once_and_stay_shared(step):
    compressed = ce.compress(network(), step)
    assert compressed.aliases == (("outer.weight", "inner.weight"),)
    assert compressed.model.get_parameter("outer.weight") is compressed.model.get_parameter("inner.weight")


@pytest.mark.parametrize("method", PRUNERS, ids=lambda method: method.name)
def test_the_file_is_as_long_as_reported_and_brings_the_zeros_back(method, tmp_path):
    compressed = ce.compress(network(), ce.Step(method.name))
    path = compressed.save(tmp_path / "pruned.safetensors")
    assert path.stat().st_size == compressed.size().file
    loaded = ce.load_compressed(path, Network()).state_dict()
    for name, values in compressed.model.state_dict().items():
        assert torch.equal(loaded[name], values)


# How many are zero, counted by hand: channels and weights of one channel are 8 x 27, 6 x 36, 5 x 24 and 5 x 5.


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # Of 3, 4, 6 and 5 input channels 1, 2, 2 and 2 go, at each of 9, 9, 4 places and 1.
        (ce.Step("n-m"), [8 * 9 * 1, 6 * 9 * 2, 5 * 4 * 2, 5 * 2]),
        (ce.Step("n-m", keep=1, block=2), [8 * 9 * 1, 6 * 9 * 2, 5 * 4 * 3, 5 * 2]),
        (ce.Step("filter-norm"), [2 * 27, 2 * 36, 2 * 24, 2 * 5]),  # 0.3 of 8, 6 and 5 channels
        (ce.Step("filter-norm", norm="L1", sparsity=0.6), [5 * 27, 4 * 36, 3 * 24, 3 * 5]),
        (ce.Step("fpgm"), [2 * 27, 2 * 36, 2 * 24, 2 * 5]),
        (ce.Step("block", rows=1, columns=3), [36 * 3, 36 * 3, 20 * 3, None]),
        (ce.Step("block", rows=2, columns=12), [None, 4 * 24, None, None]),  # of 9, 4.5 rounded to the even one
        (ce.Step("diagonal-literal"), [8, 6, 5, 5]),
        (ce.Step("diagonal-literal", offset=-3), [5, 3, 2, 2]),
        (ce.Step("diagonal-literal", offset=24), [3, 6, 0, 0]),
    ],
    ids=str,
)
def test_as_many_are_zero_as_the_pattern_says(step, expected):
    found = zeros(ce.compress(network(), step))
    for name, count in zip(WEIGHTS, expected, strict=True):
        assert count is None or found[name] == count


def test_lamp_drops_its_share_of_all_and_keeps_some_of_each():
    found = zeros(ce.compress(network(), ce.Step("lamp", sparsity=0.9)))
    assert sum(found.values()) == round(0.9 * sum(WEIGHTS.values()))
    assert all(found[name] < count for name, count in WEIGHTS.items())


def test_the_deviation_is_that_of_the_layer():
    model = network()
    found = zeros(ce.compress(model, ce.Step("sigma-threshold", quality=0.8)))
    for name in WEIGHTS:
        values = model.get_parameter(name).detach().double().numpy()
        assert found[name] == int((np.abs(values) <= 0.8 * np.std(values)).sum())


@pytest.mark.parametrize("method", ["filter-norm", "fpgm"])
@pytest.mark.parametrize("layer", ["first", "grouped", "up"])
def test_a_dropped_channel_puts_out_its_bias_alone(layer, method):
    """Of plain, grouped and transposed convolutions: rows of the matrix are output channels."""
    compressed = ce.compress(network(), ce.Step(method, layers=layer, sparsity=0.5))
    module = compressed.model.get_submodule(layer)
    inputs = torch.randn(
        2, {"first": 3, "grouped": 8, "up": 6}[layer], 5, 5, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        outputs = module(inputs)
    constant = (outputs == outputs[:1, :, :1, :1]).all(dim=(0, 2, 3))
    gone = ~masks(compressed)[f"{layer}.weight"].any(dim=1)
    assert torch.equal(constant, gone)
    assert int(gone.sum()) == {"first": 4, "grouped": 3, "up": 2}[layer]


@pytest.mark.parametrize("second", PRUNERS, ids=lambda method: method.name)
def test_what_a_step_before_pruned_stays_pruned(second):
    first = masks(ce.compress(network(), ce.Step("random", sparsity=0.3)))
    both = masks(ce.compress(network(), ce.Recipe([ce.Step("random", sparsity=0.3), ce.Step(second.name)])))
    assert all(not (both[name] & ~first[name]).any() for name in WEIGHTS)
