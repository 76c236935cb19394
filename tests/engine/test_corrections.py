"""Equalization between layers, corrected biases, running statistics: against invariance, means and torch's own."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.correct import BATCH
from compress_explorer.engine.equalize import find_pairs
from compress_explorer.engine.file import load_into
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods.evidence import Pair
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.recipe import Recipe, Step

EQUALIZE, CORRECT, RECALIBRATE = (
    Step(name) for name in ("cross-layer-equalization", "bias-correction", "batch-norm-recalibration")
)


def seeded(make: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: nn.Module = make()  # type: ignore[operator]
        return module.eval()


def chain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.LeakyReLU(0.2),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
        nn.Linear(5, 3, bias=False),
    )


def task(*shape: int, count: int = 300) -> Task:
    generator = torch.Generator().manual_seed(1)
    split = Split(torch.randn(count, *shape, generator=generator), torch.randint(0, 3, (count,), generator=generator))
    return Task(name="random", test=split, train=split)


IMAGES = task(2, 4, 4)
X = IMAGES.test.inputs


def reasons(compressed: CompressedModel) -> dict[str, str]:
    return {entry.name: entry.reason for entry in compressed.steps[-1].left_alone}


# Cross-layer equalization.


def test_equalization_leaves_the_function_as_it_is_and_evens_out_the_ranges(tmp_path):
    model = seeded(chain)
    with torch.no_grad():
        model[0].weight *= torch.logspace(-1, 1, 6)[:, None, None, None]  # type: ignore[index]
    compressed = compress(model, EQUALIZE.replace(iterations=500))
    with torch.no_grad():
        torch.testing.assert_close(compressed.model(X), model(X), rtol=1e-4, atol=1e-5)
    first, second = (compressed.model.get_parameter(f"{place}.weight") for place in (0, 2))
    torch.testing.assert_close(first.abs().amax((1, 2, 3)), second.abs().amax((1, 2, 3)), rtol=1e-3, atol=0)
    assert compressed.steps[0].treated == ("0.weight", "2.weight", "6.weight", "7.weight")
    assert compressed.steps[0].beside == ("0.bias", "2.bias", "6.bias")
    loaded = load_into(compressed.save(tmp_path / "file"), model)
    assert torch.equal(loaded(X), compressed.model(X))


def test_equalization_helps_rounding_per_tensor():
    model = seeded(chain)
    with torch.no_grad():
        model[0].weight *= torch.logspace(-1.5, 1.5, 6)[:, None, None, None]  # type: ignore[index]

        def error(*steps: Step) -> float:
            return float((compress(model, Recipe(steps)).model(X) - model(X)).square().mean())

        assert error(EQUALIZE, Step("integer", bits=6)) < 0.7 * error(Step("integer", bits=6))


class Functional(nn.Module):
    """Everything between the layers is a function, and some of it no scale can pass."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 1)
        self.fc1, self.fc2, self.fc3 = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.fc4, self.fc5 = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = functional.max_pool2d(functional.relu(self.conv1(inputs)), 2)
        hidden = torch.relu(self.fc1(self.conv2(maps).flatten(1)))
        hidden = functional.gelu(self.fc2(hidden))
        hidden = self.fc3(hidden)
        outputs: Tensor = self.fc5(self.fc4(hidden) + hidden)
        return outputs


def test_pairs_are_found_through_functions_and_refused_with_the_reason():
    model = seeded(Functional)
    work = open_model(model)
    sites = work.inventory.sites
    pairs, refused = find_pairs(work, sites)
    assert pairs == [Pair(0, 1), Pair(1, 2, 1, 4), Pair(2, 3)]
    assert set(refused) == {"fc3.weight", "fc4.weight", "fc5.weight"}
    assert "several places" in refused["fc3.weight"]
    assert "add" in refused["fc4.weight"]
    assert refused["fc5.weight"] == "no layer follows it"
    compressed = compress(model, EQUALIZE)
    with torch.no_grad():
        torch.testing.assert_close(compressed.model(X), model(X), rtol=1e-4, atol=1e-5)


def test_batch_normalization_between_layers_is_not_looked_through():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    compressed = compress(model, EQUALIZE)
    assert "BatchNorm1d follows it" in reasons(compressed)["0.weight"]
    assert all(torch.equal(compressed.model.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


class Untraceable(nn.Module):
    """Its path depends on its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.first(inputs) if inputs.sum() > 0 else inputs)
        return outputs


def test_a_network_that_cannot_be_followed_is_refused():
    assert "torch.fx raised TraceError" in reasons(compress(Untraceable().eval(), EQUALIZE))["first.weight"]


class Twice(nn.Module):
    """A layer that is used twice, and one whose weight is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.last.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.again(self.again(self.first(inputs)).relu()))
        return outputs


def test_layers_in_several_places_are_refused():
    found = reasons(compress(Twice().eval(), EQUALIZE))
    assert "several places" in found["first.weight"]
    assert "just once" in found["again.weight"]


def test_layers_that_the_step_does_not_name_are_in_no_pair():
    compressed = compress(seeded(chain), EQUALIZE.replace().with_override("2", None))
    assert compressed.steps[0].treated == ("6.weight", "7.weight")
    assert "Conv2d follows it" in reasons(compressed)["0.weight"]


def test_equalization_comes_before_rounding():
    found = reasons(compress(seeded(chain), Recipe([Step("integer"), EQUALIZE])))
    assert "quantized already" in found["7.weight"]
    found = reasons(compress(seeded(chain), Recipe([Step("activations", layers="7"), EQUALIZE]), IMAGES))
    assert set(found) == {"7.weight"}  # 6 follows 2, but 7's levels are fixed


def test_pruned_weights_stay_pruned():
    model = seeded(chain)
    compressed = compress(model, Recipe([Step("magnitude", sparsity=0.5), EQUALIZE]))
    pruned = compress(model, Step("magnitude", sparsity=0.5))
    for name, tensor in pruned.model.state_dict().items():
        assert torch.equal(compressed.model.state_dict()[name] == 0, tensor == 0) or "bias" in name
    with torch.no_grad():
        torch.testing.assert_close(compressed.model(X), pruned.model(X), rtol=1e-4, atol=1e-5)


# Bias correction.


def layer_means(model: nn.Module, path: str, given: Tensor) -> Tensor:
    """The mean output of each channel of one layer."""
    with torch.no_grad():
        outputs = model.get_submodule(path)(given)
    return outputs.double().transpose(0, 1).flatten(1).mean(dim=1)


@pytest.mark.parametrize(
    "step", [Step("integer", bits=3), Step("magnitude", sparsity=0.7), Step("binary")], ids=lambda s: s.method
)
def test_the_mean_output_of_each_layer_is_that_of_the_weights_before(step):
    """On the calibration samples, for the inputs that the compressed network feeds it."""
    model = seeded(chain)
    compressed = compress(model, Recipe([step, CORRECT.replace(samples=300)]), IMAGES)
    rounded = compress(model, step)
    seen: dict[str, Tensor] = {}
    for path in ("0", "2", "6"):
        rounded.model.get_submodule(path).register_forward_hook(
            lambda _layer, given, _output, path=path: seen.__setitem__(path, given[0])
        )
    with torch.no_grad():
        rounded.model(X)
    for path in ("0", "2", "6"):
        before, shifted, after = (layer_means(m, path, seen[path]) for m in (model, rounded.model, compressed.model))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
        assert (shifted - before).abs().max() > 1e-3
    assert reasons(compressed)["7.weight"] == "has no bias that could be corrected"
    assert compressed.steps[1].beside == ("0.bias", "2.bias", "6.bias")
    assert compressed.steps[1].treated == ()
    assert {entry.name for entry in compressed.skipped} == set()


def test_nothing_is_corrected_where_nothing_was_rounded():
    model = seeded(chain)
    compressed = compress(model, Recipe([EQUALIZE, Step("smoothquant"), CORRECT]), IMAGES)
    equalized = compress(model, Recipe([EQUALIZE, Step("smoothquant")]), IMAGES)
    for name, tensor in equalized.model.state_dict().items():
        assert torch.equal(compressed.model.state_dict()[name], tensor)


def test_a_bias_that_two_layers_share_is_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].bias = model[0].bias
    data = task(4)
    found = reasons(compress(model.eval(), Recipe([Step("integer", bits=2), CORRECT]), data))
    assert found == {f"{path}.weight": "its bias is shared with another layer" for path in (0, 2)}


# Batch normalization.


def normalized() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 5),
        nn.BatchNorm1d(5),
        nn.Linear(5, 3),
    )


@pytest.mark.parametrize("count", [BATCH, 2 * BATCH, 300])
def test_running_statistics_are_those_of_torchs_update_bn(count):
    model = seeded(normalized)
    compressed = compress(model, Recipe([Step("integer", bits=3), RECALIBRATE.replace(samples=count)]), IMAGES)
    expected = copy.deepcopy(compress(model, Step("integer", bits=3)).model)
    chosen = X[IMAGES.test.order[:count]]
    torch.optim.swa_utils.update_bn(list(chosen.split(BATCH)), expected)
    for name, tensor in expected.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(compressed.model.state_dict()[name], tensor)
            assert not torch.allclose(tensor, model.state_dict()[name])
        elif "num_batches" not in name:
            assert torch.equal(compressed.model.state_dict()[name], tensor)
    assert compressed.steps[1].beside == tuple(f"{path}.running_{part}" for path in (1, 5) for part in ("mean", "var"))


def test_a_last_batch_of_one_sample_joins_the_one_before():
    model = seeded(normalized)
    recipe = Recipe([RECALIBRATE.replace(samples=BATCH + 1)])
    found = compress(model, recipe, IMAGES).model.state_dict()["5.running_mean"]
    expected = copy.deepcopy(model)
    torch.optim.swa_utils.update_bn([X[IMAGES.test.order[: BATCH + 1]]], expected)
    torch.testing.assert_close(found, expected.state_dict()["5.running_mean"])


def test_networks_without_batch_normalization_are_told_so():
    with pytest.raises(ModelError, match="Sequential has no batch normalization with running statistics"):
        compress(seeded(chain), RECALIBRATE, IMAGES)
    with pytest.raises(ModelError, match="no batch normalization"):
        compress(nn.Sequential(nn.Conv2d(2, 3, 4), nn.BatchNorm2d(3, track_running_stats=False)), RECALIBRATE, IMAGES)


def test_one_sample_has_no_variance():
    with pytest.raises(DataError, match="samples=2"):
        compress(seeded(normalized), RECALIBRATE.replace(samples=1), IMAGES)


def test_recalibrated_statistics_are_in_the_file(tmp_path):
    model = seeded(normalized)
    compressed = compress(model, RECALIBRATE, IMAGES)
    loaded = load_into(compressed.save(tmp_path / "file"), model)
    assert torch.equal(loaded(X), compressed.model(X))
    assert not torch.equal(model(X), compressed.model(X))
