"""The inventory over modules of every kind: treated, listed with a reason, or a clear error."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from compress_explorer.engine.layers import Inventory, inspect_model
from compress_explorer.spec.errors import ModelError, UnknownNameError
from tests.engine.modules import CASES


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))


def names(inventory: Inventory) -> list[str]:
    return [site.name for site in inventory.sites]


def reason(inventory: Inventory, name: str) -> str:
    return next(entry.reason for entry in inventory.skipped if entry.name == name)


def listed_once(model: nn.Module, inventory: Inventory) -> bool:
    """Whether every tensor of the state is a site, skipped or an alias, and only one of them."""
    listed = [*names(inventory), *(entry.name for entry in inventory.skipped), *(name for name, _ in inventory.aliases)]
    return sorted(listed) == sorted(model.state_dict())


@pytest.mark.parametrize("name", CASES)
def test_every_weight_of_a_known_layer_is_treated(name):
    case = CASES[name]
    module = case.module()
    inventory = inspect_model(module)
    assert {site.name: site.layout.channels for site in inventory.sites} == case.channels
    assert {site.name: site.weights for site in inventory.sites} == {
        weight: module.get_parameter(weight).numel() for weight in case.channels
    }
    assert listed_once(module, inventory)
    assert all(entry.reason for entry in inventory.skipped)


def test_sites_say_their_layer_type():
    inventory = inspect_model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.GRU(2, 2)))
    assert [site.layer for site in inventory.sites] == ["Conv2d", "GRU", "GRU"]


def test_a_window_is_the_places_of_a_convolutions_kernel():
    model = nn.Sequential(
        nn.Conv2d(4, 6, (2, 3), groups=2), nn.ConvTranspose1d(6, 4, 5), nn.Linear(4, 4), nn.Bilinear(3, 4, 5)
    )
    assert [site.window for site in inspect_model(model).sites] == [6, 5, 1, 1]


# What is listed with a reason.

NORMS = {
    "batch-1d": lambda: nn.BatchNorm1d(4),
    "batch-2d": lambda: nn.BatchNorm2d(4),
    "instance": lambda: nn.InstanceNorm2d(4, affine=True),
    "layer": lambda: nn.LayerNorm(4),
    "group": lambda: nn.GroupNorm(2, 4),
    "rms": lambda: nn.RMSNorm(4),
}


@pytest.mark.parametrize("name", NORMS)
def test_scales_and_shifts_of_normalization_are_kept(name):
    norm = NORMS[name]()
    model = nn.Sequential(nn.Linear(4, 4), norm)
    inventory = inspect_model(model)
    assert names(inventory) == ["0.weight"]
    for parameter, _ in norm.named_parameters():
        assert reason(inventory, f"1.{parameter}") == f"is the scale or shift of {type(norm).__name__}, kept exactly"
    for buffer, _ in norm.named_buffers():
        assert reason(inventory, f"1.{buffer}") == f"is a buffer of {type(norm).__name__}, not a weight"
    assert listed_once(model, inventory)


def test_biases_are_kept():
    inventory = inspect_model(CASES["attention"].module())
    assert reason(inventory, "attention.in_proj_bias") == "is a bias, kept exactly"
    assert reason(inventory, "attention.out_proj.bias") == "is a bias, kept exactly"


class Bare(nn.Module):
    """Parameters that belong to no known layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.position = nn.Parameter(torch.randn(5, 3))
        # Names that look like those of pruning, weight normalization and parametrization.
        self.w_g = nn.Parameter(torch.randn(3))
        self.x_orig = nn.Parameter(torch.randn(3))
        self.original = nn.Parameter(torch.randn(3))
        self.matrices = nn.ParameterList([nn.Parameter(torch.randn(3, 3))])
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.randn(3, 3))})
        self.register_buffer("grid", torch.arange(4))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def test_parameters_of_no_known_layer_are_listed():
    model = Bare()
    inventory = inspect_model(model)
    assert names(inventory) == ["fc.weight"]
    for name in ("position", "w_g", "x_orig", "original"):
        assert reason(inventory, name) == "belongs to Bare, which is no known layer type"
    assert reason(inventory, "matrices.0") == "belongs to ParameterList, which is no known layer type"
    assert reason(inventory, "named.a") == "belongs to ParameterDict, which is no known layer type"
    assert reason(inventory, "grid") == "is a buffer of Bare, not a weight"
    # A buffer that is not in the state is not stored either.
    assert listed_once(model, inventory)


def test_weights_without_elements_are_listed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is nothing to initialise
        model = nn.Sequential(nn.Linear(0, 3), nn.Linear(3, 2))
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    assert reason(inventory, "0.weight") == "has no elements"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_float_types_are_treated(dtype):
    assert names(inspect_model(two_layers().to(dtype))) == ["0.weight", "1.weight"]


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.int8], ids=str)
def test_other_types_are_listed(dtype):
    model = two_layers()
    model[0].weight = nn.Parameter(torch.ones(6, 4).to(dtype), requires_grad=False)
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    assert str(dtype).removeprefix("torch.") in reason(inventory, "0.weight")


def test_frozen_parameters_are_treated():
    assert names(inspect_model(two_layers().requires_grad_(False))) == ["0.weight", "1.weight"]


def test_pruned_modules_say_how_to_finish_pruning():
    model = two_layers()
    prune.l1_unstructured(model[0], "weight", 0.5)
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    assert "prune.remove(module, 'weight')" in reason(inventory, "0.weight_orig")
    prune.remove(model[0], "weight")
    assert names(inspect_model(model)) == ["0.weight", "1.weight"]


def test_old_weight_normalization_says_how_to_remove_it():
    model = two_layers()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model[0])
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    for part in ("weight_g", "weight_v"):
        assert "remove_weight_norm(module, 'weight')" in reason(inventory, f"0.{part}")
    nn.utils.remove_weight_norm(model[0])
    assert sorted(names(inspect_model(model))) == ["0.weight", "1.weight"]


def test_old_spectral_normalization_says_how_to_remove_it():
    model = two_layers()
    nn.utils.spectral_norm(model[0])
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    assert "remove_spectral_norm(module, 'weight')" in reason(inventory, "0.weight_orig")


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_weights_say_how_to_remove_the_parametrization(wrap):
    model = two_layers()
    wrap(model[0])
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    for entry in inventory.skipped:
        if "parametrizations.weight.original" in entry.name:
            assert "remove_parametrizations" in entry.reason
    assert listed_once(model, inventory)


def test_a_parametrized_bias_leaves_the_weight_alone():
    model = two_layers()
    nn.utils.parametrize.register_parametrization(model[0], "bias", nn.Identity())
    assert names(inspect_model(model)) == ["0.weight", "1.weight"]


def test_a_layer_inside_a_parametrization_is_no_site():
    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(6, 6, bias=False)

        def forward(self, weight: Tensor) -> Tensor:
            mixed: Tensor = self.mix.weight @ weight
            return mixed

    model = two_layers()
    nn.utils.parametrize.register_parametrization(model[0], "weight", Mix())
    inventory = inspect_model(model)
    assert names(inventory) == ["1.weight"]
    assert "parametrized" in reason(inventory, "0.parametrizations.weight.0.mix.weight")


# Shared tensors.


class Tied(nn.Module):
    """Encoder and decoder share one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(10, 4)
        self.decoder = nn.Linear(4, 10, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, indices: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encoder(indices))
        return logits


def test_tied_weights_are_one_site():
    inventory = inspect_model(Tied())
    assert names(inventory) == ["encoder.weight"]
    assert inventory.sites[0].aliases == ("decoder.weight",)
    assert inventory.aliases == (("decoder.weight", "encoder.weight"),)


def test_a_module_used_twice_is_one_site():
    layer = nn.Linear(4, 4)
    inventory = inspect_model(nn.Sequential(layer, nn.ReLU(), layer))
    assert names(inventory) == ["0.weight"]
    assert inventory.aliases == (("2.weight", "0.weight"), ("2.bias", "0.bias"))


def test_two_parameters_with_the_same_memory_are_one_site():
    model = two_layers()
    model.append(nn.Linear(6, 3))
    model[2].weight = nn.Parameter(model.get_parameter("1.weight").data)
    inventory = inspect_model(model)
    assert names(inventory) == ["0.weight", "1.weight"]
    assert inventory.aliases == (("2.weight", "1.weight"),)


def test_a_buffer_that_is_a_weight_too_does_not_hide_it():
    model = nn.Module()
    model.fc = nn.Linear(4, 3)
    model.register_buffer("copy_of_weight", model.fc.weight.data)
    inventory = inspect_model(model)
    assert names(inventory) == ["fc.weight"]
    assert inventory.aliases == (("copy_of_weight", "fc.weight"),)
    assert listed_once(model, inventory)


def test_views_in_another_shape_are_listed():
    model = nn.Module()
    model.a, model.b = nn.Linear(4, 6), nn.Linear(6, 4)
    model.b.weight = nn.Parameter(model.a.weight.data.t())
    inventory = inspect_model(model)
    assert names(inventory) == ["a.weight"]
    assert reason(inventory, "b.weight") == "shares its memory with a.weight, in another shape"


def test_a_part_of_another_weight_is_listed():
    model = nn.Module()
    model.a, model.b = nn.Linear(4, 6), nn.Linear(4, 2)
    model.b.weight = nn.Parameter(model.a.weight.data[3:5])
    inventory = inspect_model(model)
    assert names(inventory) == ["a.weight"]
    assert reason(inventory, "b.weight") == "shares its memory with a.weight, in another shape"


def test_neighbours_in_one_allocation_share_nothing():
    model = two_layers()
    vector = torch.randn(sum(parameter.numel() for parameter in model.parameters()))
    nn.utils.vector_to_parameters(vector, model.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in model.parameters()}) == 1
    inventory = inspect_model(model)
    assert names(inventory) == ["0.weight", "1.weight"]
    assert inventory.aliases == ()


# Patterns.


def test_patterns_match_tensors_layers_and_aliases():
    inventory = inspect_model(nn.Sequential(Tied(), nn.Linear(3, 3)))
    sites = {site.name: site for site in inventory.sites}
    assert inventory.match(("*",)) == inventory.sites
    assert inventory.match(("1",)) == (sites["1.weight"],)
    assert inventory.match(("1.weight",)) == (sites["1.weight"],)
    assert inventory.match(("0.decoder*",)) == (sites["0.encoder.weight"],)
    assert inventory.match(("1", "0.*")) == inventory.sites


def test_a_name_with_brackets_matches_itself():
    inventory = inspect_model(nn.ModuleDict({"block[0]": nn.Linear(3, 2), "block0": nn.Linear(3, 2)}))
    assert [site.name for site in inventory.match(("block[0].weight",))] == ["block[0].weight", "block0.weight"]
    assert [site.name for site in inventory.match(("block0",))] == ["block0.weight"]


def test_an_unknown_layer_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"There is no layer '1\.wieght'\. Did you mean '1\.weight'\?"):
        inspect_model(two_layers()).match(("1.wieght",))


# What cannot be compressed at all.


def half_scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(torch.jit.script(nn.Linear(4, 6)), nn.Linear(6, 3))


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: nn.Module = torch.jit.script(two_layers())
        return module


def traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: nn.Module = torch.jit.trace(two_layers(), torch.zeros(1, 4))
        return module


def half_compiled() -> nn.Module:
    model = two_layers()
    model[0] = torch.compile(model[0])  # type: ignore[assignment]
    return model


def quantized() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: nn.Module = torch.ao.quantization.quantize_dynamic(two_layers())
        return module


def quantized_by_torchao() -> nn.Module:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    model = nn.Sequential(nn.Linear(32, 32))
    quantize_(model, Int8WeightOnlyConfig())
    return model


def sparse() -> nn.Module:
    model = two_layers()
    model[0].weight = nn.Parameter(model.get_parameter("0.weight").data.to_sparse())
    return model


def with_value(value: float, name: str = "0.weight", dtype: torch.dtype = torch.float32) -> nn.Module:
    model = two_layers().to(dtype)
    model.get_parameter(name).data.view(-1)[2] = value
    return model


def with_buffer(value: float) -> nn.Module:
    model = two_layers()
    model.register_buffer("mask", torch.tensor([0.0, value]))
    return model


REFUSED = {
    "no-module": (lambda: "lenet", ["torch.nn.Module", "str 'lenet'"]),
    "class": (lambda: nn.Linear, ["torch.nn.Module", "the class Linear", "`Net()`"]),
    "no-parameters": (lambda: nn.Sequential(nn.ReLU()), ["Sequential", "no weights", "it has no parameters"]),
    "norms-only": (lambda: nn.BatchNorm1d(3), ["BatchNorm1d", "no weights", "scale or shift"]),
    "bare-only": (lambda: nn.ParameterList([nn.Parameter(torch.ones(2))]), ["no weights", "no known layer type"]),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), ["0.weight", "not initialised", "Run one batch"]),
    "meta": (lambda: two_layers().to("meta"), ["0.weight", "meta device", "Load the weights"]),
    "scripted": (scripted, ["The model is scripted", "nn.Module it was made from"]),
    "scripted-part": (half_scripted, ["Module '0' is scripted", "nn.Module it was made from"]),
    "traced": (traced, ["The model is scripted", "nn.Module it was made from"]),
    "compiled": (lambda: torch.compile(two_layers()), ["The model is compiled", "_orig_mod"]),
    "compiled-part": (half_compiled, ["Module '0' is compiled", "_orig_mod"]),
    "quantized": (quantized, ["Module '0'", "already quantized", "float model"]),
    "quantized-by-torchao": (quantized_by_torchao, ["0.weight", "already quantized", "float model"]),
    "sparse": (sparse, ["0.weight", "sparse_coo", "to_dense()"]),
    "nan": (lambda: with_value(float("nan")), ["0.weight", "NaN or infinite", "torch.isfinite"]),
    "infinite": (lambda: with_value(float("-inf")), ["0.weight", "NaN or infinite", "torch.isfinite"]),
    "nan-half": (lambda: with_value(float("nan"), dtype=torch.float16), ["0.weight", "NaN or infinite"]),
    "nan-bias": (lambda: with_value(float("nan"), "1.bias"), ["1.bias holds NaN", "torch.isnan"]),
    "nan-buffer": (lambda: with_buffer(float("nan")), ["mask holds NaN", "torch.isnan"]),
    "beyond-float32": (
        lambda: with_value(1e300, dtype=torch.float64),
        ["0.weight", "magnitude 1e+300", "up to 1e+38", "Rescale"],
    ),
    "near-the-end-of-float16": (
        lambda: with_value(50000.0, dtype=torch.float16),
        ["0.weight", "magnitude 5e+04", "up to 32752", "Rescale"],
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's own deprecations, of what makes the module
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compressed_is_refused_with_the_remedy(name):
    make, parts = REFUSED[name]
    with pytest.raises(ModelError) as caught:
        inspect_model(make())  # type: ignore[arg-type]
    for part in parts:
        assert part in str(caught.value)


def test_an_infinite_mask_is_no_fault():
    assert names(inspect_model(with_buffer(float("-inf")))) == ["0.weight", "1.weight"]
