"""Pruning by inputs and by gradients: against plain loops, least squares, autograd and torch.func."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, vmap
from torch.nn import functional

from compress_explorer.methods import fisher, magnitude, magnitude_global, sparsegpt, taylor, wanda
from compress_explorer.methods.evidence import GradientStatistics, InputStatistics
from tests.case import case
from tests.methods.cases import (
    WEIGHTS,
    all_kept,
    gradient_statistics_of,
    gradients_like,
    half_kept,
    inputs_like,
    normal,
    output_error,
    statistics_of,
)

SPARSITIES = [0.0, 0.1, 0.5, 0.77, 1.0]
# torch.func loads torch's decompositions, which still call torch.jit.script.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

sparsities = pytest.mark.parametrize("sparsity", SPARSITIES)
structures = pytest.mark.parametrize(("structure", "keep", "size"), [("2:4", 2, 4), ("4:8", 4, 8)])


def with_window(inputs: Tensor, window: int) -> InputStatistics:
    """Statistics of the inputs of a convolution with a kernel of so many places."""
    return replace(statistics_of(inputs), window=window)


# Wanda.


def by_rows(weight: Tensor, inputs: Tensor, drop: int, size: int) -> Tensor:
    """Drops, of every `size` neighbours in a row, the `drop` with the smallest |w|·‖x‖: one weight at a time."""
    mask = torch.ones_like(weight, dtype=torch.bool)
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], size):
            columns = range(start, min(start + size, weight.shape[1]))
            scores = {column: abs(float(weight[row, column])) * float(inputs[:, column].norm()) for column in columns}
            for column in sorted(columns, key=lambda column: scores[column])[: max(drop - (size - len(columns)), 0)]:
                mask[row, column] = False
    return mask


@sparsities
@pytest.mark.parametrize("shape", [(1, 1), (5, 37), (12, 16)], ids=str)
def test_wanda_ranks_within_each_row(shape, sparsity):
    weight, inputs = normal(*shape), inputs_like(shape[1])
    mask = wanda.apply(weight, all_kept(weight), statistics_of(inputs), sparsity=sparsity)
    assert torch.equal(mask, by_rows(weight, inputs[0], round(sparsity * shape[1]), shape[1]))


@structures
@pytest.mark.parametrize("width", [3, 8, 21])
def test_wanda_keeps_n_of_m_neighbours(width, structure, keep, size):
    weight, inputs = normal(6, width), inputs_like(width)
    mask = wanda.apply(weight, all_kept(weight), statistics_of(inputs), structure=structure)
    assert torch.equal(mask, by_rows(weight, inputs[0], size - keep, size))


@structures
def test_wanda_keeps_n_of_m_input_channels_at_each_place_of_a_kernel(structure, keep, size):
    weight, inputs = normal(6, 10 * 9), inputs_like(10 * 9)
    mask = wanda.apply(weight, all_kept(weight), with_window(inputs, 9), structure=structure)
    for place in range(9):
        columns = slice(place, None, 9)
        expected = by_rows(weight[:, columns], inputs[0][:, columns], size - keep, size)
        assert torch.equal(mask[:, columns], expected)


def test_wanda_is_magnitude_pruning_of_each_row_where_all_inputs_are_as_large():
    for name, weight in WEIGHTS.items():
        with case(name):
            inputs = torch.ones(1, 4, weight.shape[1], dtype=torch.float64)
            mask = wanda.apply(weight, all_kept(weight), statistics_of(inputs), sparsity=0.5)
            rows = [magnitude.apply(row[None], all_kept(row[None]), sparsity=0.5) for row in weight]
            assert torch.equal(mask, torch.cat(rows))


def test_wanda_by_hand():
    weight, inputs = torch.tensor([[1.0, -2.0, 3.0, 0.5]]), torch.tensor([[[3.0, 1.0, 0.0, 8.0], [4.0, 1.0, 0.0, 6.0]]])
    mask = wanda.apply(weight, all_kept(weight), statistics_of(inputs.double()))  # scores 5, 2.83, 0, 5
    assert mask.tolist() == [[True, False, False, True]]


@sparsities
def test_wanda_what_was_pruned_counts_in_its_row(sparsity):
    weight, kept = half_kept(normal(9, 21))
    mask = wanda.apply(weight, kept, statistics_of(inputs_like(21)), sparsity=sparsity)
    assert not (mask & ~kept).any()
    expected = (~kept).sum(dim=1).clamp(min=round(sparsity * 21))
    assert torch.equal((~mask).sum(dim=1), expected)


def test_wanda_groups_see_inputs_of_their_own():
    weight, inputs = normal(6, 9), inputs_like(9, groups=3) * torch.rand(3, 1, 9)
    mask = wanda.apply(weight, all_kept(weight), statistics_of(inputs))
    parts = [by_rows(rows, inputs[group], 4, 9) for group, rows in enumerate(weight.split(2))]
    assert torch.equal(mask, torch.cat(parts))


# SparseGPT.


def obs_in_order(weight: Tensor, mask: Tensor, moment: np.ndarray, damping: float = 0.01) -> Tensor:
    """Removes what the mask drops, column by column, with the inverse over the columns left computed each time."""
    matrix = moment + damping * np.diag(moment).mean() * np.eye(len(moment))
    values = weight.double().numpy().copy()
    for column in range(len(matrix)):
        inverse = np.linalg.inv(matrix[column:, column:])
        gone = np.where(mask[:, column].numpy(), 0.0, values[:, column])
        values[:, column:] -= (gone / inverse[0, 0])[:, None] * inverse[0]
        values[:, column] = np.where(mask[:, column].numpy(), values[:, column], 0.0)
    return torch.from_numpy(values)


@sparsities
@pytest.mark.parametrize("block_size", [1, 3, 128])
def test_sparsegpt_moves_what_is_left_as_explicit_inverses_do(block_size, sparsity):
    weight, statistics = normal(6, 8), statistics_of(inputs_like(8))
    found = sparsegpt.apply(weight, all_kept(weight), statistics, sparsity=sparsity, block_size=block_size)
    expected = obs_in_order(weight, found.kept, statistics.moment[0].numpy())
    torch.testing.assert_close(found.matrix.double(), expected, rtol=1e-5, atol=1e-6)


def test_sparsegpt_drops_the_smallest_losses_of_a_block():
    weight, statistics = normal(6, 8), statistics_of(inputs_like(8))
    moment = statistics.moment[0].numpy()
    damped = moment + 0.01 * np.diag(moment).mean() * np.eye(8)
    losses = weight.double().square().numpy() / [np.linalg.inv(damped[column:, column:])[0, 0] for column in range(8)]
    found = sparsegpt.apply(weight, all_kept(weight), statistics, sparsity=0.5)
    assert losses[~found.kept.numpy()].max() < losses[found.kept.numpy()].min()
    assert int(found.kept.sum()) == 24


def test_sparsegpt_is_least_squares_where_the_columns_behind_the_dropped_ones_are_free():
    """Damping is a ridge: λ mean(diag) more rows of inputs, one a feature, for which the old output is wanted too."""
    weight, inputs = normal(5, 8), inputs_like(8)[0].numpy()
    weight[:, :3] *= 1e-3  # so that these go
    statistics = statistics_of(torch.from_numpy(inputs)[None])
    found = sparsegpt.apply(weight, all_kept(weight), statistics, sparsity=3 / 8)
    assert torch.equal(found.kept, torch.arange(8).expand(5, 8) >= 3)
    ridge = np.sqrt(0.01 * np.diag(statistics.moment[0].numpy()).mean() * len(inputs)) * np.eye(8)
    rows = np.concatenate([inputs, ridge])
    solution = np.linalg.lstsq(rows[:, 3:], rows @ weight.double().numpy().T, rcond=None)[0].T
    np.testing.assert_allclose(found.matrix[:, 3:].numpy(), solution, rtol=1e-5, atol=1e-6)


@sparsities
def test_sparsegpt_zeros_are_exact_whatever_was_pruned_before(sparsity):
    weight, kept = half_kept(normal(9, 300))
    kept[:, 250:] = False
    weight = torch.where(kept, weight, 0.0)
    statistics = statistics_of(inputs_like(300, vectors=400))
    for start, before in ((weight, kept), (normal(9, 300), all_kept(weight))):
        found = sparsegpt.apply(start, before, statistics, sparsity=sparsity)
        assert not (found.kept & ~before).any()
        assert int((~found.kept).sum()) == max(round(sparsity * 2700), int((~before).sum()))


@structures
def test_sparsegpt_keeps_n_of_m_neighbours(structure, keep, size):
    weight, statistics = normal(6, 24), statistics_of(inputs_like(24))
    found = sparsegpt.apply(weight, all_kept(weight), statistics, structure=structure)
    assert (found.kept.reshape(6, -1, size).sum(dim=2) == keep).all()
    expected = obs_in_order(weight, found.kept, statistics.moment[0].numpy())
    torch.testing.assert_close(found.matrix.double(), expected, rtol=1e-5, atol=1e-6)


@structures
def test_sparsegpt_keeps_n_of_m_input_channels_at_each_place_of_a_kernel(structure, keep, size):
    """Of 10 channels the last two make a shorter block. Explicit inverses, in the order place by place."""
    inputs, weight = inputs_like(10 * 4, vectors=200), normal(6, 10 * 4)
    found = sparsegpt.apply(weight, all_kept(weight), with_window(inputs, 4), structure=structure)
    by_place = found.kept.reshape(6, 10, 4)
    for start in range(0, 10, size):
        block = by_place[:, start : start + size]
        assert (block.sum(dim=1) == min(keep, block.shape[1])).all()
    order = torch.tensor([4 * channel + place for place in range(4) for channel in range(10)])
    moment = statistics_of(inputs).moment[0][order][:, order].numpy()
    expected = obs_in_order(weight[:, order], found.kept[:, order], moment)
    torch.testing.assert_close(found.matrix[:, order].double(), expected, rtol=1e-5, atol=1e-6)


@structures
def test_sparsegpt_chooses_in_the_permuted_weight_as_if_it_were_a_linear_layers(structure, keep, size):
    inputs, weight = inputs_like(8 * 4, vectors=200), normal(6, 8 * 4)
    order = torch.tensor([4 * channel + place for place in range(4) for channel in range(8)])
    found = sparsegpt.apply(weight, all_kept(weight), with_window(inputs, 4), structure=structure)
    linear = sparsegpt.apply(
        weight[:, order], all_kept(weight), statistics_of(inputs[:, :, order]), structure=structure
    )
    assert torch.equal(found.kept[:, order], linear.kept)
    assert int(linear.kept.sum()) == 6 * 32 * keep // size


def test_sparsegpt_changes_the_output_less_than_the_mask_alone_and_than_magnitude_pruning():
    weight, statistics = normal(16, 64), statistics_of(inputs_like(64, vectors=200))
    found = sparsegpt.apply(weight, all_kept(weight), statistics)
    error = output_error(weight, found.matrix, statistics)
    assert error < 0.75 * output_error(weight, torch.where(found.kept, weight, 0.0), statistics)
    by_magnitude = torch.where(magnitude.apply(weight, all_kept(weight)), weight, 0.0)
    assert error < 0.95 * output_error(weight, by_magnitude, statistics)


def test_sparsegpt_drops_weights_of_dead_features_first_and_else_leaves_them():
    weight, inputs = normal(6, 20), inputs_like(20)
    inputs[:, :, [0, 7]] = 0
    most = sparsegpt.apply(weight, all_kept(weight), statistics_of(inputs), sparsity=0.1)
    assert torch.equal(most.kept, ~torch.isin(torch.arange(20), torch.tensor([0, 7])).expand(6, 20))
    torch.testing.assert_close(most.matrix[most.kept], weight[most.kept])
    none = sparsegpt.apply(weight, all_kept(weight), statistics_of(inputs), sparsity=0.0)
    assert torch.equal(none.matrix, weight)


# Gradients.


def tiny() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False))


NAMES = ("0.weight", "2.weight")
INPUTS, LABELS = normal(30, 4), torch.arange(30) % 3
NETWORK = tiny()
PARAMETERS = {name: tensor.detach() for name, tensor in NETWORK.named_parameters()}


def loss(parameters: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(functional_call(NETWORK, parameters, (inputs,)), labels)


def known() -> list[GradientStatistics]:
    each = vmap(grad(lambda values, x, y: loss(values, x[None], y[None])), in_dims=(None, 0, 0))(
        PARAMETERS, INPUTS, LABELS
    )
    return [gradient_statistics_of(each[name]) for name in NAMES]


def lowest(saliencies: list[Tensor], zeros: int) -> list[Tensor]:
    """Masks without the `zeros` smallest of all."""
    flat = torch.cat([entry.flatten() for entry in saliencies])
    threshold = flat.sort().values[zeros - 1] if zeros else -1
    return [entry > threshold for entry in saliencies]


@sparsities
def test_taylor_ranks_by_the_derivative_by_a_factor_before_each_weight(sparsity):
    """SNIP's connection sensitivity, by autograd: the gradient with respect to a mask of ones."""

    def masked(factors: dict[str, Tensor]) -> Tensor:
        return loss({name: PARAMETERS[name] * factors[name] for name in NAMES}, INPUTS, LABELS)

    sensitivity = grad(masked)({name: torch.ones_like(PARAMETERS[name]) for name in NAMES})
    weights = [PARAMETERS[name] for name in NAMES]
    masks = taylor.apply(weights, [all_kept(weight) for weight in weights], known(), sparsity=sparsity)
    expected = lowest([sensitivity[name].abs() for name in NAMES], round(sparsity * 35))
    assert all(torch.equal(mask, other) for mask, other in zip(masks, expected, strict=True))


def test_taylor_is_what_removing_a_small_part_of_a_weight_does_to_the_loss():
    weights = [PARAMETERS[name] for name in NAMES]
    before = loss({name: value.double() for name, value in PARAMETERS.items()}, INPUTS.double(), LABELS)
    effects = []
    for name in NAMES:
        effect = torch.empty_like(PARAMETERS[name])
        for place in range(effect.numel()):
            less = {key: value.double().clone() for key, value in PARAMETERS.items()}
            less[name].flatten()[place] *= 1 - 1e-5
            effect.view(-1)[place] = (loss(less, INPUTS.double(), LABELS) - before).abs()
        effects.append(effect)
    masks = taylor.apply(weights, [all_kept(weight) for weight in weights], known(), sparsity=0.4)
    assert all(torch.equal(mask, other) for mask, other in zip(masks, lowest(effects, 14), strict=True))


def test_fisher_is_the_exact_second_derivative_where_labels_are_drawn_from_the_model():
    """One layer and softmax: the mean of squared gradients over the model's own labels is the Hessian's diagonal."""
    weight = normal(3, 4)

    def nats(values: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy((values @ x)[None], label[None])

    squares, second = torch.zeros(3, 4), torch.zeros(3, 4)
    for x in INPUTS:
        for label, share in enumerate(functional.softmax(weight @ x, dim=0)):
            squares += share * grad(nats)(weight, x, torch.tensor(label)).square() / len(INPUTS)
        curvature = hessian(nats)(weight, x, torch.tensor(0)).reshape(12, 12)
        second += curvature.diagonal().reshape(3, 4) / len(INPUTS)
    torch.testing.assert_close(squares, second)
    statistics = GradientStatistics(mean=squares, mean_square=squares, samples=30)
    (mask,) = fisher.apply([weight], [all_kept(weight)], [statistics], sparsity=0.5)
    assert torch.equal(mask, lowest([second * weight.square() / 2], 6)[0])


@sparsities
def test_fisher_drops_the_weights_that_add_least_to_a_quadratic_loss(sparsity):
    """At the minimum of ½ Σ h (w - w*)², each weight's removal is tried."""
    weights = [normal(3, 5), normal(2, 4, seed=1)]
    curvatures = [normal(3, 5, seed=2).square(), normal(2, 4, seed=3).square()]
    statistics = [GradientStatistics(mean=entry * 0, mean_square=entry, samples=1) for entry in curvatures]
    added = []
    for weight, curvature in zip(weights, curvatures, strict=True):
        rise = torch.empty_like(weight)
        for place in range(weight.numel()):
            without = weight.clone()
            without.view(-1)[place] = 0
            rise.view(-1)[place] = (curvature * (without - weight).square()).sum() / 2
        added.append(rise)
    masks = fisher.apply(weights, [all_kept(weight) for weight in weights], statistics, sparsity=sparsity)
    expected = lowest(added, round(Fraction(sparsity) * 23))
    assert all(torch.equal(mask, other) for mask, other in zip(masks, expected, strict=True))


BY_GRADIENT = pytest.mark.parametrize("method", [taylor, fisher], ids=["taylor", "fisher"])


@BY_GRADIENT
@sparsities
def test_with_equal_gradients_they_are_magnitude_pruning(sparsity, method):
    weights = [normal(8, 31), 0.1 * normal(20, 5, seed=1)]
    kept = [all_kept(weights[0]), half_kept(weights[1])[1]]
    statistics = [
        GradientStatistics(mean=torch.ones_like(w), mean_square=torch.ones_like(w), samples=1) for w in weights
    ]
    masks = method.apply(weights, kept, statistics, sparsity=sparsity)
    for mask, other in zip(masks, magnitude_global.apply(weights, kept, sparsity=sparsity), strict=True):
        assert torch.equal(mask, other)
    masks = method.apply(weights, kept, statistics, sparsity=sparsity, ranking="layer")
    for mask, weight, before in zip(masks, weights, kept, strict=True):
        assert torch.equal(mask, magnitude.apply(weight, before, sparsity=sparsity))


@BY_GRADIENT
@pytest.mark.parametrize("ranking", ["global", "layer"])
def test_zero_gradients_are_ties_and_counts_stay_exact(ranking, method):
    weights = [WEIGHTS["zeros"], WEIGHTS["subnormal"], WEIGHTS["huge"]]
    statistics = [gradient_statistics_of(gradients_like(weight) * 0) for weight in weights]
    masks = method.apply(weights, [all_kept(w) for w in weights], statistics, sparsity=0.5, ranking=ranking)
    assert sum(int((~mask).sum()) for mask in masks) == 112
