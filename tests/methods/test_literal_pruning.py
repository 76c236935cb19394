"""The article's pruning formulas, as written: what they do and what is wrong with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.stats import binom, kstest
from torch import Tensor

from compress_explorer.methods import diagonal_literal, magnitude, random, random_literal
from compress_explorer.methods.catalogue import METHODS
from tests.case import case
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal


def kept_at(seed: int, weight: Tensor) -> int:
    return int(random_literal.apply(weight, all_kept(weight), seed=seed).sum())


# rand > 0.5


def test_the_count_is_that_of_as_many_tosses_of_a_coin():
    """Of 100,000 weights, the standard deviation is 158: nearly no seed keeps half of them."""
    weight = torch.ones(1000, 100)
    counts = np.array([kept_at(seed, weight) for seed in range(200)])
    assert kstest((counts - 50_000) / 25_000**0.5, "norm").pvalue > 0.001
    assert len(set(counts.tolist())) > 100
    assert binom.ppf(1e-6, 100_000, 0.5) <= counts.min() < counts.max() <= binom.isf(1e-6, 100_000, 0.5)
    exact = {int(random.apply(weight, all_kept(weight), sparsity=0.5, seed=seed).sum()) for seed in range(5)}
    assert exact == {50_000}


def test_each_weight_is_as_likely_kept_as_any_other():
    weight = torch.ones(3, 5)
    often = sum(random_literal.apply(weight, all_kept(weight), seed=seed).int() for seed in range(2000))
    assert isinstance(often, Tensor)
    assert binom.ppf(1e-5, 2000, 0.5) <= int(often.min())
    assert int(often.max()) <= binom.isf(1e-5, 2000, 0.5)


def test_the_seed_is_the_only_setting():
    assert [parameter.name for parameter in random_literal.METHOD.parameters] == ["seed"]
    one, other = normal(20, 30), normal(20, 30, seed=9)
    masks = [random_literal.apply(weight, all_kept(weight), seed=4) for weight in (one, other)]
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], random_literal.apply(one, all_kept(one), seed=5))


def test_what_is_taken_away_is_the_rest():
    """W - W_del with W_del = (1 - M) * W, as the article writes it."""
    weight = normal(30, 40)
    mask = random_literal.apply(weight, all_kept(weight))
    assert torch.equal(weight - torch.where(mask, 0.0, weight), torch.where(mask, weight, 0.0))


# csr_matrix(W).setdiag(0)


def by_scipy(weight: Tensor, offset: int) -> np.ndarray:
    sparse = csr_matrix(weight.numpy())
    sparse.setdiag(0, k=offset)
    return sparse.toarray()


@pytest.mark.parametrize("offset", [-8, -3, -1, 0, 1, 2, 7])
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_zeroes_the_same_weights_as_scipy(offset):
    for name, weight in WEIGHTS.items():
        with case(name):
            mask = diagonal_literal.apply(weight, all_kept(weight), offset=offset)
            channels, columns = weight.shape
            if -channels < offset < columns:
                np.testing.assert_array_equal(torch.where(mask, weight, 0.0).numpy(), by_scipy(weight, offset))
                assert int((~mask).sum()) == len(np.diagonal(weight.numpy(), offset))
            else:
                with pytest.raises(ValueError, match="k exceeds"):
                    by_scipy(weight, offset)
                assert mask.all()


@given(weight=matrices(), offset=st.integers(-30, 30))
def test_drops_one_diagonal_and_nothing_else(weight, offset):
    mask = diagonal_literal.apply(weight, all_kept(weight), offset=offset)
    np.testing.assert_array_equal(~mask.numpy(), np.eye(weight.shape[0], weight.shape[1], k=offset) == 1)


def test_it_is_a_thousandth_and_stored_it_is_larger():
    """Of 1000 × 100 weights in float64, as numpy makes them."""
    weight = np.random.default_rng(0).normal(size=(1000, 100))
    sparse = csr_matrix(weight)
    sparse.setdiag(0)
    assert weight.nbytes == 800_000
    assert sparse.nnz == 100_000
    assert sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes == 1_204_004
    sparse.eliminate_zeros()
    assert sparse.nnz == 99_900
    tensor = torch.from_numpy(weight).float()
    assert int(diagonal_literal.apply(tensor, all_kept(tensor)).sum()) == sparse.nnz


def test_it_drops_the_large_with_the_small():
    """The same number of zeros by magnitude takes away far less."""
    weight = normal(300, 300)
    by_place = diagonal_literal.apply(weight, all_kept(weight))
    by_value = magnitude.apply(weight, all_kept(weight), sparsity=300 / weight.numel())
    assert int((~by_place).sum()) == int((~by_value).sum()) == 300
    lost = [float(weight[~mask].square().sum()) for mask in (by_place, by_value)]
    assert lost[0] > 1000 * lost[1]


# Both.


@pytest.mark.parametrize("apply", [random_literal.apply, diagonal_literal.apply], ids=["random", "diagonal"])
def test_pruned_weights_stay_pruned(apply):
    weight, kept = half_kept(normal(9, 21))
    assert torch.equal(apply(weight, kept), apply(weight, all_kept(weight)) & kept)


@pytest.mark.parametrize("method", [random_literal.METHOD, diagonal_literal.METHOD], ids=lambda method: method.name)
def test_the_summary_says_that_it_is_wrong_and_names_the_proper_method(method):
    assert method.family == "As written (article)"
    assert "Wrong" in method.summary
    proper = [entry for entry in METHODS if f"“{entry.name}”" in method.summary]
    assert [entry.family for entry in proper] == ["Pruning"]
