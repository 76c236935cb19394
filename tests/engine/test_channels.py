"""Removed channels: as if nobody read them, in every kind of network; what cannot be removed is said."""

import os

import pytest
import torch
import torch_pruning
from torch import Tensor, nn

import compress_explorer as ce
from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.edits import Resized
from compress_explorer.engine.file import load_into
from compress_explorer.engine.task import Split, Task
from compress_explorer.spec.errors import DataError, ModelError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.modules import numbers, output_of
from tests.engine.test_purity import model_state


class Mixed(nn.Module):
    """A residual addition, a depthwise convolution, a concatenation, batch and layer norm, and a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.branch = nn.Conv2d(3, 6, 1)
        self.joined = nn.Conv2d(14, 10, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(10)
        self.fc1 = nn.Linear(10 * 2 * 2, 12)
        self.norm = nn.LayerNorm(12)
        self.fc2 = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bn(self.stem(images)).relu()
        maps = self.depthwise(maps + self.inner(maps)).relu()
        maps = torch.cat([self.branch(images), maps], dim=1)
        maps = nn.functional.max_pool2d(self.bn2(self.joined(maps)), 2)
        return self.fc2(self.norm(self.fc1(maps.flatten(1)).relu()))


def mixed() -> Mixed:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Mixed()
        for layer in (model.bn, model.bn2):
            for tensor in (*layer.parameters(), layer.get_buffer("running_mean")):
                nn.init.normal_(tensor)
            nn.init.uniform_(layer.get_buffer("running_var"), 0.5, 2)
    return model.eval()


IMAGES = numbers(20, 3, 7, 7)
TASK = Task(name="images", test=Split(IMAGES, torch.arange(20) % 5))
GROUPS = {"branch": ["branch"], "joined": ["joined"], "shared": ["stem", "inner", "depthwise"]}


def gone(compressed: CompressedModel, task: Task) -> dict[str, Tensor]:
    """Of each original weight the channels that were removed."""
    bench = Bench(compressed.baseline, Context(task=task))
    seen = bench.apply(compressed.recipe).seen()
    sizes = {name: entry.matrix.shape for name, entry in bench.original.weights.items()}
    assert {name: entry.matrix.shape for name, entry in seen.items()} == sizes
    return {name: (~entry.mask).all(dim=1) for name, entry in seen.items()}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *[(method, name) for method in ("remove-filters", "remove-fpgm") for name in GROUPS],
        ("slimming", "joined"),
        ("slimming", "shared"),
    ],
)
def test_channels_that_are_constant_zero_can_be_removed_without_a_change(method, name):
    """All that makes the removed channels is set to zero, biases and shifts too: the outputs must be equal."""
    step = Step(method, layers=GROUPS[name], sparsity=0.5)
    model = mixed()
    removed = gone(compress(model, step, TASK), TASK)[f"{GROUPS[name][0]}.weight"]
    assert int(removed.sum()) == len(removed) // 2
    zeroed = mixed()
    with torch.no_grad():
        for layer in [*GROUPS[name], *{"joined": ["bn2"], "shared": ["bn"]}.get(name, [])]:
            part = zeroed.get_submodule(layer)
            for tensor in part.parameters():
                tensor[removed] = 0
    # Scales of zero are the smallest, and so are filters of zeros: the same channels are removed.
    compressed = compress(zeroed, Step("remove-filters", layers=GROUPS[name], sparsity=0.5), TASK)
    assert torch.equal(gone(compressed, TASK)[f"{GROUPS[name][0]}.weight"], removed)
    assert compressed.edits
    assert torch.allclose(output_of(compressed.model, (IMAGES,)), output_of(zeroed, (IMAGES,)), atol=1e-5)


def as_if_unread(compressed: CompressedModel, task: Task, model: nn.Module) -> nn.Module:
    """The uncompressed network in which every weight that was removed is zero, those of readers too."""
    bench = Bench(model, Context(task=task))
    seen = bench.apply(compressed.recipe).seen()
    with torch.no_grad():
        for site in bench.original.inventory.sites:
            parameter = model.get_parameter(site.name)
            parameter.copy_(site.layout.from_matrix(seen[site.name].matrix))
    return model


@pytest.mark.parametrize("name", ce.models())
@pytest.mark.parametrize("method", ["remove-filters", "remove-fpgm", "slimming"])
def test_networks_of_the_zoo_compute_as_if_nobody_read_the_channels(name, method, tmp_path):
    model, task = ce.load(name)
    before = model_state(model)
    compressed = compress(model, Step(method, sparsity=0.4), task)
    assert model_state(model) == before
    inputs = task.test.inputs[:8]
    outputs = output_of(compressed.model, (inputs,))
    twin, _ = ce.load(name)
    assert torch.allclose(outputs, output_of(as_if_unread(compressed, task, twin), (inputs,)), atol=1e-3)
    path = compressed.save(tmp_path / "net.st")
    assert os.path.getsize(path) == compressed.size().file
    assert torch.equal(output_of(load_into(path, model), (inputs,)), outputs)
    refused = {entry.name: entry.reason for entry in compressed.skipped if entry.name.endswith("weight")}
    if method == "slimming" and name not in ("resnet-fashion", "depthwise-fashion"):
        assert not compressed.edits
        assert any("no batch normalization" in reason for reason in refused.values())
        return
    assert compressed.size().file < compressed.size().baseline_file
    last = {"lenet-5": "ip2", "lenet-300-100": "fc3", "digits-mlp": "fc3"}.get(name, "fc")
    assert compressed.model.get_parameter(f"{last}.weight").shape[0] == 10  # it loses inputs, no outputs
    if name == "vit-fashion":
        hidden = {f"blocks.{block}.{layer}" for block in range(4) for layer in ("fc1", "fc2")}
        assert {edit.layer for edit in compressed.edits} == hidden
        assert refused["fc.weight"] == "makes the network's outputs"
        assert "needs all channels" in refused["blocks.0.qkv.weight"]
        assert "positions" in refused["patches.weight"]


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
def test_torch_pruning_keeps_the_same_channels(sparsity):
    def chain() -> nn.Sequential:
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten(), nn.Linear(72, 5)
        ).eval()

    with torch.random.fork_rng(devices=[]):
        model, theirs = chain(), chain()
    importance = torch_pruning.importance.MagnitudeImportance(p=2, group_reduction="first", normalizer=None)
    torch_pruning.pruner.BasePruner(
        theirs, IMAGES[:1], importance=importance, pruning_ratio=sparsity, ignored_layers=[theirs[5]]
    ).step()
    ours = compress(model, Step("remove-filters", norm="L2", sparsity=sparsity), TASK).model
    for (name, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def refused(model: nn.Module, step: Step, task: Task = TASK) -> dict[str, str]:
    return {entry.name: entry.reason for entry in compress(model, step, task).skipped}


def test_what_cannot_be_removed_is_said():
    assert "no batch normalization" in refused(mixed(), Step("slimming"))["branch.weight"]
    alone = refused(mixed(), Step("remove-filters", layers="stem"))["stem.weight"]
    assert alone == "shares its channels with depthwise.weight, which the step leaves out or sets apart"
    apart = Step("remove-filters", overrides={"inner": {"sparsity": 0.9}})
    assert "sets apart" in refused(mixed(), apart)["inner.weight"]
    grouped = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(100, 5))
    assert "2 groups" in refused(grouped, Step("remove-filters"))["0.weight"]
    tied = nn.Sequential(nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 7), nn.Flatten(), nn.Linear(147, 5))
    tied[2].weight = tied[0].weight
    assert "shares a weight" in refused(tied, Step("remove-filters"))["0.weight"]


def test_code_that_computes_with_the_number_of_channels_is_found_out():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(147, 16), nn.Linear(16, 5)

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.fc1(images.flatten(1)).relu()
            return self.fc2(hidden / hidden.shape[1])

    compressed = compress(Scaled(), Step("remove-filters"), TASK)
    assert not compressed.edits
    assert "number of channels" in {e.name: e.reason for e in compressed.skipped}["fc1.weight"]


def test_data_and_a_network_that_can_be_traced_are_needed():
    with pytest.raises(DataError, match=r"'remove-filters' runs the model on a sample.*Pass it"):
        compress(mixed(), Step("remove-filters"))
    wrong = Task(name="wrong", test=Split(numbers(4, 9), torch.zeros(4)))
    with pytest.raises(ModelError, match="could not be traced on samples of shape"):
        compress(mixed(), Step("remove-filters"), wrong)


def test_one_channel_of_each_layer_stays():
    compressed = compress(mixed(), Step("remove-filters", sparsity=1.0), TASK)
    assert Resized("joined", 1, 2) in compressed.edits
    assert output_of(compressed.model, (IMAGES,)).shape == (100,)


def test_masks_are_cut_and_steps_compose(tmp_path):
    steps = [
        Step("magnitude", sparsity=0.5),
        Step("remove-filters", sparsity=0.5),
        Step("svd", layers="fc1", by="rank", rank=0.2),
        Step("integer", bits=4),
    ]
    compressed = compress(mixed(), Recipe(steps), TASK)
    stored = {entry.name: entry for entry in compressed.stored}
    entry = stored["joined.weight"]
    assert entry.kept is not None
    assert entry.kept.shape == (5, 7 * 9)
    assert not entry.values[~entry.layout.from_matrix(entry.kept)].any()
    assert stored["fc1.0.weight"].code is not None
    loaded = load_into(compressed.save(tmp_path / "net.st"), mixed())
    assert torch.equal(output_of(loaded, (IMAGES,)), output_of(compressed.model, (IMAGES,)))
    coded = compress(mixed(), Recipe([Step("integer", bits=4), Step("remove-filters")]), TASK)
    assert "joined.weight" in coded.steps[-1].codes_lost


def test_frames_show_removed_channels_as_zeros_in_their_places():
    bench = Bench(mixed(), Context(task=TASK))
    recipe = bench.check(Recipe(Step("remove-filters", sparsity=0.5)))
    frame = bench.frame(recipe, 0.5, bench.view(WHOLE_MODEL))
    weights = sum(site.weights for site in bench.original.inventory.sites)
    assert sum(frame.histogram.after) + frame.histogram.zeros_after == weights
    # Half of the outputs and half of the inputs: a quarter is left.
    assert dict(frame.layer_zeros)["joined.weight"] == 0.75
    assert dict(frame.layer_bytes)["joined.weight"] == 4 * 5 * 7 * 9
    assert sum(size for _, size in frame.breakdown) == frame.file
