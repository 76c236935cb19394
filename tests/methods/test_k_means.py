"""Weight sharing against the exact optimum of kmeans1d and scikit-learn's Lloyd algorithm."""

import itertools
import warnings

import kmeans1d
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from compress_explorer.methods.clusters import SortedNumbers, density_centroids, linear_centroids, random_centroids
from compress_explorer.methods.code import Code
from compress_explorer.methods.k_means import apply
from compress_explorer.methods.optimal_clusters import optimal_centroids
from compress_explorer.methods.weight_index import WeightIndex
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present

STARTS = ["linear", "density", "random", "optimal"]
every_start = pytest.mark.parametrize("start", STARTS)


def quantize(weight: Tensor, **values: object) -> Code:
    return apply(weight, all_kept(weight), **values)  # type: ignore[arg-type]


def squared_error(weight: Tensor, code: Code) -> float:
    return float((weight.double() - code.decode().double()).square().sum())


def least_error(weight: Tensor, clusters: int) -> float:
    values = weight.double().numpy().ravel()
    places, centroids = kmeans1d.cluster(values, clusters)
    return float(np.square(values - np.array(centroids)[places]).sum())


@pytest.mark.parametrize("clusters", [2, 3, 16, 64])
@pytest.mark.parametrize("name", [name for name in WEIGHTS if name not in ("tiny", "huge", "subnormal")])
def test_the_optimum_is_that_of_kmeans1d(name, clusters):
    weight = WEIGHTS[name]
    least = least_error(weight, min(clusters, weight.unique().numel()))
    rounding = 1e-13 * float(weight.double().square().sum())
    error = squared_error(weight, quantize(weight, clusters=clusters, start="optimal"))
    assert error == pytest.approx(least, rel=1e-6, abs=rounding)


@given(weight=matrices(largest=1e3), clusters=st.integers(2, 20))
def test_the_optimum_of_arbitrary_matrices(weight, clusters):
    least = least_error(weight, min(clusters, weight.unique().numel()))
    error = squared_error(weight, quantize(weight, clusters=clusters, start="optimal"))
    assert error <= least * (1 + 1e-6) + 1e-12 * float(weight.double().square().sum())


@pytest.mark.parametrize("clusters", [4, 16, 64])
def test_of_many_weights_the_optimum_is_met_to_a_thousandth(clusters):
    for weight in (normal(100, 200), normal(100, 200).pow(3), torch.rand(100, 200)):
        error = squared_error(weight, quantize(weight, clusters=clusters, start="optimal"))
        assert error <= least_error(weight, clusters) * 1.001


BEGIN = {
    "linear": linear_centroids,
    "density": density_centroids,
    "random": lambda numbers, clusters: random_centroids(numbers, clusters, 0),
}


@pytest.mark.parametrize("start", BEGIN)
@pytest.mark.parametrize("clusters", [2, 5, 16])
def test_lloyd_is_that_of_scikit_learn(clusters, start):
    """From the same centroids, until nothing moves. No cluster is empty here; there scikit-learn does otherwise."""
    weight = torch.rand(30, 40, generator=torch.Generator().manual_seed(0))
    values = weight.double().numpy().reshape(-1, 1)
    begin = BEGIN[start](SortedNumbers.of_weights(weight.numpy().ravel()), clusters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at tol 0 it cannot tell that it has converged
        oracle = KMeans(clusters, init=begin[:, None], n_init=1, tol=0, max_iter=1000, algorithm="lloyd").fit(values)
    code = quantize(weight, clusters=clusters, start=start)
    np.testing.assert_allclose(present(code.codebook)[0].numpy(), np.sort(oracle.cluster_centers_[:, 0]), rtol=1e-6)


@every_start
@pytest.mark.parametrize("clusters", [2, 7, 16])
def test_each_centroid_is_the_mean_of_the_weights_nearest_to_it(clusters, start):
    for weight in (normal(20, 50), normal(20, 50).pow(3)):
        code = quantize(weight, clusters=clusters, start=start)
        book = present(code.codebook)[0]
        nearest = (weight[:, :, None].double() - book.double()).abs().argmin(dim=2)
        assert torch.equal(nearest.to(torch.uint8), code.codes)
        for place in range(clusters):
            chosen = weight[code.codes == place]
            if len(chosen):
                assert book[place].item() == pytest.approx(float(chosen.double().mean()), rel=1e-5, abs=1e-7)


# By hand.


def test_linear_start_by_hand():
    """Centroids begin at 0, 5, 10: of the weights 0, 1, 2 | 4 | 9, 10 the means are 1, 4, 9.5, and nothing moves."""
    code = quantize(torch.tensor([[0.0, 1.0, 2.0, 4.0, 9.0, 10.0]]), clusters=3)
    assert present(code.codebook).tolist() == [[1.0, 4.0, 9.5]]
    assert code.codes.tolist() == [[0, 0, 0, 1, 2, 2]]
    assert code.bits == 2


def test_starts_by_hand():
    numbers = SortedNumbers.of_weights(np.array([3, 0, 1, 2, 9, 5, 4, 8], dtype=np.float32))
    assert linear_centroids(numbers, 4).tolist() == [0.0, 3.0, 6.0, 9.0]
    assert density_centroids(numbers, 4).tolist() == [1.0, 3.0, 5.0, 9.0]  # ranks 1, 3, 5, 7 of 0..7
    drawn = [tuple(random_centroids(numbers, 3, seed)) for seed in range(10)]
    assert len(set(drawn)) > 3
    assert all(sorted(set(entry)) == list(entry) and set(entry) <= set(numbers.values) for entry in drawn)


def test_the_optimum_by_hand_where_lloyd_is_caught():
    """0, 1 | 2, 3 | 100 has the error 1; the linear start ends with 0..3 in one cluster and one cluster empty."""
    weight = torch.tensor([[0.0, 1.0, 2.0, 3.0, 100.0]])
    assert present(quantize(weight, clusters=3, start="optimal").codebook).tolist() == [[0.5, 2.5, 100.0]]
    assert present(quantize(weight, clusters=3).codebook).tolist() == [[1.5, 50.0, 100.0]]


def test_a_weight_halfway_goes_to_the_lower_centroid():
    weight = torch.tensor([[0.0, 1.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]])
    code = quantize(weight, clusters=2)  # from 0 and 4: 2 is halfway, and stays with the mean 1
    assert present(code.codebook).tolist() == [[1.0, 4.0]]


# Pruned weights, few values, bits.


@every_start
def test_pruned_weights_are_left_out(start):
    weight, kept = half_kept(5 + normal(20, 40))
    code = apply(weight, kept, clusters=8, start=start)
    alone = quantize(weight[kept][None], clusters=8, start=start)
    assert torch.equal(present(code.codebook), present(alone.codebook))
    assert torch.equal(code.decode()[kept], alone.decode()[0])
    assert float(present(code.codebook).min()) > 1


@every_start
def test_with_enough_clusters_each_weight_is_exact(start):
    weight = torch.tensor([[0.5, -0.25, 0.5, 3.0]])
    code = quantize(weight, clusters=64, start=start)
    assert torch.equal(code.decode(), weight)
    assert present(code.codebook).tolist() == [[-0.25, 0.5, 3.0]]
    assert code.bits == 2


@every_start
def test_a_tensor_without_weights_has_one_level(start):
    weight = torch.zeros(2, 3)
    code = apply(weight, ~all_kept(weight), start=start)
    assert (code.bits, present(code.codebook).tolist(), code.codes.sum().item()) == (1, [[0.0]], 0)


@pytest.mark.parametrize(("clusters", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (255, 8), (256, 8)])
def test_bits_are_the_logarithm_rounded_up(clusters, bits):
    code = quantize(normal(20, 50), clusters=clusters, start="density")
    assert code.bits == bits
    assert present(code.codebook).shape == (1, clusters)


@given(weight=matrices(largest=1e3))
def test_the_least_error_falls_with_the_number_of_clusters(weight):
    errors = [squared_error(weight, quantize(weight, clusters=count, start="optimal")) for count in (2, 3, 5, 9)]
    rounding = 1e-12 * float(weight.double().square().sum())
    assert all(more <= fewer * (1 + 1e-6) + rounding for fewer, more in itertools.pairwise(errors))


def test_the_optimum_is_idempotent():
    decoded = quantize(normal(20, 50), start="optimal").decode()
    assert torch.equal(quantize(decoded, start="optimal").decode(), decoded)


# Figures of theory, and the preview.


@pytest.mark.parametrize(("clusters", "decibel"), [(4, 9.30), (8, 14.62), (16, 20.22)])
def test_normal_weights_reach_the_optimal_quantizers_figures(clusters, decibel):
    """Max 1960, Table I: mean squared errors .1175, .03454, .009497."""
    weight = normal(200, 1000)
    error = squared_error(weight, quantize(weight, clusters=clusters, start="optimal")) / weight.numel()
    assert -10 * np.log10(error) == pytest.approx(decibel, abs=0.05)


def test_dynamic_programming_on_weighted_numbers():
    """Bins of an index count as often as they have weights: 0 three times, 1 once, 3 twice."""
    index = WeightIndex.build(torch.tensor([[0.0, 0.0, 0.0, 1.0, 3.0, 3.0]]))
    assert optimal_centroids(SortedNumbers.of_index(index), 2).tolist() == [0.25, 3.0]
