"""Every method on every layer type: the compressed model works, and computes with what is stored."""

import copy
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.layers import inspect_model
from compress_explorer.spec.errors import CompressExplorerError, ModelError, ParameterError, UnknownNameError
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.modules import CASES, numbers, output_of
from tests.engine.recipes import FEW_STEPS, FREE, STEPS, step_id, steps_of
from tests.engine.test_layers import Tied, two_layers

every_method = pytest.mark.parametrize("method", FREE, ids=lambda method: method.name)


def stored_state(compressed: CompressedModel) -> dict[str, Tensor]:
    """What is stored, under every name of the model's state."""
    stored = {entry.name: entry.values for entry in compressed.stored}
    return stored | {alias: stored[name] for alias, name in compressed.aliases}


def same(first: Tensor, second: Tensor) -> bool:
    return first.dtype == second.dtype and torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", CASES)
def test_the_compressed_model_computes_with_what_is_stored(name):
    module, inputs = CASES[name].module(), CASES[name].inputs
    # The oracle: a module of the same type into which torch loads the stored tensors.
    loaded = CASES[name].module()
    for step in FEW_STEPS:
        with case(step_id(step)):
            compressed = compress(module, step)
            state = stored_state(compressed)
            assert state.keys() == compressed.model.state_dict().keys() == module.state_dict().keys()
            assert all(same(tensor, state[key]) for key, tensor in compressed.model.state_dict().items())
            loaded.load_state_dict(state)
            assert torch.equal(output_of(compressed.model, inputs), output_of(loaded, inputs))


@pytest.mark.parametrize("name", ["transposed2d-grouped", "gru"])
def test_stored_values_are_those_of_the_stored_code_and_mask(name):
    for step in STEPS:
        with case(step_id(step)):
            check_values(CASES[name].module(), step)


def check_values(module: nn.Module, step: Step) -> None:
    sites = {site.name: site for site in inspect_model(module).sites}
    for entry in compress(module, step).stored:
        original = module.state_dict()[entry.name]
        if entry.name not in sites:
            assert not entry.treated
            assert same(entry.values, original)
            continue
        assert entry.treated
        matrix = sites[entry.name].layout.to_matrix(original) if entry.code is None else entry.code.decode()
        if entry.kept is not None:
            matrix = torch.where(entry.kept, matrix, 0.0)
        assert torch.equal(sites[entry.name].layout.to_matrix(entry.values), matrix)


# Which weights belong to one output channel.

CHANNELS = {
    "linear": lambda weight, channel: weight[channel],
    "conv1d-grouped": lambda weight, channel: weight[channel],
    "conv2d": lambda weight, channel: weight[channel],
    "conv2d-channels-last": lambda weight, channel: weight[channel],
    "conv2d-depthwise": lambda weight, channel: weight[channel],
    "conv3d": lambda weight, channel: weight[channel],
    "transposed1d": lambda weight, channel: weight[:, channel],
    "transposed2d": lambda weight, channel: weight[:, channel],
    # 4 inputs and 6 outputs in 2 groups: outputs 0, 1, 2 see inputs 0 and 1, outputs 3, 4, 5 inputs 2 and 3.
    "transposed2d-grouped": lambda weight, channel: weight[2 * (channel // 3) : 2 * (channel // 3) + 2, channel % 3],
    # 3 inputs and 6 outputs in 3 groups.
    "transposed3d-depthwise": lambda weight, channel: weight[channel // 2, channel % 2],
    "bilinear": lambda weight, channel: weight[channel],
}
"""The weights that one output channel depends on, picked by hand: views of the weight."""


@pytest.mark.parametrize("name", CHANNELS)
def test_these_weights_and_no_others_make_the_channel(name):
    """The module itself bears out the table above."""
    case = CASES[name]
    module = case.module()
    if module.bias is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for channel in range(case.channels["weight"]):
        changed = copy.deepcopy(module)
        CHANNELS[name](changed.weight.data, channel).zero_()
        with torch.no_grad():
            before, after = module(*case.inputs), changed(*case.inputs)
        others = [other for other in range(case.channels["weight"]) if other != channel]
        assert not after[:, channel].any()
        assert before[:, channel].any()
        torch.testing.assert_close(after[:, others], before[:, others])


@pytest.mark.parametrize("name", CHANNELS)
def test_rows_of_the_matrix_are_output_channels(name):
    module = CASES[name].module()
    layout = inspect_model(module).sites[0].layout
    weight = module.get_parameter("weight").data
    matrix = layout.to_matrix(weight)
    for channel, row in enumerate(matrix):
        assert torch.equal(row, CHANNELS[name](weight, channel).flatten())
    assert (layout.channels, layout.columns) == tuple(matrix.shape)
    assert torch.equal(layout.from_matrix(matrix), weight)


@pytest.mark.parametrize("method", ["integer", "power-of-two", "binary"])
@pytest.mark.parametrize("name", CHANNELS)
def test_scales_go_by_output_channel(name, method):
    """A channel a hundred times as large leaves the others as they were; with one scale for all it would not."""
    step = Step(method, granularity="channel", bits=2)
    module = CASES[name].module()
    larger = copy.deepcopy(module)
    CHANNELS[name](larger.weight.data, 1).mul_(128)
    weight, other = (compress(entry, step).model.get_parameter("weight").data for entry in (module, larger))
    assert torch.equal(CHANNELS[name](other, 1), CHANNELS[name](weight, 1) * 128)
    CHANNELS[name](other, 1).div_(128)
    assert torch.equal(other, weight)


# Dtypes.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_dtype_stays(dtype):
    module = two_layers().to(dtype)
    for step in FEW_STEPS:
        with case(step_id(step)):
            compressed = compress(module, step)
            assert {tensor.dtype for tensor in compressed.model.state_dict().values()} == {dtype}
            assert {entry.values.dtype for entry in compressed.stored} == {dtype}
            outputs = compressed.model(numbers(2, 4).to(dtype))
            assert bool(torch.isfinite(outputs).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_kept_weights_keep_their_bits(dtype):
    module = nn.Sequential(nn.Linear(40, 30)).to(dtype)
    module.get_parameter("0.weight").data.add_(1e-9)
    before = module.get_parameter("0.weight").data.clone()
    after = compress(module, Step("magnitude", sparsity=0.5)).model.get_parameter("0.weight").data
    assert int((after == 0).sum()) == 600
    assert torch.equal(after[after != 0], before[after != 0])


def test_quantized_weights_are_rounded_to_the_models_dtype_before_the_error_is_counted():
    from compress_explorer.engine.bench import WHOLE_MODEL, Bench

    module = nn.Sequential(nn.Linear(40, 30)).to(torch.bfloat16)
    bench = Bench(module)
    recipe = bench.check(Recipe(Step("integer", bits=8)))
    frame = bench.frame(recipe, 8, bench.view(WHOLE_MODEL))
    values, original = (m.get_parameter("0.weight").data for m in (compress(module, recipe).model, module))
    noise = float((values.double() - original.double()).square().sum())
    assert frame.errors[0].noise == pytest.approx(noise, rel=1e-6)


# Shared tensors.


@every_method
def test_tied_weights_are_stored_once_and_stay_tied(method):
    for step in steps_of(method):
        with case(step_id(step)):
            compressed = compress(Tied(), step)
            assert [entry.name for entry in compressed.stored] == ["encoder.weight"]
            model = compressed.model
            assert model.get_parameter("encoder.weight") is model.get_parameter("decoder.weight")
            assert compressed.aliases == (("decoder.weight", "encoder.weight"),)
            assert [entry.name for entry in compressed.size().tensors] == ["encoder.weight"]


def test_a_module_used_twice_stays_one_module():
    layer = nn.Linear(4, 4)
    model = compress(nn.Sequential(layer, nn.ReLU(), layer), Step("integer", bits=2)).model
    assert isinstance(model, nn.Sequential)
    assert model[0] is model[2]


def test_parameters_with_the_same_memory_become_one():
    model = two_layers().append(nn.Linear(6, 3))
    model[2].weight = nn.Parameter(model.get_parameter("1.weight").data)
    compressed = compress(model, Step("integer", bits=2))
    assert compressed.model.get_parameter("2.weight") is compressed.model.get_parameter("1.weight")


def test_a_buffer_that_is_a_weight_too_follows_it():
    model = two_layers()
    model.register_buffer("copy_of_weight", model.get_parameter("0.weight").data)
    compressed = compress(model, Step("integer", bits=2))
    weight, buffer = compressed.model.get_parameter("0.weight"), compressed.model.get_buffer("copy_of_weight")
    assert weight.data_ptr() == buffer.data_ptr()
    assert not isinstance(buffer, nn.Parameter)


def test_recurrent_layers_compute_with_their_new_weights():
    """They keep a second list of their weights."""
    module = CASES["gru"].module()
    model = compress(module, Step("random", sparsity=1.0)).model
    assert isinstance(model, nn.GRU)
    assert all(first is second for first, second in zip(model._flat_weights, model.parameters(), strict=True))


# What was left alone.


def test_every_untreated_tensor_is_listed_with_the_reason():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    compressed = compress(model, Step("integer", layers="0.*"))
    reasons = {entry.name: entry.reason for entry in compressed.skipped}
    treated = {entry.name for entry in compressed.stored if entry.treated}
    assert treated == {"0.weight"}
    assert reasons.keys() == model.state_dict().keys() - treated
    assert reasons["2.weight"] == "no step of the recipe names this layer"
    assert reasons["0.bias"] == "is a bias, kept exactly"
    for entry in compressed.stored:
        if entry.name not in treated:
            assert same(entry.values, model.state_dict()[entry.name])


def test_the_empty_recipe_leaves_everything_as_it_is():
    model = two_layers()
    compressed = compress(model, Recipe())
    assert not any(entry.treated for entry in compressed.stored)
    assert all(same(tensor, model.state_dict()[name]) for name, tensor in compressed.model.state_dict().items())
    assert compressed.baseline is model


@every_method
def test_no_gradient_setting_changes(method):
    model = two_layers()
    model[0].requires_grad_(False)
    for step in steps_of(method):
        with case(step_id(step)):
            compressed = compress(model, step)
            flags = [parameter.requires_grad for parameter in compressed.model.parameters()]
            assert flags == [False, False, True, True]
            compressed.model(numbers(2, 4)).sum().backward()  # it can be fine-tuned
            assert compressed.model.get_parameter("1.weight").grad is not None


# What is stored is independent of both modules.


@every_method
def test_training_on_changes_nothing_that_is_stored(method):
    for step in steps_of(method):
        with case(step_id(step)):
            check_independence(two_layers(), step)


def check_independence(model: nn.Module, step: Step) -> None:
    compressed = compress(model, step)
    before = {entry.name: entry.values.clone() for entry in compressed.stored}
    own = {name: tensor.clone() for name, tensor in compressed.model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(entry.values, before[entry.name]) for entry in compressed.stored)
    assert all(torch.equal(tensor, own[name]) for name, tensor in compressed.model.state_dict().items())
    with torch.no_grad():
        for parameter in compressed.model.parameters():
            parameter.add_(1)
    assert all(torch.equal(entry.values, before[entry.name]) for entry in compressed.stored)


# Models that are hard to copy.


def test_a_model_half_pruned_by_torch_is_compressed_in_its_other_half():
    model = two_layers()
    prune.l1_unstructured(model[0], "weight", 0.5)
    compressed = compress(model, Step("integer", bits=4))
    assert [entry.name for entry in compressed.stored if entry.treated] == ["1.weight"]
    expected = copy.deepcopy(model.state_dict()) | stored_state(compressed)
    inputs = numbers(5, 4)
    hidden = nn.functional.linear(inputs, expected["0.weight_orig"] * expected["0.weight_mask"], expected["0.bias"])
    outputs = nn.functional.linear(hidden, expected["1.weight"], expected["1.bias"])
    torch.testing.assert_close(compressed.model(inputs), outputs)


def test_a_model_with_old_weight_normalization_is_compressed_elsewhere():
    model = two_layers()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(model[0])
    compressed = compress(model, Step("random", sparsity=1.0))
    bias = model.get_parameter("1.bias")
    torch.testing.assert_close(compressed.model(numbers(5, 4)), bias.expand(5, 3))


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = two_layers()
        self.inner.lock = threading.Lock()  # type: ignore[assignment]


class OwnCopy(nn.Linear):
    def __deepcopy__(self, memo: dict[int, object]) -> nn.Module:
        return nn.Linear(3, 2)


class Renamed(nn.Linear):
    """Its state gives copies of its tensors."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.register_state_dict_post_hook(self._copy)

    @staticmethod
    def _copy(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
        del module, prefix, metadata
        for name in state:
            state[name] = nn.Parameter(state[name].detach().clone())


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (Locked, ["Locked cannot be copied", "'inner.lock'", "_thread.lock", "plain values"]),
        (lambda: OwnCopy(3, 2), ["weight", "OwnCopy", "__deepcopy__"]),
        (Renamed, ["weight", "Renamed", "state_dict hooks"]),
    ],
    ids=["lock", "own-deepcopy", "state-of-copies"],
)
def test_a_model_that_cannot_be_copied_is_refused(make, parts):
    with pytest.raises(ModelError) as caught:
        compress(make(), Step("integer"))
    for part in parts:
        assert part in str(caught.value)


def test_what_is_compressed_already_is_no_model_and_is_described_in_a_line():
    with pytest.raises(ModelError, match=r"must be a torch.nn.Module, not CompressedModel .*Pass the model itself"):
        compress(compress(two_layers(), Step("integer")), Step("huffman"))  # type: ignore[arg-type]


# Recipes that are not valid.


@pytest.mark.parametrize(
    ("step", "error", "parts"),
    [
        (Step("magnitud"), UnknownNameError, ["method 'magnitud'", "Did you mean 'magnitude'", "integer"]),
        (Step("magnitude", sparsit=0.5), UnknownNameError, ["'sparsit'", "Did you mean 'sparsity'"]),
        (Step("magnitude", sparsity=1.5), ParameterError, ["sparsity=1.5", "0 to 1"]),
        (Step("magnitude", sparsity="high"), ParameterError, ["sparsity", "'high'", "0 to 1"]),
        (Step("magnitude", sparsity=float("nan")), ParameterError, ["sparsity", "nan", "0 to 1"]),
        (Step("integer", bits=9), ParameterError, ["bits=9", "1 to 8"]),
        (Step("integer", bits=4.5), ParameterError, ["bits", "whole number", "4.5"]),
        (Step("integer", scheme="symetric"), ParameterError, ["'symetric'", "Did you mean 'symmetric'"]),
        (Step("integer", layers="2.weight"), UnknownNameError, ["layer '2.weight'", "Did you mean", "0.weight"]),
        (Step("integer", layers=("0.*", "conv*")), UnknownNameError, ["layer 'conv*'", "0.weight, 1.weight"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_recipe_that_is_not_valid_names_the_value_and_the_remedy(step, error, parts):
    with pytest.raises(error) as caught:
        compress(two_layers(), Recipe([Step("random"), step]))
    assert isinstance(caught.value, CompressExplorerError)
    for part in parts:
        assert part in str(caught.value)


def test_numbers_of_numpy_and_torch_are_numbers():
    step = Step("integer", bits=np.int64(3), group_size=torch.tensor(64))  # type: ignore[arg-type]
    assert step == Step("integer", bits=3, group_size=64)
    assert Recipe.from_json(Recipe(step).to_json()) == Recipe(step)
    compressed = compress(two_layers(), Step("magnitude", sparsity=np.float32(0.5)))  # type: ignore[arg-type]
    assert dict(compressed.recipe.steps[0].values) == {"sparsity": 0.5}


@pytest.mark.parametrize("layers", [0, [0], None])
def test_layers_that_are_no_patterns(layers):
    with pytest.raises(ParameterError, match=r"layers=.* must be patterns of tensor names, e\.g\. 'fc1\.\*'"):
        Step("integer", layers=layers)
