"""What is gathered for calibrated methods, against the layers' own outputs and torch.func's gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from compress_explorer.engine.context import Context
from compress_explorer.engine.evidence import calibration_split, evidence
from compress_explorer.engine.input_vectors import input_vectors
from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.loss import loss_of
from compress_explorer.engine.steps import apply_step
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods import magnitude
from compress_explorer.methods.evidence import GradientStatistics, InputStatistics
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.recipe import Step

INPUTS = replace(magnitude.METHOD, name="needy", needs="inputs")
GRADIENTS = replace(magnitude.METHOD, name="needy", needs="gradients")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
        nn.ReLU(),
        nn.Linear(5, 3),
    )


def task(inputs: Tensor | None = None) -> Task:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(50, 2, 4, 4, generator=generator) if inputs is None else inputs
    split = Split(x, torch.randint(0, 3, (len(x),), generator=generator))
    return Task(name="random", test=split, train=split)


def inputs_of(model: nn.Module, samples: int) -> dict[str, object]:
    work = open_model(model)
    return dict(evidence(work, INPUTS, work.inventory.sites, samples, Context(task=task())))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(6, 4),
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 1), dilation=(2, 1)),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),
        nn.Conv2d(4, 8, 3, padding="same", groups=4),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
        nn.Conv3d(2, 4, 2, stride=2, padding=1),
    ],
    ids=str,
)
@torch.no_grad()
def test_the_weight_matrix_times_the_input_vectors_is_the_layers_output(layer):
    shapes = {"Linear": (7, 5, 6), "Conv1d": (3, 4, 9), "Conv2d": (3, 4, 7, 8), "Conv3d": (2, 2, 5, 4, 3)}
    given = torch.randn(shapes[type(layer).__name__], generator=torch.Generator().manual_seed(0))
    (site,) = inspect_model(layer).sites
    vectors = input_vectors(layer, given, site)
    groups = vectors.shape[1]
    weight = site.layout.to_matrix(layer.weight).reshape(groups, -1, site.layout.columns)
    product = torch.einsum("mgn,gcn->mgc", vectors, weight).flatten(1)
    if layer.bias is not None:
        product = product + layer.bias
    expected = layer(given) if isinstance(layer, nn.Linear) else layer(given).movedim(1, -1)
    torch.testing.assert_close(product, expected.reshape(len(product), -1), atol=1e-5, rtol=1e-5)


def test_moments_are_those_of_the_vectors_over_all_samples():
    model, data = network(), task()
    found = inputs_of(model, 40)
    chosen = data.split("train").order[:40]
    hidden = data.test.inputs[chosen]
    for name, layer in (("0.weight", model[0]), ("3.weight", model[3]), ("5.weight", model[5])):
        site = next(site for site in inspect_model(model).sites if site.name == name)
        with torch.no_grad():
            vectors = input_vectors(layer, hidden, site).double()
            hidden = {"0.weight": model[1:3], "3.weight": model[4:5], "5.weight": nn.Identity()}[name](layer(hidden))
        statistics = found[name]
        assert isinstance(statistics, InputStatistics)
        assert (statistics.vectors, statistics.samples) == (len(vectors), 40)
        moment = torch.einsum("mgi,mgj->gij", vectors, vectors) / len(vectors)
        torch.testing.assert_close(statistics.moment, moment, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(statistics.mean, vectors.mean(0), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(statistics.peak, vectors.abs().amax(0).float())


def test_a_shared_weight_sees_the_inputs_of_all_its_layers():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    torch.manual_seed(0)
    model = Tied()
    split = Split(torch.randn(10, 4), torch.randint(0, 4, (10,)))
    work = open_model(model)
    context = Context(task=Task(name="t", test=split, train=split))
    statistics = evidence(work, INPUTS, work.inventory.sites, 10, context)["first.weight"]
    assert isinstance(statistics, InputStatistics)
    with torch.no_grad():
        both = torch.cat([split.inputs, model.first(split.inputs)]).double()
    assert statistics.vectors == 20
    torch.testing.assert_close(statistics.moment[0], both.T @ both / 20, atol=1e-6, rtol=1e-5)


def test_gradients_are_those_of_each_sample():
    model, data = network(), task()
    work = open_model(model)
    found = evidence(work, GRADIENTS, work.inventory.sites, 16, Context(task=data))
    chosen = data.test.order[:16]
    parameters = {name: tensor.detach() for name, tensor in model.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, values, (x[None],)), y[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, data.test.inputs[chosen], data.test.targets[chosen])
    for name in ("0.weight", "3.weight", "5.weight"):
        statistics = found[name]
        assert isinstance(statistics, GradientStatistics)
        gradients = each[name].flatten(2)
        torch.testing.assert_close(statistics.mean, gradients.mean(0), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(statistics.mean_square, gradients.square().mean(0), atol=1e-7, rtol=1e-4)


def test_what_cannot_be_observed_is_said():
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.attention = nn.Embedding(7, 4), nn.MultiheadAttention(4, 2, batch_first=True)
            self.back, self.unused, self.out = nn.ConvTranspose1d(4, 4, 1), nn.Linear(4, 2), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.words(x.long())
            hidden = self.attention(hidden, hidden, hidden, need_weights=False)[0]
            return self.out(self.back(hidden.transpose(1, 2)).mean(2))

    split = Split(torch.randint(0, 7, (10, 5)), torch.randint(0, 3, (10,)))
    work = open_model(Several())
    context = Context(task=Task(name="t", test=split, train=split))
    found = evidence(work, INPUTS, work.inventory.sites, 10, context)
    words = {name: reason for name, reason in found.items() if isinstance(reason, str)}
    assert set(words) == {
        "words.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "back.weight",
        "unused.weight",
    }
    assert "Embedding" in words["words.weight"]
    assert "does not call" in words["attention.out_proj.weight"]
    assert "does not use it" in words["unused.weight"]
    gradients = evidence(work, GRADIENTS, work.inventory.sites, 4, context)
    assert [name for name, entry in gradients.items() if isinstance(entry, str)] == ["unused.weight"]


def test_the_model_is_left_as_it_was():
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model[3].weight.requires_grad_(False)
    inputs_of(model, 8)
    work = open_model(model)
    evidence(work, GRADIENTS, work.inventory.sites, 8, Context(task=task()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model[3].weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    for module in [*model.modules(), *work.model.modules()]:
        assert not module._forward_pre_hooks
        assert not module._forward_hooks


def moment_of(statistics: object) -> Tensor:
    assert isinstance(statistics, InputStatistics)
    return statistics.moment


def test_evidence_is_gathered_once_for_each_question_and_anew_after_a_step():
    told: list[str] = []
    context = Context(task=task(), tell=told.append)
    work = open_model(network())
    first = evidence(work, INPUTS, work.inventory.sites, 40, context)
    count = len(told)
    assert count == 2
    assert evidence(work, INPUTS, work.inventory.sites, 40, context) is first
    assert len(told) == count
    pruned = apply_step(work, Step("magnitude", layers="0", sparsity=0.9), context)
    second = evidence(pruned, INPUTS, work.inventory.sites, 40, context)
    assert torch.equal(moment_of(second["0.weight"]), moment_of(first["0.weight"]))
    assert not torch.equal(moment_of(second["3.weight"]), moment_of(first["3.weight"]))


def test_whoever_is_told_may_stop_the_work():
    class EnoughError(Exception):
        pass

    def stop(text: str) -> None:
        raise EnoughError(text)

    work = open_model(network())
    with pytest.raises(EnoughError, match="0 of 50 samples"):
        evidence(work, INPUTS, work.inventory.sites, 1000, Context(task=task(), tell=stop))
    assert not work.memo


def test_without_a_train_split_it_says_what_is_missing():
    with pytest.raises(DataError, match=r"'gptq' looks at the train split of a task.*ce\.compress\(model"):
        calibration_split("gptq", Context())
    only_test = Task(name="mine", test=task().test)
    with pytest.raises(DataError, match=r"task 'mine' has none\. Pass train="):
        calibration_split("gptq", Context(task=only_test))


def test_nan_inside_the_network_is_named():
    model = network()
    with torch.no_grad():
        model.get_parameter("0.bias").fill_(3e38)
        model.get_parameter("0.weight").fill_(1e37)
    work = open_model(model)
    with pytest.raises(DataError, match=r"3\.weight is fed NaN or infinite values"):
        evidence(work, INPUTS, work.inventory.sites, 10, Context(task=task(1e3 * torch.randn(20, 2, 4, 4))))


def test_the_loss_is_cross_entropy_or_the_squared_error():
    outputs, labels, targets = torch.randn(6, 3), torch.randint(0, 3, (6,)), torch.randn(6, 3)
    assert loss_of(outputs, labels) == functional.cross_entropy(outputs, labels)
    assert loss_of(outputs, targets) == functional.mse_loss(outputs, targets)
    with pytest.raises(DataError, match="Gradients need a loss"):
        loss_of(outputs, targets[:, :2])
