"""Methods that look at the train split, end to end: what they make of models, and what they leave alone."""

import functools
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import compress_explorer as ce
from compress_explorer.engine import live
from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.file import load, load_into
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.steps import apply_step
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.update import Update
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods.catalogue import method
from compress_explorer.spec.errors import DataError
from compress_explorer.spec.recipe import Recipe, Step
from tests.engine.modules import numbers
from tests.engine.recipes import CALIBRATED
from tests.engine.test_purity import untouched

QUICK = {"adaround": {"iterations": 200}}
NAMES = [entry.name for entry in CALIBRATED]
PRUNERS = [entry.name for entry in CALIBRATED if entry.family == "Pruning"]
QUANTIZERS = [entry.name for entry in CALIBRATED if entry.result == "code"]
every_method = pytest.mark.parametrize("name", NAMES)
every_pruner = pytest.mark.parametrize("name", PRUNERS)
every_quantizer = pytest.mark.parametrize("name", QUANTIZERS)


def step(name: str, **values: object) -> Step:
    return Step(name, ("*",), None, **{"samples": 32, **QUICK.get(name, {}), **values})  # type: ignore[arg-type]


class Net(nn.Module):
    """Grouped and depthwise convolutions, a transposed one, and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(2, 6, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6, bias=False)
        self.transposed = nn.ConvTranspose2d(6, 6, 2)
        self.first, self.second = nn.Linear(54, 12), nn.Linear(12, 12)
        self.third = nn.Linear(12, 12, bias=False)
        self.third.weight = self.second.weight
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transposed(self.depthwise(self.grouped(x).relu()).relu()).relu()
        x = self.first(x.flatten(1)).relu()
        return self.last(self.third(self.second(x).relu()).relu())


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


OBSERVED = ("grouped.weight", "depthwise.weight", "first.weight", "second.weight", "last.weight")
X = numbers(60, 2, 4, 4)
SPLIT = Split(X, torch.arange(60) % 3)
TASK = Task(name="random", test=SPLIT, train=SPLIT)


@functools.cache
def compressed(name: str, *before: Step) -> CompressedModel:
    return compress(net(), Recipe([*before, step(name)]), TASK)


def weights_of(found: CompressedModel) -> dict[str, Tensor]:
    return {name: found.model.get_parameter(name).detach() for name in (*OBSERVED, "transposed.weight")}


@every_method
def test_it_treats_what_it_can_and_says_why_not_of_the_rest(name):
    found = compressed(name)
    before = net().state_dict()
    treated = {entry.name for entry in found.stored if entry.kept is not None or entry.code is not None}
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert set(OBSERVED) <= treated
    if method(name).needs == "gradients":
        assert "transposed.weight" in treated
    else:
        assert torch.equal(weights_of(found)["transposed.weight"], before["transposed.weight"])
        assert "cannot be observed" in reasons["transposed.weight"]
    assert all(not torch.equal(weights_of(found)[part], before[part]) for part in treated)


@every_method
def test_a_weight_that_two_layers_share_stays_shared(name):
    model = compressed(name).model
    assert isinstance(model, Net)
    assert model.third.weight is model.second.weight


@every_method
def test_the_file_holds_all_of_it(name, tmp_path):
    found = compressed(name)
    path = found.save(tmp_path / "model.safetensors")
    assert path.stat().st_size == found.size().file
    loaded = load_into(path, net())
    for part, tensor in found.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[part], tensor)
    again = compress(net(), load(path).recipe, TASK).save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


@every_method
def test_what_magnitude_pruning_dropped_stays_zero(name):
    pruned = compress(net(), Step("magnitude", sparsity=0.3), TASK)
    both = weights_of(compressed(name, Step("magnitude", sparsity=0.3)))
    for part, before in weights_of(pruned).items():
        assert not both[part][before == 0].any()


@every_pruner
def test_zeros_of_a_pruner_stay_zero_under_any_quantizer(name):
    pruned = weights_of(compressed(name))
    for after in (Step("integer", bits=4), step("gptq"), step("adaround")):
        both = compress(net(), Recipe([step(name), after]), TASK)
        for part, before in pruned.items():
            assert not weights_of(both)[part][before == 0].any()
            stored = next(entry for entry in both.stored if entry.name == part)
            assert stored.code is not None or part == "transposed.weight"


def test_new_values_after_a_quantizer_are_no_codes_any_more():
    found = compress(net(), Recipe([Step("integer", bits=3), step("sparsegpt", sparsity=0.9)]), TASK)
    for entry in found.stored:
        if entry.name in OBSERVED:
            assert entry.code is None
            assert entry.kept is not None
            assert not entry.values[~entry.layout.from_matrix(entry.kept)].any()
    first = found.model.get_parameter("first.weight")
    assert len(first.unique()) > 8  # weights that made up for others stand between the levels


def test_new_values_are_those_of_the_models_dtype():
    model = net().to(torch.bfloat16)
    task = Task(name="coarse", test=Split(X.bfloat16(), SPLIT.targets), train=Split(X.bfloat16(), SPLIT.targets))
    work = apply_step(open_model(model), step("sparsegpt"), Context(task=task))
    for name in OBSERVED:
        assert work.state[name].dtype == torch.bfloat16
        matrix = work.weights[name].matrix
        assert torch.equal(matrix.to(torch.bfloat16).float(), matrix)
        assert torch.equal(work.state[name].float().reshape(matrix.shape), matrix)


def test_sparsegpt_that_drops_nothing_leaves_the_weights_and_stores_no_mask():
    found = compress(net(), step("sparsegpt", sparsity=0.0), TASK)
    assert all(entry.kept is None for entry in found.stored)
    assert all(torch.equal(found.model.state_dict()[name], tensor) for name, tensor in net().state_dict().items())


@every_method
def test_nothing_of_the_callers_changes(name):
    task = Task(name="points", test=Split(numbers(40, 8), torch.arange(40) % 5))
    untouched(lambda model: compress(model, step(name), replace(task, train=task.test)))


@every_method
def test_the_compressed_model_has_no_hooks(name):
    for module in compressed(name).model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
        assert not module._backward_hooks


@every_method
def test_without_a_train_split_the_error_says_what_is_missing(name):
    with pytest.raises(DataError, match=rf"'{name}' looks at the train split.*Pass it"):
        compress(net(), step(name))
    with pytest.raises(DataError, match=r"task 'no train' has none. Pass train="):
        compress(net(), step(name), Task(name="no train", test=SPLIT))


@every_method
def test_the_same_call_gives_the_same_weights_inside_inference_mode_too(name):
    with torch.inference_mode(method(name).needs == "inputs"):
        again = compress(net(), step(name), TASK)
    for part, tensor in weights_of(compressed(name)).items():
        assert torch.equal(weights_of(again)[part], tensor)


@every_method
def test_the_frame_of_the_explorer_is_that_of_the_compressed_model(name):
    bench = Bench(net(), Context(task=TASK))
    recipe = bench.check(Recipe(step(name)))
    frame = bench.frame(recipe, 0, bench.view(WHOLE_MODEL))
    assert frame.file == compressed(name).size().file
    assert frame.histogram is not None
    zeros = sum(int((tensor == 0).sum()) for tensor in weights_of(compressed(name)).values())
    assert frame.histogram.zeros_after == zeros


def test_news_of_the_rest_of_the_curve_leave_the_settings_own_accuracy_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "QUIET", 0.0)
    news: list[Update] = []
    engine = LiveEngine(net(), TASK, news.append)
    try:
        engine.request(Setting(Recipe(step("gptq", bits=3)), 0, "bits", WHOLE_MODEL, "test"))
        engine.wait(60)
        answered = len(news)
        while not any(update.kind == "status" and update.sweep is not None for update in news[answered:]):
            time.sleep(0.01)  # until the whole curve is known
    finally:
        engine.close()
        engine.join()
    assert any("GPTQ: layer" in update.text for update in news[answered:])
    assert {update.state for update in news[answered:]} == {"exact"}


# On trained networks.


@functools.cache
def zoo(name: str) -> tuple[nn.Module, Task]:
    return ce.load(name)


def first_layer_error(name: str, layer: str, found: CompressedModel) -> float:
    """The mean squared change of one linear layer's output on the inputs that the original network gives it."""
    model, task = zoo(name)
    assert task.train is not None
    seen: list[Tensor] = []
    module = model.get_submodule(layer)
    handle = module.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    with torch.no_grad():
        model(task.train.inputs[task.train.order[:256]])
        handle.remove()
        return float((found.model.get_submodule(layer)(seen[0]) - module(seen[0])).square().mean())


@every_quantizer
def test_quantized_layers_err_less_than_rounded_ones(name):
    model, task = zoo("digits-mlp")
    layer = next(part for part, module in model.named_modules() if isinstance(module, nn.Linear))
    learned = compress(model, step(name, bits=3, samples=256), task)
    rounded = compress(model, Step("integer", bits=3, granularity="channel"), task)
    errors = [first_layer_error("digits-mlp", layer, found) for found in (learned, rounded)]
    assert errors[0] < 0.6 * errors[1]


def test_pruning_by_inputs_keeps_more_of_the_output_than_by_magnitude():
    model, task = zoo("digits-mlp")
    layer = next(part for part, module in model.named_modules() if isinstance(module, nn.Linear))
    steps = [step("sparsegpt", samples=256), step("wanda", samples=256), Step("magnitude", sparsity=0.5)]
    errors = [first_layer_error("digits-mlp", layer, compress(model, each, task)) for each in steps]
    assert errors == sorted(errors)


@every_quantizer
def test_at_two_bits_more_is_right_than_by_rounding(name):
    """LeNet-5 rounded to 2 bits loses a fifth; what is learned from 128 samples loses a few in a hundred at most."""
    model, task = zoo("lenet-5")
    few = replace(task, test=Split(task.test.inputs[:1000], task.test.targets[:1000]))
    learned = evaluate(compress(model, step(name, bits=2, samples=128), task), few).value
    rounded = evaluate(compress(model, Step("integer", bits=2, granularity="channel"), task), few).value
    assert learned > 0.95 > 0.9 > rounded
