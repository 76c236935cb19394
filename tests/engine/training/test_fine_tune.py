"""Fine-tuning beside training loops written out by hand: zeros stay zeros, codes stay codes."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.context import Context
from compress_explorer.engine.file import load_into
from compress_explorer.engine.steps import apply_step
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.engine.workpiece import open_model
from compress_explorer.methods.catalogue import complete
from compress_explorer.methods.code import Code
from compress_explorer.spec.errors import DataError, TrainingError
from compress_explorer.spec.recipe import Recipe, Step
from tests.case import case
from tests.engine.modules import CASES, output_of
from tests.engine.tasks import network, samples
from tests.engine.test_purity import model_state

SPLIT = Split(*samples(300, seed=2))
TASK = Task(name="points", test=SPLIT, train=SPLIT)
TUNE = Step("fine-tune", epochs=2, batch_size=50, learning_rate=0.01)


def plain() -> nn.Sequential:
    """A network that draws nothing and has no batch normalization, so that a loop of a few lines can train it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 5)).eval()


def run(model: nn.Module, *steps: Step, task: Task = TASK) -> CompressedModel:
    return compress(model, Recipe(steps), task)


def by_hand(
    model: nn.Module,
    parameters: list[Tensor],
    values: Callable[[], dict[str, Tensor]],
    after: Callable[[], None] = lambda: None,
    optimiser: str = "adam",
) -> None:
    """Trains what `values` makes the model's weights of, in the order and at the rates of the plan of `TUNE`."""
    plan = Plan(epochs=2, batch_size=50, learning_rate=0.01)
    learner: torch.optim.Optimizer = (
        torch.optim.AdamW(parameters, weight_decay=0.0)
        if optimiser == "adam"
        else torch.optim.SGD(parameters, momentum=0.9, nesterov=True)
    )
    model.train()
    for step in range(12):
        chosen = plan.order(step // 6, 300)[50 * (step % 6) :][:50]
        learner.param_groups[0]["lr"] = plan.rate(step, 12)
        outputs = torch.func.functional_call(model, values(), SPLIT.inputs[chosen])
        learner.zero_grad()
        nn.functional.cross_entropy(outputs, SPLIT.targets[chosen]).backward()
        learner.step()
        after()


def test_pruned_weights_are_trained_as_a_loop_with_masks_trains_them():
    for optimiser in ("adam", "sgd"):
        with case(optimiser):
            pruned = run(plain(), Step("magnitude", sparsity=0.6))
            tuned = run(plain(), Step("magnitude", sparsity=0.6), TUNE.replace(optimiser=optimiser))
            model = copy.deepcopy(pruned.model)
            masks = {name: parameter != 0 for name, parameter in model.named_parameters() if parameter.ndim > 1}

            def masked(model: nn.Module = model, masks: dict[str, Tensor] = masks) -> dict[str, Tensor]:
                return {
                    name: parameter * masks[name] if name in masks else parameter
                    for name, parameter in model.named_parameters()
                }

            by_hand(model, list(model.parameters()), masked, optimiser=optimiser)
            for name, expected in masked().items():
                found = tuned.model.get_parameter(name)
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
                if name in masks:
                    assert torch.equal(found != 0, masks[name])
                assert not torch.equal(found, pruned.model.get_parameter(name))


def test_a_codebook_learns_the_sum_of_the_gradients_of_its_weights():
    steps = (Step("magnitude", sparsity=0.4), Step("k-means", clusters=4))
    shared, tuned = run(plain(), *steps), run(plain(), *steps, TUNE.replace(optimiser="sgd"))
    model = copy.deepcopy(shared.model)
    codes = {entry.name: entry for entry in shared.stored if entry.code is not None}
    books = {name: code_of(shared, name).codebook[0].clone() for name in codes}  # type: ignore[index]
    weights = {name: model.get_parameter(name) for name in codes}
    biases = [parameter for name, parameter in model.named_parameters() if name not in codes]
    plan = Plan(epochs=2, batch_size=50, learning_rate=0.01)
    speeds = {name: torch.zeros_like(book) for name, book in books.items()}
    learner = torch.optim.SGD(biases, lr=0.01, momentum=0.9, nesterov=True)
    for step in range(12):
        chosen = plan.order(step // 6, 300)[50 * (step % 6) :][:50]
        learner.param_groups[0]["lr"] = plan.rate(step, 12)
        model.zero_grad()
        nn.functional.cross_entropy(model(SPLIT.inputs[chosen]), SPLIT.targets[chosen]).backward()
        learner.step()
        for name, book in books.items():
            kept, indices, gradient = codes[name].kept, code_of(shared, name).codes, weights[name].grad
            assert kept is not None
            assert gradient is not None
            # Deep Compression, Eq. 3, entry by entry; then Nesterov's momentum.
            slope = torch.stack([gradient[kept & (indices == entry)].sum() for entry in range(4)])
            speeds[name] = 0.9 * speeds[name] + slope
            book -= plan.rate(step, 12) * (slope + 0.9 * speeds[name])
            with torch.no_grad():
                weights[name].copy_(torch.where(kept, book[indices.long()], 0.0))
    for name, book in books.items():
        code = code_of(tuned, name)
        assert code.codebook is not None
        torch.testing.assert_close(code.codebook[0], book, rtol=1e-4, atol=1e-6)
        assert torch.equal(code.codes, code_of(shared, name).codes)


def code_of(found: CompressedModel, name: str) -> Code:
    (entry,) = (entry for entry in found.stored if entry.name == name)
    assert entry.code is not None
    return entry.code


def table(found: Tensor | None) -> Tensor:
    assert found is not None
    return found


FORMS = {
    "pruned": (Step("magnitude", sparsity=0.7),),
    "shared": (Step("magnitude", sparsity=0.5), Step("k-means", clusters=4), Step("huffman")),
    "vectors": (Step("product-quantization", clusters=4, dimension=2),),
    "binary": (Step("magnitude", sparsity=0.3), Step("binary", bits=2)),
    "ternary": (Step("ternary", granularity="channel"),),
    "integer": (Step("integer", bits=3, scheme="affine", granularity="group", group_size=4), Step("rans")),
    "power of two": (Step("power-of-two", bits=3),),
    "8-bit scales": (Step("nvfp4"),),
    "factors": (Step("svd", energy=0.9),),
    "fewer channels": (Step("remove-filters", sparsity=0.5),),
    "inputs": (Step("activations", bits=4, samples=100),),
    "quantized then pruned": (Step("integer", bits=4), Step("magnitude", sparsity=0.5)),
}


def test_zeros_and_codes_of_every_form_stay_and_the_file_gives_back_what_was_trained(tmp_path):
    for name, steps in FORMS.items():
        with case(name):
            before, after = run(network(), *steps), run(network(), *steps, TUNE)
            pairs = list(zip(before.stored, after.stored, strict=True))
            for one, other in pairs:
                assert (one.kept is None) == (other.kept is None)
                if one.kept is not None and other.kept is not None:
                    assert torch.equal(one.kept, other.kept)
                    assert not other.values[~one.layout.from_matrix(one.kept)].any()
                if one.code is not None and other.code is not None:
                    assert torch.equal(one.code.codes, other.code.codes)
                    assert (one.code.grid, one.code.bits) == (other.code.grid, other.code.bits)
                    assert one.code.zero_point is None or torch.equal(one.code.zero_point, table(other.code.zero_point))
            changed = [one.name for one, other in pairs if not torch.equal(one.values, other.values)]
            assert any("bias" in entry for entry in changed)
            assert ("0.weight" in changed or "0.0.weight" in changed) == (name != "8-bit scales")
            assert after.steps[-1].zeros_kept == after.steps[-1].zeros_before
            assert not after.steps[-1].codes_lost
            assert not after.steps[-1].codes_replaced
            path = after.save(tmp_path / name.replace(" ", "-"))
            assert path.stat().st_size == after.size().file
            loaded = load_into(path, network())
            for key, tensor in after.model.state_dict().items():
                assert torch.equal(loaded.state_dict()[key], tensor)


def test_the_callers_model_and_random_state_stay_and_the_seed_repeats_it():
    model = network().train()
    before, random_state = model_state(model), torch.get_rng_state()
    first = run(model, Step("magnitude"), TUNE)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model_state(model) == before
    torch.manual_seed(17)
    again, other = run(model, Step("magnitude"), TUNE), run(model, Step("magnitude"), TUNE.replace(seed=1))
    same, different = (
        [torch.equal(a, b) for a, b in zip(first.model.state_dict().values(), found.model.state_dict().values())]  # noqa: B905
        for found in (again, other)
    )
    assert all(same)
    assert not all(different)


class Stop(Exception):  # noqa: N818 -- no error
    """What a listener raises that wants no more."""


def test_a_training_that_was_stopped_goes_on_where_it_was_and_ends_like_one_that_was_not():
    work = apply_step(open_model(network()), complete(Step("magnitude", sparsity=0.6)), Context(task=TASK))
    step = complete(TUNE)
    heard: list[str] = []
    whole = apply_step(work, step, Context(task=TASK, tell=heard.append))
    assert len(heard) == 12
    assert heard[6].startswith("fine-tune 58%: epoch 2 of 2, step 7 of 12, loss ")
    for stops in ([1], [5, 11], [12], list(range(1, 13))):
        told: list[str] = []

        def tell(text: str, told: list[str] = told, stops: list[int] = stops) -> None:
            told.append(text)
            if len(told) in stops:
                raise Stop

        for _ in stops:
            with pytest.raises(Stop):
                apply_step(work, step, Context(task=TASK, tell=tell))
        resumed = apply_step(work, step, Context(task=TASK, tell=tell))
        assert told == heard
        for name, tensor in whole.state.items():
            assert torch.equal(resumed.state[name], tensor), f"{name}, stopped after {stops}"
        assert not work.memo["trainings"]


def test_only_named_layers_are_trained():
    only = run(network(), Step("fine-tune", layers="4.*", epochs=1))
    before, after = network().state_dict(), only.model.state_dict()
    for name in before:
        # The normalization stands in no layer with weights: it is trained with whichever layers are named.
        assert torch.equal(before[name], after[name]) == name.startswith("0."), name
    frozen = network()
    frozen[0].requires_grad_(False)
    found = run(frozen, Step("fine-tune", epochs=1))
    assert torch.equal(found.model.get_parameter("0.weight"), frozen.get_parameter("0.weight"))
    (left,) = found.steps[-1].left_alone
    assert (left.name, left.reason) == ("0.weight", "it is frozen: its requires_grad is False")


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own, while training
def test_every_kind_of_layer_can_be_trained():
    for name, example in CASES.items():
        with case(name):
            module = Mean(example.module(), example.inputs)
            places = torch.arange(4)
            split = Split(places, torch.full((4,), 0.5))
            task = Task(name="mean", test=split, train=split)
            steps = (Step("magnitude", sparsity=0.5), Step("k-means", clusters=2))
            found, tuned = (run(module, *steps, *more, task=task) for more in ((), (TUNE.replace(batch_size=4),)))
            one, other = (output_of(entry.model, (places,)) for entry in (found, tuned))
            assert float((other - 0.5).abs().mean()) < float((one - 0.5).abs().mean())


class Mean(nn.Module):
    """The mean output of a module on a fixed input, once for each sample."""

    def __init__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.module, self.fixed = module, inputs

    def forward(self, places: Tensor) -> Tensor:
        outputs = self.module(*self.fixed)
        while not isinstance(outputs, Tensor):
            outputs = outputs[0]
        return outputs.square().mean().expand(len(places))


def test_what_cannot_be_trained_says_why_and_what_to_do():
    without = Task(name="no train", test=SPLIT)
    with pytest.raises(DataError, match=r"'fine-tune' looks at the train split.*Pass train=\(x, y\)"):
        run(network(), TUNE, task=without)
    with pytest.raises(DataError, match="there is no task"):
        compress(network(), TUNE)
    with pytest.raises(TrainingError, match="requires_grad_"):
        run(network().requires_grad_(False), TUNE)
    wrong = Task(name="strange", test=SPLIT, train=Split(SPLIT.inputs, torch.randn(300, 2)))
    with pytest.raises(DataError, match=r"Gradients need a loss.*loss=a callable"):
        run(network(), TUNE, task=wrong)
    labels = Task(name="labels", test=SPLIT, train=Split(SPLIT.inputs, SPLIT.targets + 3))
    with pytest.raises(DataError, match="out of range"):
        run(network(), TUNE, task=labels)
    with pytest.raises(DataError, match=r"batch of shape \(1, 8\).*more than one sample.*batch_size"):
        run(network(), TUNE.replace(batch_size=1))
    with pytest.raises(TrainingError, match=r"at step \d+ .*Lower learning_rate=100"):
        run(plain(), TUNE.replace(learning_rate=100.0, optimiser="sgd", epochs=50), task=steep())


def steep() -> Task:
    """A task whose squared error grows beyond all bounds at a high learning rate."""
    split = Split(SPLIT.inputs, nn.functional.one_hot(SPLIT.targets, 5).float())
    return Task(name="steep", test=split, train=split)


def test_a_loss_of_ones_own_is_the_one_that_is_made_small():
    def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().mean()

    split = Split(SPLIT.inputs, SPLIT.inputs[:, :5])
    task = Task(name="copy", test=split, train=split, metric=lambda o, t: -(o - t).abs().mean(1), loss=absolute)
    before, after = (
        absolute(run(plain(), *steps, task=task).model(split.inputs), split.targets)
        for steps in ((Step("magnitude", sparsity=0.2),), (Step("magnitude", sparsity=0.2), TUNE))
    )
    assert after.item() < 0.9 * before.item()
    with pytest.raises(DataError, match="must return one number"):
        run(plain(), TUNE, task=replace(task, loss=lambda o, t: o - t))
    with pytest.raises(TrainingError, match="became nan at step 1 "):
        run(plain(), TUNE, task=replace(task, loss=lambda o, t: (o - t).sum() * torch.nan))
