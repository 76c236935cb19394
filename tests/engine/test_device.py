"""Where networks are measured. What a GPU computes is tested where one is found."""

import copy

import pytest
import torch
from torch import nn

import compress_explorer as ce
from compress_explorer.engine.device import on_device, resolve
from compress_explorer.spec.errors import ModelError, ParameterError
from tests.case import case
from tests.engine.distillation.networks import images, student, weights
from tests.engine.distillation.networks import task as training_task
from tests.engine.tasks import network, task

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    for name in ("cuda:99", "tpu", "gpu", "meta", "privateuseone", "", None):
        with (
            case(name),
            pytest.raises(ParameterError, match=r"device=.* cannot be used here: .*Known: auto, cpu") as found,
        ):
            resolve(name, network())  # type: ignore[arg-type]
        assert len(str(found.value)) < 400, name
        assert ".." not in str(found.value), name
    with pytest.raises(ParameterError, match="cuda:99"):
        ce.evaluate(network(), task(), device="cuda:99")
    cases = [
        lambda: ce.distill(network(), network, training_task(), device="cuda:99"),
        lambda: ce.surface(network(), network, training_task(), device="cuda:99"),
        lambda: ce.recover(network(), ce.Step("magnitude"), training_task(), device="cuda:99"),
        lambda: ce.distill_lab("digits-mlp", device="cuda:99"),
    ]
    for place, call in enumerate(cases):
        with case(place), pytest.raises(ParameterError, match=r"device='cuda:99' cannot be used here"):
            call()
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


def test_on_a_cpu_the_device_changes_nothing():
    plan = ce.TrainingPlan(epochs=2, batch_size=40)
    names: list[str | torch.device] = ["cpu", torch.device("cpu"), *([] if torch.cuda.is_available() else ["auto"])]
    students = [ce.distill(network(), student, training_task(), plan=plan, device=name) for name in names]
    surfaces = [
        ce.surface(network(), student, training_task(), temperatures=(2.0,), plan=plan, device=name) for name in names
    ]
    for name, found, filled in zip(names, students, surfaces, strict=True):
        with case(name):
            for ours, theirs in zip(found.pairs, students[0].pairs, strict=True):
                assert torch.equal(weights(ours.distilled.model), weights(theirs.distilled.model))
                assert torch.equal(weights(ours.hard.model), weights(theirs.hard.model))
            for mine, other in zip(filled.students, surfaces[0].students, strict=True):
                torch.testing.assert_close(weights(mine), weights(other), rtol=0, atol=1e-4)


def devices(model: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in model.state_dict().values()}


@needs_gpu
def test_students_learn_on_a_gpu_what_they_learn_on_a_cpu_and_come_back():
    plan = ce.TrainingPlan(epochs=2, batch_size=40, learning_rate=0.01)
    for loss in ("kd", "fitnets", "crd", "self"):
        with case(loss):
            guide = None if loss == "self" else network()
            seen: list[str] = []
            if guide is not None:
                guide.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].device.type))
            cpu, gpu = (
                ce.distill(guide, student, training_task(), loss=loss, plan=plan, seeds=(0, 1), device=device)
                for device in ("cpu", "cuda")
            )
            assert guide is None or "cuda" in seen
            assert guide is None or devices(guide) == {"cpu"}
            for ours, theirs in zip(gpu.pairs, cpu.pairs, strict=True):
                for mine, other in ((ours.distilled, theirs.distilled), (ours.hard, theirs.hard)):
                    assert devices(mine.model) == {"cpu"}
                    torch.testing.assert_close(weights(mine.model), weights(other.model), rtol=0, atol=1e-3)
                    assert mine.curve.losses == pytest.approx(other.curve.losses, rel=1e-3)
                    assert abs(mine.test.value - other.test.value) <= 2 / 90
    there = student().cuda()
    back = ce.distill(network(), there, training_task(), plan=plan, seeds=(0,), device="cpu")
    assert devices(back.pairs[0].distilled.model) == devices(there) == {"cuda"}


@needs_gpu
def test_a_surface_and_a_recovery_run_on_a_gpu():
    plan = ce.TrainingPlan(epochs=2, batch_size=40, learning_rate=0.01)
    for build, guide, given in (
        (student, network(), training_task()),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2)), halves(), images()),
    ):
        cpu, gpu = (
            ce.surface(guide, build, given, temperatures=(2.0,), alphas=(0.0, 0.5), seeds=(0,), plan=plan, device=d)
            for d in ("cpu", "cuda")
        )
        for ours, theirs in zip(gpu.students, cpu.students, strict=True):
            assert devices(ours) == {"cpu"}
            torch.testing.assert_close(weights(ours), weights(theirs), rtol=0, atol=1e-3)
        cell = gpu.distillation(2.0, 0.5)
        assert devices(cell.pairs[0].distilled.model) == {"cpu"}
        assert abs(cell.pairs[0].distilled.test.value - cpu.distillation(2.0, 0.5).pairs[0].distilled.test.value) < 0.03
    model, data = ce.load("digits-mlp")
    recipe, means = ce.Step("magnitude", sparsity=0.9), [ce.Step("fine-tune", epochs=2)]
    found = [ce.recover(model, recipe, data, means=means, device=d) for d in ("cpu", "cuda")]
    assert devices(model) == {"cpu"}
    for ours, theirs in zip(*(entry.points for entry in found), strict=True):
        assert abs(ours.evaluation.value - theirs.evaluation.value) <= 0.02


def halves() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
