"""The experiments' own pieces, and each of them whole on a few images."""

import itertools
import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from compress_explorer.papers import deep_compression, hinton, lottery, per_channel
from compress_explorer.papers.deep_compression_tables import layers_table
from compress_explorer.papers.experiments import experiment
from compress_explorer.papers.parts import Parts
from compress_explorer.papers.stacked import WIDTHS, StackedLeNet, glorot_normal
from compress_explorer.spec.errors import UnknownNameError
from compress_explorer.zoo.catalogue import load
from tests.case import case


def alone(stacked, index):
    """One of the stacked networks as a plain one."""
    layers = []
    for weight, bias in zip(stacked.weights, stacked.biases, strict=True):
        layer = nn.Linear(*weight.shape[1:])
        layer.weight.data, layer.bias.data = weight[index].T.detach().clone(), bias[index, 0].detach().clone()
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def test_stacked_networks_learn_as_if_each_were_alone():
    seeds = (4, 9)
    stacked = StackedLeNet(2, 1)
    first = glorot_normal(seeds)
    stacked.start(first, [torch.ones_like(weight, dtype=torch.bool) for weight in first])
    generator = torch.Generator().manual_seed(0)
    train = lottery.Flat(torch.randn(30, 784, generator=generator), torch.arange(30) % 10)
    chosen = torch.tensor([3, 8, 20])
    lottery.stacked_loss(stacked, train, seeds)(chosen).backward()
    for index, seed in enumerate(seeds):
        with case(seed):
            own = torch.randperm(30, generator=torch.Generator().manual_seed(seed))[chosen]
            network = alone(stacked, index)
            functional.cross_entropy(network(train.inputs[own]), train.labels[own]).backward()
            for layer, weight, bias in zip(network[::2], stacked.weights, stacked.biases, strict=True):
                torch.testing.assert_close(weight.grad[index].T, layer.weight.grad, rtol=1e-4, atol=1e-6)
                torch.testing.assert_close(bias.grad[index, 0], layer.bias.grad, rtol=1e-4, atol=1e-6)
    right = lottery.right(stacked, train)
    expected = [alone(stacked, index)(train.inputs).argmax(1) == train.labels for index in range(2)]
    assert torch.equal(right, torch.stack(expected))
    losses = [functional.cross_entropy(alone(stacked, index)(train.inputs), train.labels) for index in range(2)]
    torch.testing.assert_close(lottery.losses(stacked, train), torch.stack(losses).detach())


def test_initial_weights_are_glorots_and_each_seeds_own():
    first, other = glorot_normal((1, 2)), glorot_normal((2,), draw=3)
    for weight, (inputs, outputs) in zip(first, itertools.pairwise(WIDTHS), strict=True):
        assert float(weight.std()) == pytest.approx(np.sqrt(2 / (inputs + outputs)), rel=0.06)
        assert not torch.equal(weight[0], weight[1])
    assert torch.equal(first[0][1:], glorot_normal((2,))[0])
    assert not torch.equal(first[0][1:], other[0])


def test_a_round_drops_the_smallest_weights_that_are_left_and_zeros_stay():
    first = glorot_normal((1, 2))
    generator = torch.Generator().manual_seed(0)
    masks = [torch.rand(weight.shape, generator=generator) < 0.5 for weight in first]
    model = StackedLeNet(2, 1)
    model.start(first, masks)
    rates = (0.2, 0.2, 0.1)
    for before, after, weight, rate in zip(masks, lottery.pruned(model, rates), first, rates, strict=True):
        for index in range(2):
            left = np.sort(weight[index][before[index]].abs().numpy())
            threshold = left[round(rate * len(left))]
            expected = before[index] & (weight[index].abs() >= float(threshold))
            assert torch.equal(after[index], expected)
    with torch.no_grad():
        model.weights[0].add_(1)
    model.keep_zeros()
    assert torch.equal(model.weights[0] != 0, masks[0])


def test_early_stopping_goes_back_to_each_networks_own_best_weights():
    model = StackedLeNet(2, 3)
    for place, losses in enumerate(([3.0, 1.0], [2.0, 2.0], [2.5, 0.5])):
        with torch.no_grad():
            model.weights[2].fill_(place)
        model.look(place, torch.tensor(losses))
    model.take_best()
    assert model.weights[2][:, 0, 0].tolist() == [1.0, 2.0]
    assert model.curve.argmin(dim=1).tolist() == [1, 2]


def test_the_best_bias_is_found():
    generator = torch.Generator().manual_seed(0)
    logits, other = torch.randn(200, 10, generator=generator), torch.randn(200, 10, generator=generator)
    labels = logits.argmax(1)
    labels[::5] = 3
    digits = hinton.Digits(labels, labels, labels)
    settings = hinton.Settings(bias_step=0.25, bias_end=3.0)
    logits[:, 3] -= 2
    found = hinton.with_biases(other, logits, digits, digits, (3,), settings, sign=1)
    grid = np.arange(0, 3.01, 0.25)
    for choice, own in (("by_test", logits), ("by_validation", other)):
        counts = [
            sum(int((own[image].numpy() + bias * np.eye(10)[3]).argmax() != labels[image]) for image in range(200))
            for bias in grid
        ]
        assert found[choice]["bias"] == pytest.approx(grid[int(np.argmin(counts))])
        if choice == "by_test":
            assert found[choice]["errors"] == min(counts) < found["none"]["errors"]
    assert found["none"]["on_classes"] == int(((logits.argmax(1) != 3) & (labels == 3)).sum())


def test_the_change_of_several_students_has_the_interval_of_scipy_over_images():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (500,), generator=generator)
    digits = hinton.Digits(labels, labels, labels)
    pairs = [(torch.randn(500, 10, generator=generator), torch.randn(500, 10, generator=generator)) for _ in range(3)]
    wrong = np.array([[(logits.argmax(1) != labels).numpy() for logits in pair] for pair in pairs], dtype=float)
    per_image = (wrong[:, 1] - wrong[:, 0]).mean(axis=0)
    row = hinton.of_students("", "", hinton.changes(pairs, digits), 3)
    low, high = stats.norm.interval(0.95, loc=500 * per_image.mean(), scale=500 * stats.sem(per_image))
    assert row.interval
    assert (row.measured, row.interval.low, row.interval.high) == pytest.approx((500 * per_image.mean(), low, high))


def test_folding_leaves_the_function_and_no_batch_normalization():
    inputs = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for name in ("depthwise-fashion", "resnet-fashion"):
        with case(name):
            model, _ = load(name)
            folded = per_channel.folded(model)
            assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
            assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
            with torch.inference_mode():
                torch.testing.assert_close(folded(inputs), model(inputs), rtol=1e-4, atol=1e-4)
    convolution = nn.Conv2d(1, 3, 1)
    convolution.weight.data = torch.tensor([1.0, -2.0, 8.0]).view(3, 1, 1, 1)
    assert per_channel.spreads(nn.Sequential(convolution)) == {"0": 4.0}


TINY: dict[str, Any] = {
    "hinton": hinton.Settings(
        teacher_width=20,
        student_width=12,
        teacher_epochs=1,
        student_epochs=1,
        absent_epochs=1,
        seeds=(1, 2),
        bias_step=2.0,
        images=500,
    ),
    "lottery": lottery.Settings(seeds=(1, 2), rounds=1, again=(1,), epochs=1, every=4, images=500),
    "lenet-300-100": deep_compression.Settings(
        "lenet-300-100", seeds=(1, 2), epochs=1, rounds=1, retraining=1, shared=1, images=500
    ),
    "per-channel": per_channel.Settings(networks=(("depthwise-fashion", True),), bits=(8, 4), images=200),
}


@pytest.mark.parametrize("name", TINY)
def test_an_experiment_is_measured_once_and_then_read(name, tmp_path):
    said: list[str] = []
    tiny = replace(experiment(name), settings=TINY[name])
    record = tiny.measure(tmp_path / "work", tmp_path / "out", said.append)
    assert said
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text())["results"] == record.results
    rows = tiny.rows(record)
    assert rows
    assert all(row.interval is None or row.interval.low <= row.measured <= row.interval.high for row in rows)
    said.clear()
    again = tiny.measure(tmp_path / "work", tmp_path / "out", said.append)
    assert said == []
    assert (again.results, again.seconds) == (record.results, record.seconds)


def test_more_seeds_leave_the_parts_of_the_others_valid(tmp_path):
    tiny = replace(experiment("lenet-300-100"), settings=TINY["lenet-300-100"])
    first = tiny.measure(tmp_path, tmp_path)
    said: list[str] = []
    more = replace(tiny, settings=replace(tiny.settings, seeds=(1, 2, 3))).measure(tmp_path, tmp_path, said.append)
    assert more.results[:2] == first.results
    assert said
    assert all("-3" in line for line in said)


def test_the_files_of_deep_compression_have_the_paper_s_densities_and_the_bytes_they_are_said_to_have(tmp_path):
    settings = replace(TINY["lenet-300-100"], seeds=(1,))
    parts = Parts(tmp_path, "e", settings, say=lambda _: None)
    (found,) = deep_compression.run(settings, parts)
    for key, name in (("coded", "coded-1"), ("shared", "shared-1")):
        path = next(path for path in parts.folder.iterdir() if path.name.startswith(name) and path.suffix != ".json")
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        weights = sum(layer[key]["bytes"] for layer in found["layers"])
        assert os.path.getsize(path) == found["bytes"][key] == header + weights + 4 * 410
    for layer, (name, density) in zip(found["layers"], (("fc1", 0.08), ("fc2", 0.09), ("fc3", 0.26)), strict=True):
        assert layer["name"] == name
        assert layer["density"] == pytest.approx(density, abs=1e-3)
        assert layer["coded"]["bytes"] <= layer["shared"]["bytes"]
    record = replace(experiment("lenet-300-100"), settings=settings).measure(tmp_path, tmp_path)
    assert list(layers_table(record).columns) == ["ip1 (fc1)", "ip2 (fc2)", "ip3 (fc3)"]


def test_an_unknown_experiment_is_named():
    with pytest.raises(UnknownNameError, match="hinton"):
        experiment("hintn")
