"""N:M sparsity of layers of every kind, against torchao's mask creator on the weight with its input channels last."""

import pytest
import torch
from torch import Tensor
from torchao.sparsity.utils import mask_creator

import compress_explorer as ce
from tests.engine.modules import CASES

CONVOLUTIONS = [name for name in CASES if name.startswith(("conv", "transposed"))]
LINEAR = ["linear", "attention", "gru", "bilinear"]


def input_channels_last(weight: Tensor, name: str) -> Tensor:
    """Of a transposed convolution, [inputs, outputs / groups, *kernel], the first axis holds them, group by group."""
    if not name.startswith("transposed"):
        return weight.movedim(1, -1)
    groups = {"transposed2d-grouped": 2, "transposed3d-depthwise": 3}.get(name, 1)
    return weight.unflatten(0, (groups, -1)).movedim(1, -1)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize(("keep", "block"), [(1, 2), (2, 4), (1, 4)])
def test_blocks_of_a_convolution_are_of_input_channels(name, keep, block):
    model = CASES[name].module()
    compressed = ce.compress(model, ce.Step("n-m", keep=keep, block=block))
    weight = model.get_parameter("weight").detach()
    mask = input_channels_last(compressed.model.get_parameter("weight") != 0, name)
    channels = mask.shape[-1]
    padded = torch.nn.functional.pad(input_channels_last(weight, name), (0, -channels % block))
    assert torch.equal(mask, (mask_creator(padded.contiguous(), keep, block) == 1)[..., :channels])


@pytest.mark.parametrize("name", LINEAR)
def test_blocks_of_other_layers_are_of_neighbours_in_a_row(name):
    model = CASES[name].module()
    compressed = ce.compress(model, ce.Step("n-m", keep=1, block=2))
    for part in CASES[name].channels:
        rows = model.get_parameter(part).detach().flatten(1)
        columns = rows.shape[1]
        mask = mask_creator(torch.nn.functional.pad(rows, (0, columns % 2)), 1, 2)[:, :columns] == 1
        assert torch.equal(compressed.model.get_parameter(part).flatten(1) != 0, mask)


def test_a_layer_with_one_input_channel_in_a_group_says_that_nothing_was_dropped():
    report = ce.compress(CASES["conv2d-depthwise"].module(), ce.Step("n-m")).steps[0]
    assert (report.zeros_after, report.weights) == (0, 72)
    assert "zeros 0 → 0" in report.sentence()
