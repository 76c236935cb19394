"""Low rank: the factors against scipy's SVD and tensorly's Tucker decomposition, and by the errors they must have."""

import numpy as np
import pytest
import scipy.linalg
import tensorly
import tensorly.decomposition
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.methods import activation_svd, svd, tucker
from compress_explorer.methods.evidence import InputStatistics
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, matrices, normal

SHAPES = [(7, 12), (12, 7), (9, 9), (1, 5), (6, 3, 3, 3), (8, 4, 5)]


def statistics(inputs: torch.Tensor) -> InputStatistics:
    values = inputs.double()
    return InputStatistics(
        moment=(values.T @ values / len(values))[None],
        mean=values.mean(dim=0)[None],
        peak=inputs.abs().amax(dim=0)[None],
        vectors=len(inputs),
        samples=len(inputs),
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rank", [0.0, 0.3, 0.5, 1.0])
def test_svd_is_the_truncated_decomposition_of_scipy(shape, rank):
    weight = normal(*shape)
    factors = svd.apply(weight, all_kept(weight), by="rank", rank=rank)
    left, singular, right = scipy.linalg.svd(weight.flatten(1).double().numpy(), full_matrices=False)
    kept = max(1, round(rank * len(singular)))
    assert (factors.left.shape[1], factors.right.shape[0]) == (kept, kept)
    expected = (left[:, :kept] * singular[:kept]) @ right[:kept]
    assert np.abs(factors.dense().numpy() - expected).max() < 1e-5
    error = (weight.flatten(1) - factors.dense()).double().square().sum()
    assert float(error) == pytest.approx((singular[kept:] ** 2).sum(), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("energy", [0.0, 0.3, 0.8, 0.99, 1.0])
def test_the_rank_is_the_lowest_that_keeps_the_energy(energy):
    weight = normal(20, 15)
    singular = scipy.linalg.svd(weight.double().numpy(), compute_uv=False)
    kept = [(singular[:rank] ** 2).sum() / (singular**2).sum() for rank in range(1, 16)]
    expected = next(rank for rank, share in enumerate(kept, start=1) if share >= energy - 1e-12)
    assert svd.apply(weight, all_kept(weight), by="energy", energy=energy).left.shape[1] == expected


def test_a_matrix_of_low_rank_needs_no_more():
    weight = normal(20, 3) @ normal(3, 15, seed=1)
    factors = svd.apply(weight, all_kept(weight), by="energy", energy=0.99999)
    assert factors.left.shape[1] == 3
    assert torch.allclose(factors.dense(), weight, atol=1e-5)


@given(weight=matrices(largest=1e3), ranks=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_more_rank_is_never_worse_and_the_full_rank_is_exact(weight, ranks):
    few, many, full = (
        (weight - svd.apply(weight, all_kept(weight), by="rank", rank=rank).dense()).double().norm()
        for rank in (*sorted(ranks), 1.0)
    )
    size = 1e-5 * float(weight.double().norm())
    assert float(many) <= float(few) + size
    assert float(full) <= size


def test_both_factors_are_of_like_magnitude():
    weight = normal(30, 20) * 1e4
    factors = svd.apply(weight, all_kept(weight))
    assert torch.allclose(factors.left.norm(dim=0), factors.right.norm(dim=1), rtol=1e-4)


@pytest.mark.parametrize("rank", [0.2, 0.5, 0.8])
def test_activation_svd_errs_by_the_tail_and_less_than_svd(rank):
    inputs = normal(200, 12, seed=2) @ torch.diag(torch.linspace(0.05, 3, 12)) + 0.3
    weight = normal(9, 12)
    known = statistics(inputs)
    damping = 1e-4
    factors = activation_svd.apply(weight, all_kept(weight), known, by="rank", rank=rank, damping=damping)
    moment = known.moment[0].numpy()
    damped = moment + damping * moment.diagonal().mean() * np.eye(12)

    def error(approximation: torch.Tensor) -> float:
        difference = (weight - approximation).double().numpy()
        return float(np.trace(difference @ damped @ difference.T))

    # An independent root of the moment, the symmetric one: singular values of W C^(1/2) are those of W L.
    singular = scipy.linalg.svd(weight.double().numpy() @ scipy.linalg.sqrtm(damped), compute_uv=False)
    kept = factors.left.shape[1]
    assert kept == round(rank * 9)
    assert error(factors.dense()) == pytest.approx((singular[kept:] ** 2).sum(), rel=1e-4)
    assert error(factors.dense()) < error(svd.apply(weight, all_kept(weight), by="rank", rank=rank).dense())
    measured = float((inputs @ (weight - factors.dense()).T).double().square().sum(dim=1).mean())
    assert measured <= error(factors.dense())


def test_activation_svd_is_svd_where_inputs_are_white_or_never_seen():
    weight = normal(9, 6)
    plain = svd.apply(weight, all_kept(weight), by="rank", rank=0.5).dense()
    for moment in (torch.eye(6), torch.zeros(6, 6)):
        known = InputStatistics(
            moment=moment.double()[None], mean=torch.zeros(1, 6).double(), peak=torch.ones(1, 6), vectors=1, samples=1
        )
        factors = activation_svd.apply(weight, all_kept(weight), known, by="rank", rank=0.5)
        assert torch.allclose(factors.dense(), plain, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (5, 9, 1, 1), (6, 4, 5), (4, 4, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("rank", [0.0, 0.4, 0.7, 1.0])
def test_tucker_is_as_good_as_tensorly(shape, rank):
    weight = normal(*shape)
    factors = tucker.apply(weight, all_kept(weight), rank=rank)
    ranks = list(factors.core.shape[:2])
    assert factors.core.shape[2:] == weight.shape[2:]
    array = weight.double().numpy()
    (core, parts), _ = tensorly.decomposition.partial_tucker(
        tensorly.tensor(array), rank=ranks, modes=[0, 1], n_iter_max=200, tol=1e-12, init="svd"
    )
    theirs = np.linalg.norm(array - tensorly.tenalg.multi_mode_dot(core, parts, modes=[0, 1]))
    ours = np.linalg.norm(array - factors.dense().double().numpy())
    assert ours <= theirs * 1.02 + 1e-5
    if rank == 1.0:
        assert ours < 1e-4


def test_tucker_of_a_matrix_is_its_svd():
    """A convolution of kernel 1: both ranks count, and the smaller decides."""
    for name, weight in WEIGHTS.items():
        with case(name):
            factors = tucker.apply(weight, all_kept(weight), rank=0.5)
            kept = min(factors.core.shape[:2])
            singular = scipy.linalg.svd(weight.double().numpy(), compute_uv=False)
            error = (weight.double() - factors.dense().double()).norm()
            scale = float(weight.double().norm())
            assert float(error) == pytest.approx(
                float(np.sqrt((singular[kept:] ** 2).sum())), rel=1e-3, abs=1e-5 * scale + 1e-38
            )
