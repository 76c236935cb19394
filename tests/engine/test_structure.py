"""Changes of a network's structure: made alike by a step and from a file, refused with the reason, seen in frames."""

import json
import os
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.edits import Factored, Resized, Tucker, edit_from_json, edit_to_json
from compress_explorer.engine.file import load_into
from compress_explorer.engine.file_header import MOST_EDITS
from compress_explorer.engine.form import METADATA_KEY
from compress_explorer.engine.structure import apply_edits
from compress_explorer.engine.task import Split, Task
from compress_explorer.spec.errors import FileFormatError, ModelError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.modules import CASES, numbers, output_of
from tests.engine.test_purity import model_state


class Net(nn.Module):
    """Convolutions of several kinds, a linear layer, and two tied ones."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(16, 24, (3, 2), dilation=(1, 2), padding="valid", bias=False)
        self.fc1 = nn.Linear(24 * 3 * 3, 30)
        self.fc2 = nn.Linear(30, 30)
        self.fc3 = nn.Linear(30, 30)
        self.fc3.weight = self.fc2.weight

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv2(self.conv1(images).relu()).relu()
        return self.fc3(self.fc2(self.fc1(maps.flatten(1)).relu()).relu())


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


IMAGES = numbers(40, 3, 10, 10)
TASK = Task(name="images", test=Split(IMAGES, torch.arange(40) % 30), train=Split(IMAGES, torch.arange(40) % 30))
STEPS = [
    Step("svd", by="energy", energy=0.7),
    Step("svd", by="rank", rank=0.2),
    Step("activation-svd", by="rank", rank=0.2),
    Step("tucker", rank=0.4),
]
every_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.method)


def dense_twin(origins: dict[str, Tensor]) -> nn.Module:
    """The uncompressed network with the products of the factors as its weights."""
    twin = net()
    with torch.no_grad():
        for name, matrix in origins.items():
            parameter = twin.get_parameter(name)
            parameter.copy_(matrix.reshape(parameter.shape))
    return twin


@every_step
def test_the_network_computes_with_the_product_of_its_factors(step):
    model = net()
    before = model_state(model)
    compressed = compress(model, step, TASK)
    assert model_state(model) == before
    assert compressed.edits
    seen = Bench(model, Context(task=TASK)).apply(compressed.recipe).seen()
    twin = dense_twin({name: entry.matrix for name, entry in seen.items()})
    assert torch.allclose(output_of(compressed.model, (IMAGES,)), output_of(twin, (IMAGES,)), atol=1e-5)


def parts_of(compressed: CompressedModel, name: str) -> list[Any]:
    """The layers that stand for one."""
    found = compressed.model.get_submodule(name)
    assert type(found) is nn.Sequential
    return list(found)


def test_factors_are_layers_at_predictable_names():
    compressed = compress(net(), Recipe([Step("svd", layers=["fc1", "conv1"], by="rank", rank=0.3)]))
    fc1, conv1 = (parts_of(compressed, name) for name in ("fc1", "conv1"))
    assert compressed.edits == (Factored("conv1", 5), Factored("fc1", 9))
    assert [(type(part), part.bias is None) for part in fc1] == [(nn.Linear, True), (nn.Linear, False)]
    assert (fc1[0].in_features, fc1[0].out_features, fc1[1].out_features) == (216, 9, 30)
    assert (conv1[0].kernel_size, conv1[0].stride, conv1[0].padding_mode) == ((3, 3), (2, 2), "reflect")
    assert (conv1[1].kernel_size, conv1[1].in_channels, conv1[1].bias is None) == ((1, 1), 5, False)
    assert torch.equal(fc1[1].bias, net().fc1.bias)
    assert {"fc1.0.weight", "fc1.1.weight", "fc1.1.bias"} <= {entry.name for entry in compressed.stored}
    tucker = parts_of(compress(net(), Step("tucker", layers="conv2", rank=0.5)), "conv2")
    assert [tuple(part.weight.shape) for part in tucker] == [(8, 16, 1, 1), (12, 8, 3, 2), (24, 12, 1, 1)]


@every_step
@pytest.mark.parametrize("later", [(), (Step("integer", bits=4),), (Step("magnitude", sparsity=0.5),)], ids=str)
def test_files_come_back_bit_by_bit_and_have_the_size_that_is_told(step, later, tmp_path):
    compressed = compress(net(), Recipe([step, *later]), TASK)
    path = compressed.save(tmp_path / "net.st")
    assert os.path.getsize(path) == compressed.size().file < compressed.size().baseline_file
    model = net()
    before = model_state(model)
    loaded = load_into(path, model)
    assert model_state(model) == before
    assert torch.equal(output_of(loaded, (IMAGES,)), output_of(compressed.model, (IMAGES,)))


def test_later_steps_treat_the_factors_under_the_old_names():
    recipe = Recipe([Step("svd", layers="fc1", by="rank", rank=0.2), Step("integer", layers="fc1.weight", bits=4)])
    compressed = compress(net(), recipe)
    coded = {entry.name for entry in compressed.stored if entry.code is not None}
    assert coded == {"fc1.0.weight", "fc1.1.weight"}
    by_type = compress(net(), Recipe([recipe.steps[0], Step("integer", layers="Linear", bits=4)]))
    assert {entry.name for entry in by_type.stored if entry.code is not None} == {*coded, "fc2.weight"}


def test_what_steps_before_did_and_is_lost_is_listed():
    recipe = Recipe([Step("magnitude", sparsity=0.5), Step("integer", bits=4), Step("svd", layers="fc1")])
    report = compress(net(), recipe).steps[-1]
    assert (report.treated, report.codes_lost) == (("fc1.weight",), ("fc1.weight",))
    assert report.zeros_before >= 3240 > report.zeros_kept
    later = compress(net(), Recipe([Step("svd", layers="fc1"), Step("integer", layers="conv1", bits=4)])).steps[-1]
    assert later.treated == ("conv1.weight",)


def reasons(compressed: CompressedModel) -> dict[str, str]:
    return {entry.name: entry.reason for entry in compressed.skipped}


def test_layers_that_cannot_be_factored_are_refused_with_the_reason():
    assert "shares a weight" in reasons(compress(net(), Step("svd")))["fc2.weight"]
    wide = reasons(compress(net(), Step("svd", by="rank", rank=1.0)))
    assert re.search(r"6,480 weights, and factors of rank 30 7,380: nothing would be saved", wide["fc1.weight"])
    assert "no convolution" in reasons(compress(net(), Step("tucker", rank=0.1)))["fc1.weight"]
    again = compress(net(), Recipe([Step("svd", layers="fc1"), Step("svd", layers="fc1", energy=0.5)]))
    assert len(again.edits) == 1
    hooked = net()
    hooked.fc1.register_forward_hook(lambda *_: None)
    assert "hooks" in reasons(compress(hooked, Step("svd", layers="fc1")))["fc1.weight"]
    shared = nn.Sequential(layer := nn.Linear(9, 9), nn.ReLU(), layer)
    assert "several names" in reasons(compress(shared, Step("svd", energy=0.1)))["0.weight"]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", CASES)
def test_every_layer_type_is_factored_or_refused(name):
    """Whatever happens, the network still runs."""
    case = CASES[name]
    for step in (Step("svd", by="rank", rank=0.1), Step("tucker", rank=0.3)):
        compressed = compress(case.module(), step)
        assert output_of(compressed.model, case.inputs).isfinite().all()
        untreated = set(case.channels) - {entry.name for entry in compressed.skipped}
        assert len(untreated) == len(compressed.edits)


def test_half_precision_and_modes_stay():
    model = net().half()
    compressed = compress(model, Step("svd", layers="fc1", energy=0.5))
    assert parts_of(compressed, "fc1")[0].weight.dtype == torch.float16
    model.fc1.weight.requires_grad_(False)
    frozen = compress(model, Step("svd", layers="fc1", energy=0.5))
    assert not parts_of(frozen, "fc1")[0].weight.requires_grad


# Frames.


@every_step
def test_frames_show_the_product_and_count_the_bytes_of_the_factors(step):
    bench = Bench(net(), Context(task=TASK))
    recipe = bench.check(Recipe([step, Step("integer", bits=8)]))
    frame = bench.frame(recipe, 0.5, bench.view(WHOLE_MODEL))
    weights = sum(site.weights for site in bench.original.inventory.sites)
    assert sum(frame.histogram.before) == weights
    assert sum(frame.histogram.after) + frame.histogram.zeros_after == weights
    assert sum(size for _, size in frame.breakdown) == frame.file == bench.size(recipe).file
    sizes = {tensor.name: int(tensor.bytes()) for tensor in bench.size(recipe).tensors}
    conv = sum(size for name, size in sizes.items() if name.startswith("conv1.") and name.endswith("weight"))
    assert dict(frame.layer_bytes)["conv1.weight"] == conv
    error = next(entry for entry in frame.errors if entry.name == "conv1.weight")
    parts = [part.weight.detach().double().flatten(1) for part in parts_of(bench.compressed(recipe), "conv1")]
    original = net().conv1.weight.detach().double()
    if len(parts) == 2:
        product = (parts[1] @ parts[0]).reshape(original.shape)
    else:
        core = parts[1].reshape(len(parts[1]), -1, *original.shape[2:])
        product = torch.einsum("or,rskl,si->oikl", parts[2], core, parts[0])
    assert error.noise == pytest.approx(float((original - product).square().sum()), rel=1e-4)


def test_size_counts_factors_as_treated_and_their_baseline_once():
    report = compress(net(), Step("svd", layers="fc1")).size()
    sizes = {tensor.name: tensor for tensor in report.tensors}
    assert sizes["fc1.0.weight"].treated
    assert not sizes["fc1.1.bias"].treated
    assert sizes["fc1.0.weight"].baseline == 0
    assert sizes["conv1.weight"].baseline == 4 * 16 * 27


# Edits as data.


@pytest.mark.parametrize("edit", [Factored("a.b", 3), Tucker("", 2, 3), Resized("c", 5, 4)], ids=str)
def test_edits_survive_json(edit):
    assert edit_from_json(json.loads(json.dumps(edit_to_json(edit)))) == edit


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        ["factored"],
        ["factored", "fc1"],
        ["factored", "fc1", 0],
        ["factored", "fc1", -1],
        ["factored", "fc1", 1.0],
        ["factored", "fc1", True],
        ["factored", "fc1", 1, 2],
        ["factored", 1, 1],
        ["tucker", "conv1", 1],
        ["resized", "conv1", 1, "2"],
        ["eval", "fc1", 1],
    ],
    ids=str,
)
def test_what_is_no_edit_is_refused(data):
    with pytest.raises(FileFormatError, match="is no edit of a network"):
        edit_from_json(data)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Factored("nothing", 1), "no layer of this model"),
        (Factored("fc1", 10**9), "nothing would be saved"),
        (Factored("fc2", 1), "shares a weight"),
        (Tucker("fc1", 1, 1), "no convolution"),
        (Tucker("conv1", 10**9, 1), "fewer than the ranks"),
        (Tucker("conv1", 16, 3), "nothing would be saved"),
        (Resized("fc1", 31, 10), "only become smaller"),
        (Resized("fc1", 30, 216), "only become smaller"),
        (Resized("", 1, 1), "belongs to Net"),
    ],
    ids=str,
)
def test_edits_that_do_not_fit_are_refused_with_the_reason(edit, reason):
    with pytest.raises(ModelError, match=reason):
        apply_edits(net(), [edit])


def test_what_was_factored_is_not_factored_again():
    with pytest.raises(ModelError, match="is a factor already"):
        apply_edits(net(), [Factored("fc1", 9), Factored("fc1.0", 2)])


def rewritten(data: bytes, edits: object) -> bytes:
    """A compressed file with other edits in its header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header["__metadata__"][METADATA_KEY])
    content["edits"] = edits
    header["__metadata__"][METADATA_KEY] = json.dumps(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    ("edits", "error", "message"),
    [
        ("fc1", FileFormatError, "are no list"),
        ([["factored", "fc1", 9]] * (MOST_EDITS + 1), FileFormatError, "are no list of up to"),
        ([["exec", "fc1", 9]], FileFormatError, "is no edit"),
        ([["factored", "fc9", 9]], ModelError, "does not fit this Net.*no layer of this model"),
        ([["factored", "fc1", 10**12]], ModelError, "nothing would be saved"),
        ([["resized", "fc1", 10**12, 1]], ModelError, "only become smaller"),
        ([["factored", "fc1", 8]], ModelError, r"fc1.0.weight is \(9, 216\) in the file and \(8, 216\)"),
        ([], ModelError, "holds no fc1.bias"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_hostile_edits_in_a_file_are_refused(edits, error, message, tmp_path):
    good = compress(net(), Step("svd", layers="fc1", by="rank", rank=0.3)).save(tmp_path / "good.st")
    bad = tmp_path / "bad.st"
    bad.write_bytes(rewritten(good.read_bytes(), edits))
    with pytest.raises(error, match=message):
        load_into(bad, net())


def test_a_whole_model_can_be_one_layer(tmp_path):
    compressed = compress(nn.Linear(40, 20), Step("svd", by="rank", rank=0.2))
    assert [entry.name for entry in compressed.stored] == ["0.weight", "1.weight", "1.bias"]
    loaded = load_into(compressed.save(tmp_path / "linear.st"), nn.Linear(40, 20))
    assert torch.equal(loaded(numbers(2, 40)), compressed.model(numbers(2, 40)))
