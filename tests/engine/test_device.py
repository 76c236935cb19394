"""Where networks are measured. What a GPU computes is tested where one is found."""

import copy

import pytest
import torch
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.device import on_device, resolve
from compress_explorer.spec.errors import ModelError, ParameterError
from tests.engine.tasks import network, task

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    for name in ("cuda:99", "tpu", "gpu"):
        with pytest.raises(ParameterError, match=r"device=.* cannot be used here: .*Known: auto, cpu"):
            resolve(name, network())
    with pytest.raises(ParameterError, match="cuda:99"):
        ce.evaluate(network(), task(), device="cuda:99")
    assert resolve("cpu", network()) == torch.device("cpu")
    if not torch.cuda.is_available():
        assert resolve("auto", network()) == torch.device("cpu")


def test_a_copy_elsewhere_leaves_the_model_where_it_is_and_keeps_its_ties():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    moved = on_device(model, torch.device("meta"))  # a device that every torch has
    assert isinstance(moved, nn.Sequential)
    assert {tensor.device.type for tensor in moved.state_dict().values()} == {"meta"}
    assert moved[2].weight is moved[0].weight
    assert not moved[0].bias.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert on_device(model, torch.device("cpu")) is model


def test_a_model_that_cannot_be_copied_says_so():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    with pytest.raises(ModelError, match=r"Stubborn cannot be copied to meta.*device=\"cpu\""):
        on_device(Stubborn(2, 2), torch.device("meta"))


@needs_gpu
def test_a_gpu_gives_the_cpus_numbers():
    """Sums are taken in another order: a prediction may differ where two classes are as good as tied."""
    for name in ("lenet-300-100", "resnet-fashion", "vit-fashion"):
        model, data = ce.load(name)
        compressed = ce.compress(model, ce.Step("magnitude", sparsity=0.8))
        cpu, gpu = (ce.evaluate(compressed, data, device=device) for device in ("cpu", "cuda"))
        assert gpu.count == cpu.count
        assert abs(gpu.value - cpu.value) <= 2e-4, name  # two of 10,000 samples
        assert next(model.parameters()).device.type == "cpu"


@needs_gpu
def test_sweeps_and_sensitivities_run_on_a_gpu_and_take_models_that_are_there():
    model, data = ce.load("digits-mlp")
    for placed in (model, copy.deepcopy(model).cuda()):
        swept = [ce.sweep(placed, data, "magnitude", sparsity=[0.0, 0.5, 0.9], device=d) for d in ("cpu", "cuda")]
        for cpu, gpu in zip(*(one.evaluations for one in swept), strict=True):
            assert cpu is not None
            assert gpu is not None
            assert abs(cpu.value - gpu.value) <= 1 / 300
        layers = [ce.sensitivity(placed, data, "integer", bits=[2, 4], device=d) for d in ("cpu", "cuda")]
        assert layers[0].layers == layers[1].layers
