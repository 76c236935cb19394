"""Layers whose input is divided and rounded: in the module, in copies of it, in its state and in the file."""

import copy
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.bench import WHOLE_MODEL, Bench
from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.edits import Transformed, edit_from_json, edit_to_json
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.evidence import evidence
from compress_explorer.engine.file import load_into
from compress_explorer.engine.input_transform import InputTransform, attach, transform_of
from compress_explorer.engine.input_values import MOST_VALUES, input_values
from compress_explorer.engine.structure import apply_edits
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods.catalogue import method
from compress_explorer.methods.evidence import InputStatistics, InputValues
from compress_explorer.methods.input_change import InputQuantizer, static_quantizer
from compress_explorer.spec.errors import CompressExplorerError, DataError, FileFormatError, ModelError
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.zoo import load
from tests.methods.cases import present

STATIC, DYNAMIC, SMOOTH = Step("activations"), Step("activations-dynamic"), Step("smoothquant")


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96, 5),
            nn.ReLU(),
            nn.Linear(5, 3),
        ).eval()


def task(model_inputs: Tensor | None = None) -> Task:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 2, 4, 4, generator=generator) if model_inputs is None else model_inputs
    split = Split(x, torch.randint(0, 3, (len(x),), generator=generator))
    return Task(name="random", test=split, train=split)


TASK = task()
X = TASK.test.inputs


def run(*steps: Step, model: nn.Module | None = None) -> CompressedModel:
    return compress(network() if model is None else model, Recipe(steps), TASK)


def transform(model: nn.Module, path: str) -> InputTransform:
    found = transform_of(model.get_submodule(path))
    assert found is not None
    return found


def scale_of(model: nn.Module, path: str) -> float:
    return float(present(transform(model, path).scale))


def divide_of(model: nn.Module, path: str) -> Tensor:
    return present(transform(model, path).divide)


def fed(model: nn.Module, path: str, inputs: Tensor) -> Tensor:
    """What the layer computes with."""
    seen: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _layer, given, _output: seen.append(given[0]))
    with torch.no_grad():
        model(inputs)
    handle.remove()
    return seen[0]


# The module.


@pytest.mark.parametrize(("scheme", "bits"), [("affine", 2), ("affine", 8), ("symmetric", 3)])
def test_static_levels_are_those_of_torch(scheme, bits):
    quantizer = static_quantizer(torch.tensor(-1.0), torch.tensor(2.0), bits, scheme)
    given = torch.cat(
        [torch.randn(40, generator=torch.Generator().manual_seed(0)) * 3, torch.tensor([0.0, 1e30, -1e30])]
    )
    ends = (0, 2**bits - 1) if scheme == "affine" else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    assert quantizer.grid is not None
    scale, zero = float(quantizer.grid.scale), 0 if scheme == "symmetric" else round(1 / float(quantizer.grid.scale))
    numbers = ((given.double() / scale).round() + zero).clamp(*ends)
    torch.testing.assert_close(
        InputTransform(-1, quantizer=quantizer)(given).double(), (numbers - zero) * scale, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("scheme", ["affine", "symmetric"])
@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (4, 7)), (-1, (2, 3, 7)), (-1, (7,)), (-2, (3, 2, 5)), (-3, (3, 2, 4, 4)), (-3, (2, 4, 4))]
)
def test_dynamic_levels_are_those_of_a_static_quantizer_of_each_vector(axis, shape, scheme):
    given = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 5
    found = InputTransform(axis, quantizer=InputQuantizer(bits=4, scheme=scheme))(given)
    vectors = given.reshape(-1, *given.shape[axis:])
    for vector, own in zip(vectors, found.reshape(vectors.shape), strict=True):
        quantizer = static_quantizer(vector.min(), vector.max(), 4, scheme)
        torch.testing.assert_close(own, InputTransform(axis, quantizer=quantizer)(vector))


def test_features_are_divided_along_their_axis():
    divide = torch.tensor([1.0, 2.0])
    assert torch.equal(InputTransform(-1, divide=divide)(torch.ones(3, 2)), torch.tensor([[1.0, 0.5]] * 3))
    assert InputTransform(-3, divide=divide)(torch.ones(1, 2, 3, 3))[0, :, 0, 0].tolist() == [1, 0.5]
    assert InputTransform(-2, divide=divide)(torch.ones(2, 3))[:, 0].tolist() == [1, 0.5]


def test_zeros_and_empty_batches_pass():
    for quantizer in (
        static_quantizer(torch.tensor(0.0), torch.tensor(0.0), 8, "affine"),
        InputQuantizer(bits=2, scheme="affine"),
    ):
        module = InputTransform(-1, quantizer=quantizer)
        assert not module(torch.zeros(3, 4)).any()
        assert module(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_input_stays(dtype):
    module = InputTransform(-1, divide=torch.ones(4), quantizer=InputQuantizer(bits=8, scheme="affine"))
    assert module(torch.rand(3, 4).to(dtype)).dtype == dtype


def test_gradients_pass_where_nothing_is_clipped():
    module = InputTransform(-1, quantizer=static_quantizer(torch.tensor(-1.0), torch.tensor(1.0), 4, "affine"))
    given = torch.tensor([0.3, -0.8, 9.0], requires_grad=True)
    module(given).sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [1, 1, 0]


def test_a_layer_called_by_keyword_is_transformed_too_and_only_once():
    layer = nn.Linear(2, 2, bias=False)
    attach(layer, InputTransform(-1, divide=torch.tensor([9.0, 9.0])))
    attach(layer, InputTransform(-1, divide=torch.tensor([2.0, 2.0])))
    with torch.no_grad():
        assert torch.equal(layer(input=torch.ones(1, 2)), layer(torch.ones(1, 2)))
        torch.testing.assert_close(layer(torch.ones(1, 2)), layer.weight.sum(dim=1)[None] / 2)


# What the steps make of a network.


@pytest.mark.parametrize("step", [STATIC, DYNAMIC], ids=["static", "dynamic"])
def test_every_layer_is_fed_few_levels_and_no_weight_changes(step):
    model = network()
    compressed = run(step.replace(bits=2), model=model)
    for path in ("0", "3", "5"):
        given = fed(compressed.model, path, X[:1])
        assert 1 < len(given.unique()) <= 4
        for name in (f"{path}.weight", f"{path}.bias"):
            assert torch.equal(compressed.model.get_parameter(name), model.get_parameter(name))


def test_the_first_layers_range_is_that_of_the_calibration_samples():
    found = scale_of(run(STATIC.replace(samples=10)).model, "0")
    chosen = X[TASK.test.order[:10]]
    assert found == pytest.approx(float(chosen.max() - chosen.min()) / 255, rel=1e-6)


def test_later_layers_are_calibrated_behind_unrounded_ones():
    """The second layer's range is that of the network before the step."""
    model = network()
    given = fed(model, "3", X)
    assert scale_of(run(STATIC.replace(bits=2)).model, "3") == pytest.approx(float(given.max()) / 3, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_smoothing_leaves_the_function_as_it_is(alpha):
    model = network()
    smooth = run(SMOOTH.replace(alpha=alpha), model=model)
    with torch.no_grad():
        torch.testing.assert_close(smooth.model(X), model(X), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(smooth.model.get_parameter("3.weight"), model.get_parameter("3.weight"))
    torch.testing.assert_close(fed(smooth.model, "3", X), fed(model, "3", X) / divide_of(smooth.model, "3"))


def test_smoothing_twice_composes():
    model = network()
    both = run(SMOOTH, SMOOTH.replace(alpha=0.9), model=model)
    with torch.no_grad():
        torch.testing.assert_close(both.model(X), model(X), rtol=1e-4, atol=1e-5)
    assert len([edit for edit in both.edits if edit.layer == "3"]) == 1


def test_a_smoothed_input_is_rounded_after_it_was_divided():
    found, smooth = run(SMOOTH, STATIC), run(SMOOTH)
    assert torch.equal(divide_of(found.model, "3"), divide_of(smooth.model, "3"))
    assert scale_of(found.model, "3") == pytest.approx(float(fed(smooth.model, "3", X).max()) / 255, rel=1e-6)


def test_a_second_quantizer_takes_the_place_of_the_first():
    once, twice = run(STATIC.replace(bits=8)), run(STATIC.replace(bits=2), STATIC.replace(bits=8))
    assert torch.equal(once.model(X), twice.model(X))
    assert once.size().file < twice.size().file  # the longer recipe


def test_scales_must_come_before_fixed_levels():
    compressed = run(STATIC, SMOOTH)
    assert all("put this step before that one" in entry.reason for entry in compressed.steps[1].left_alone)
    assert transform(compressed.model, "3").divide is None
    assert transform(run(DYNAMIC, SMOOTH).model, "3").divide is not None
    quantized = run(Step("integer"), SMOOTH)
    assert all("quantized already" in entry.reason for entry in quantized.steps[1].left_alone)


def test_awq_codes_scaled_weights_and_divides_the_input():
    model = network()
    compressed = run(Step("awq", bits=8, group_size=8), model=model)
    codes = {entry.name: entry.code for entry in compressed.stored}
    assert all(codes[f"{path}.weight"] is not None for path in (0, 3, 5))
    with torch.no_grad():
        torch.testing.assert_close(compressed.model(X), model(X), rtol=0.1, atol=0.02)


def test_awq_errs_less_on_the_outputs_than_rounding_to_the_nearest():
    model = network()
    with torch.no_grad():
        model.get_parameter("0.weight")[0] *= 30  # so that few of the next layer's inputs are large
        given = fed(model, "3", X)
        expected = model[3](given)

        def error(step: Step) -> float:
            layer = run(step, model=model).model[3]  # type: ignore[index]
            return float((layer(given) - expected).square().sum(dim=1).mean())

        assert error(Step("awq", bits=3, group_size=8)) < error(
            Step("integer", bits=3, granularity="group", group_size=8)
        )


def test_gptq_after_smoothing_sees_what_the_layer_is_fed():
    model = network()
    both = run(SMOOTH, Step("gptq", bits=8), STATIC, model=model)
    with torch.no_grad():
        torch.testing.assert_close(both.model(X), model(X), rtol=0.1, atol=0.05)


# What is shown of it.


def test_the_explorers_frames_show_the_weights_in_terms_of_the_original():
    for recipe, most in ((Recipe([STATIC]), 0), (Recipe([SMOOTH]), 1e-13), (Recipe([Step("awq", bits=8)]), 1e-3)):
        bench = Bench(network(), Context(task=TASK))
        frame = bench.frame(bench.check(recipe), 8, bench.view(WHOLE_MODEL))
        assert all(entry.noise <= entry.signal * most for entry in frame.errors)
        assert sum(count for _, count in frame.breakdown) == frame.file


def test_reports_name_the_inputs_that_changed_and_why_weights_did_not():
    quantized, rounded = run(Step("integer"), STATIC).steps
    assert quantized.beside == ()
    assert rounded.beside == ("0.input", "3.input", "5.input")
    assert rounded.treated == ()
    assert {entry.reason for entry in rounded.left_alone} == {"its weights stay as they are: the step treats its input"}
    smooth, magnitude = run(SMOOTH, Step("magnitude", layers="5")).steps
    assert smooth.treated == ("0.weight", "3.weight", "5.weight")
    assert magnitude.treated == ("5.weight",)


def test_sizes_count_the_scales_and_no_weight_more():
    plain, rounded = run().size(), run(STATIC).size()
    bytes_of = {entry.name: entry.bytes() for entry in rounded.tensors}
    assert {name: count for name, count in bytes_of.items() if "transform" in name} == {
        f"{path}.input_transform.{part}": count
        for path in (0, 3, 5)
        for part, count in (("scale", 4), ("zero_point", 1))
    }
    assert {entry.name: entry.bytes() for entry in plain.tensors}.items() <= bytes_of.items()


class Mixed(nn.Module):
    """Layers whose input can be transformed and others."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.twice = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 10, bias=False)
        self.tied.weight = self.embedding.weight
        self.unused = nn.Linear(4, 4)
        self.last = nn.Linear(10, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        vectors = self.embedding(tokens.long())
        vectors = self.twice(self.twice(self.attention(vectors, vectors, vectors)[0]))
        outputs: Tensor = self.last(self.tied(vectors.mean(dim=1)))
        return outputs


def test_what_cannot_be_treated_is_refused_with_the_reason():
    tokens = torch.randint(0, 10, (20, 6), generator=torch.Generator().manual_seed(0)).float()
    data = Task(name="tokens", test=Split(tokens, torch.zeros(20)), train=Split(tokens, torch.zeros(20)))
    compressed = compress(Mixed().eval(), STATIC, data)
    reasons = {entry.name: entry.reason for entry in compressed.steps[0].left_alone}
    assert "shared by several layers" in reasons["embedding.weight"]
    assert "is MultiheadAttention" in reasons["attention.in_proj_weight"]
    assert "is NonDynamicallyQuantizableLinear" in reasons["attention.out_proj.weight"]
    assert reasons["unused.weight"] == "the network does not use it on the calibration samples"
    assert compressed.steps[0].beside == ("twice.input", "last.input")
    low, high = _extremes_of_two_calls(compressed.baseline, tokens)
    assert scale_of(compressed.model, "twice") == pytest.approx((high - low) / 255, rel=1e-5)


def _extremes_of_two_calls(model: nn.Module, tokens: Tensor) -> tuple[float, float]:
    seen: list[Tensor] = []
    handle = model.get_submodule("twice").register_forward_hook(lambda _l, given, _o: seen.append(given[0]))
    with torch.no_grad():
        model(tokens)
    handle.remove()
    assert len(seen) == 2
    return min(float(entry.min()) for entry in seen), max(float(entry.max()) for entry in seen)


class Shared(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.last = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.second(self.first(inputs).relu()))
        return outputs


@pytest.mark.parametrize("step", [STATIC, DYNAMIC, SMOOTH, Step("awq")], ids=lambda step: step.method)
def test_a_layer_under_two_names_is_treated_once_and_stored_once(step, tmp_path):
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    split = Split(inputs, torch.zeros(30, dtype=torch.int64))
    model = Shared().eval()
    compressed = compress(model, step, Task(name="shared", test=split, train=split))
    assert compressed.model.get_submodule("first") is compressed.model.get_submodule("second")
    loaded = load_into(compressed.save(tmp_path / "file"), model)
    assert torch.equal(loaded(inputs), compressed.model(inputs))
    assert loaded.get_submodule("first") is loaded.get_submodule("second")


def test_a_linear_layer_alone_can_be_treated(tmp_path):
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    split = Split(inputs, torch.zeros(30, dtype=torch.int64))
    model = nn.Linear(4, 3)
    compressed = compress(model, STATIC, Task(name="alone", test=split, train=split))
    assert torch.equal(load_into(compressed.save(tmp_path / "file"), model)(inputs), compressed.model(inputs))


# Copies, states, files.

RECIPES = {
    "static": (STATIC,),
    "symmetric": (STATIC.replace(scheme="symmetric", bits=4),),
    "dynamic": (DYNAMIC.replace(bits=3),),
    "smooth": (SMOOTH,),
    "all": (SMOOTH, Step("integer"), STATIC),
    "awq": (Step("awq"),),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_gives_the_same_network_bit_by_bit(name, tmp_path):
    model = network()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    compressed = run(*RECIPES[name], model=model)
    path = compressed.save(tmp_path / "file")
    assert Path(path).stat().st_size == compressed.size().file
    loaded = load_into(path, model)
    with torch.no_grad():
        assert torch.equal(loaded(X), compressed.model(X))
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in compressed.model.state_dict().items())
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in before.items())
    assert all(transform_of(layer) is None and not layer._forward_pre_hooks for layer in model.modules())


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "to": lambda module: copy.deepcopy(module).to("cpu", torch.float64).to(torch.float32),
    "pickle": lambda module: torch.load(_saved(module), weights_only=False),
}


def _saved(module: nn.Module) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("way", COPIES)
def test_copies_compute_the_same_and_share_nothing(way):
    compressed = run(SMOOTH, STATIC)
    copied = COPIES[way](compressed.model)
    with torch.no_grad():
        assert torch.equal(copied(X), compressed.model(X))
    present(transform(copied, "3").scale).mul_(50)
    with torch.no_grad():
        assert not torch.equal(copied(X), compressed.model(X))


def test_only_the_transforms_own_hook_stays():
    model = run(SMOOTH, STATIC, Step("gptq")).model
    for path, layer in model.named_modules():
        assert len(layer._forward_pre_hooks) == (path in ("0", "3", "5"))
        assert not layer._forward_hooks


def test_a_failure_while_calibrating_leaves_no_hook():
    model, stop = network(), RuntimeError("stop")

    def tell(text: str) -> None:
        if text.startswith("calibrating"):
            raise stop

    bench = Bench(model, Context(task=TASK, tell=tell))
    with pytest.raises(RuntimeError, match="stop"):
        bench.apply(bench.check(Recipe([STATIC])))
    assert not any(layer._forward_pre_hooks for layer in [*model.modules(), *bench.model.modules()])


def test_inputs_that_are_not_finite_are_named():
    model = network()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1e38)
    with pytest.raises(DataError, match=r"3\.weight is fed NaN or infinite"):
        run(STATIC, model=model)


def test_without_a_train_split_static_levels_are_refused_and_dynamic_ones_are_not():
    for step in (STATIC, SMOOTH, Step("awq")):
        with pytest.raises(CompressExplorerError, match="train"):
            compress(network(), step)
    assert compress(network(), DYNAMIC).steps[0].beside


def test_few_bits_for_the_input_cost_accuracy_and_eight_do_not():
    """On a real network: W8A8 within noise of the float network, W8A2 far below."""
    model, data = load("digits-mlp")

    def difference(bits: int) -> float:
        compressed = compress(model, Recipe([Step("integer"), STATIC.replace(bits=bits, scheme="symmetric")]), data)
        found = evaluate(compressed, data)
        assert found.difference is not None
        return found.difference

    assert abs(difference(8)) <= 0.006
    assert difference(2) < -0.1


# Edits in a file, and what other steps make of a transformed layer.


@pytest.mark.parametrize(
    "data",
    [
        ["transformed", "0", 2, 8, 1, 0],
        ["transformed", "0", 0, 9, 1, 0],
        ["transformed", "0", 0, -1, 1, 0],
        ["transformed", "0", 0, 8, 1],
        ["transformed", "0", 0, 8.0, 1, 0],
        ["transformed", "0", True, 8, 1, 0],
        ["transformed", 0, 0, 8, 1, 0],
    ],
    ids=str,
)
def test_an_edit_that_is_none_is_refused(data):
    with pytest.raises(FileFormatError, match="no edit of a network"):
        edit_from_json(data)


@pytest.mark.parametrize(("layer", "reason"), [("1", "is ReLU"), ("9", "is no layer"), ("", "is Sequential")])
def test_an_edit_of_another_layer_is_refused(layer, reason):
    with pytest.raises(ModelError, match=reason):
        apply_edits(network(), [Transformed(layer, 1, 8, 1, 0)])


def test_edits_survive_their_way_through_json():
    for edit in run(SMOOTH, STATIC.replace(scheme="symmetric")).edits:
        assert edit_from_json(edit_to_json(edit)) == edit


def test_layers_with_a_transform_are_not_factored_and_factors_can_have_one(tmp_path):
    svd = Step("svd", layers="3", by="rank", rank=0.4)
    both = run(STATIC, svd)
    assert "has hooks" in both.steps[1].left_alone[0].reason
    model = network()
    after = run(svd, STATIC, model=model)
    assert "3.1.input" in after.steps[1].beside
    assert torch.equal(load_into(after.save(tmp_path / "file"), model)(X), after.model(X))


def test_statistics_say_how_many_columns_see_a_channel_and_its_mean_magnitude():
    work = open_model(network())
    known = evidence(work, method("smoothquant"), work.inventory.sites, 60, Context(task=TASK))
    first, second = known["0.weight"], known["3.weight"]
    assert isinstance(first, InputStatistics)
    assert isinstance(second, InputStatistics)
    assert (first.window, second.window) == (9, 1)
    expected = fed(network(), "3", X).abs().double().mean(dim=0)
    torch.testing.assert_close(second.mean_magnitude, expected[None], rtol=1e-5, atol=1e-7)


def test_of_very_many_values_some_are_kept_and_the_ends_are_those_of_all():
    inputs = torch.randn(80, 5000, generator=torch.Generator().manual_seed(0))
    split = Split(inputs, torch.zeros(80, dtype=torch.int64))
    work = open_model(nn.Linear(5000, 2))
    context = Context(task=Task(name="wide", test=split, train=split))
    (found,) = input_values(work, "activations", work.inventory.sites, 80, context).values()
    assert isinstance(found, InputValues)
    assert MOST_VALUES / 2 < len(found.values) <= MOST_VALUES
    assert torch.equal(found.low, inputs[split.order].amin(dim=1))
    assert torch.equal(found.high, inputs[split.order].amax(dim=1))
    assert float(found.values.std()) == pytest.approx(1, abs=0.01)
