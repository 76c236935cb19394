"""Product quantization against the k-means of scipy and of scikit-learn, a plain loop, and by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2, vq
from sklearn.cluster import KMeans
from torch import Tensor

from compress_explorer.methods import k_means
from compress_explorer.methods.code import Code
from compress_explorer.methods.product_quantization import apply
from compress_explorer.methods.vector_clusters import (
    Vectors,
    lloyd_of_vectors,
    means_of_clusters,
    nearest_centroids,
    spread_start,
)
from tests.methods.cases import WEIGHTS, all_kept, half_kept, matrices, normal, present


def quantize(weight: Tensor, **values: int) -> Code:
    return apply(weight, all_kept(weight), **values)


def squared_error(weight: Tensor, code: Code, kept: Tensor | None = None) -> float:
    difference = weight.double() - code.decode().double()
    return float((difference if kept is None else difference[kept]).square().sum())


def vectors_of(rows: np.ndarray) -> Vectors:
    """Vectors [m, d] all of whose coordinates count."""
    return Vectors(np.ascontiguousarray(rows.T), np.ones(rows.T.shape, dtype=bool))


def start_of(rows: np.ndarray, clusters: int, seed: int = 0) -> np.ndarray:
    """The start of Lloyd's algorithm, [k, d]."""
    centroids, _ = spread_start(vectors_of(rows), clusters, seed)
    return centroids.T


# The same start, the same number of steps: the same codebook as others' implementations.


@pytest.mark.parametrize("iterations", [1, 2, 7, 30])
@pytest.mark.parametrize(("dimension", "clusters"), [(2, 3), (4, 16), (8, 16), (3, 5), (4, 64)])
def test_lloyd_is_that_of_scipy(dimension, clusters, iterations):
    weight = normal(60, dimension * 20)
    rows = weight.double().numpy().reshape(-1, dimension)
    code = quantize(weight, dimension=dimension, clusters=clusters, iterations=iterations)
    theirs, _ = kmeans2(rows, start_of(rows, clusters), iter=iterations, minit="matrix", missing="raise")
    np.testing.assert_allclose(present(code.codebook)[0].numpy(), theirs, rtol=1e-6, atol=1e-7)
    places, _ = vq(rows, present(code.codebook)[0].double().numpy())
    np.testing.assert_array_equal(code.codes.numpy().ravel(), places)


@pytest.mark.parametrize(("dimension", "clusters"), [(2, 3), (4, 16), (8, 4)])
def test_where_nothing_moves_any_more_it_is_that_of_scikit_learn(dimension, clusters):
    weight = normal(30, dimension * 10)
    rows = weight.double().numpy().reshape(-1, dimension)
    code = quantize(weight, dimension=dimension, clusters=clusters, iterations=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at tol 0 it cannot tell that it has converged
        oracle = KMeans(clusters, init=start_of(rows, clusters), n_init=1, tol=0, max_iter=1000, algorithm="lloyd").fit(
            rows
        )
    np.testing.assert_allclose(present(code.codebook)[0].numpy(), oracle.cluster_centers_, rtol=1e-5, atol=1e-6)
    assert squared_error(weight, code) == pytest.approx(oracle.inertia_, rel=1e-6)


def test_very_many_subvectors_are_those_of_scipy():
    """More than are treated at a time."""
    weight = normal(300, 400)
    rows = weight.double().numpy().reshape(-1, 4)
    code = quantize(weight, clusters=256, iterations=3)
    theirs, _ = kmeans2(rows, start_of(rows, 256), iter=3, minit="matrix", missing="raise")
    np.testing.assert_allclose(present(code.codebook)[0].numpy(), theirs, rtol=1e-6, atol=1e-7)


# With weights that do not count: pruned ones, and what is not there behind the end of a row.


def subvectors(weight: Tensor, kept: Tensor, dimension: int) -> list[tuple[list[float], list[bool]]]:
    """Row by row, with which weights count; of a short last one the others do not."""
    found = []
    for values, counted in zip(weight.tolist(), kept.tolist(), strict=True):
        for start in range(0, len(values), dimension):
            part, counts = values[start : start + dimension], counted[start : start + dimension]
            short = dimension - len(part)
            found.append((part + [0.0] * short, counts + [False] * short))
    return found


def by_loop(vectors: list[tuple[list[float], list[bool]]], centroids: list[list[float]], steps: int) -> tuple:
    """Lloyd's algorithm over the coordinates that count, one vector at a time."""

    def distance(vector: tuple[list[float], list[bool]], centroid: list[float]) -> float:
        return sum((x - c) ** 2 for x, counted, c in zip(*vector, centroid, strict=True) if counted)

    def nearest(vector: tuple[list[float], list[bool]]) -> int:
        return min(range(len(centroids)), key=lambda place: distance(vector, centroids[place]))

    for _ in range(steps):
        places = [nearest(vector) for vector in vectors]
        for cluster, axis in itertools.product(range(len(centroids)), range(len(centroids[0]))):
            own = [vector for vector, place in zip(vectors, places, strict=True) if place == cluster]
            counted = [values[axis] for values, counts in own if counts[axis]]
            if counted:
                centroids[cluster][axis] = math.fsum(counted) / len(counted)
    return centroids, [nearest(vector) for vector in vectors]


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize(("dimension", "columns", "clusters"), [(4, 19, 5), (2, 7, 3), (8, 20, 6), (3, 18, 9)])
@pytest.mark.parametrize("pruned", [False, True])
def test_weights_that_do_not_count_have_no_say(pruned, dimension, columns, clusters, steps):
    weight, kept = half_kept(normal(30, columns))
    if not pruned:
        weight, kept = normal(30, columns), all_kept(weight)
    code = apply(weight, kept, dimension=dimension, clusters=clusters, iterations=steps)
    given_vectors = [entry for entry in subvectors(weight, kept, dimension) if any(entry[1])]
    values, counts = (np.array(part).T for part in zip(*given_vectors, strict=True))
    start, _ = spread_start(Vectors(values.astype(np.float64), counts), clusters, 0)
    centroids, places = by_loop(given_vectors, start.T.tolist(), steps)
    np.testing.assert_allclose(present(code.codebook)[0].numpy(), centroids, rtol=1e-6, atol=1e-7)
    whole = [any(counts) for _, counts in subvectors(weight, kept, dimension)]
    assert code.codes.flatten()[torch.tensor(whole)].tolist() == places


@given(weight=matrices(largest=1e3), dimension=st.integers(1, 9), clusters=st.integers(2, 20), data=st.data())
def test_each_subvector_has_the_nearest_codeword(weight, dimension, clusters, data):
    kept = all_kept(weight) if data.draw(st.booleans()) else half_kept(weight)[1]
    code = apply(weight, kept, dimension=dimension, clusters=clusters)
    book = present(code.codebook)[0].double()
    for (values, counts), place in zip(
        subvectors(weight, kept, code.dimension), code.codes.flatten().tolist(), strict=True
    ):
        away = ((torch.tensor(values).double() - book)[:, counts]).square().sum(dim=1)
        assert away[place] <= away.min() + 1e-12 * float(weight.double().square().sum())


@given(weight=matrices(largest=1e3), dimension=st.integers(1, 9), clusters=st.integers(2, 20), data=st.data())
def test_more_iterations_never_raise_the_error(weight, dimension, clusters, data):
    kept = all_kept(weight) if data.draw(st.booleans()) else half_kept(weight)[1]
    values = {"dimension": dimension, "clusters": clusters}
    errors = [squared_error(weight, apply(weight, kept, iterations=steps, **values), kept) for steps in (1, 2, 5, 20)]
    rounding = 1e-6 * float(weight.double().square().sum())  # of codewords to float32
    assert all(more <= fewer + rounding for fewer, more in itertools.pairwise(errors))


# By hand.


def test_by_hand():
    """Of two clusters in the plane the means are (0, 1) and (10, 10), wherever the start is in them."""
    weight = torch.tensor([[0.0, 0.0, 10.0, 11.0], [0.0, 2.0, 10.0, 9.0]])
    code = quantize(weight, dimension=2, clusters=2)
    book = present(code.codebook)[0]
    assert sorted(book.tolist()) == [[0.0, 1.0], [10.0, 10.0]]
    assert code.decode().tolist() == [[0.0, 1.0, 10.0, 10.0], [0.0, 1.0, 10.0, 10.0]]
    assert (code.bits, code.codes.shape, code.group_size, code.dimension) == (1, (2, 2), 4, 2)


def test_what_a_row_leaves_over_takes_the_first_values_of_its_codeword():
    """Rows of 5 weights are subvectors of 4 and of 1; the last weights are the first of a codeword."""
    weight = torch.tensor([[1.0, 7.0, 7.0, 7.0, 1.0], [3.0, -7.0, -7.0, -7.0, 3.0]])
    code = quantize(weight, clusters=2)
    assert code.codes.shape == (2, 2)
    assert sorted(present(code.codebook)[0].tolist()) == [[1.0, 7.0, 7.0, 7.0], [3.0, -7.0, -7.0, -7.0]]
    assert torch.equal(code.decode(), weight)


def test_pruned_weights_do_not_pull_a_codeword():
    """(8, 2) and (8, pruned) share a codeword (8, 2), and not (8, 1)."""
    weight = torch.tensor([[8.0, 2.0, 8.0, 0.0, -8.0, 3.0, -8.0, 5.0]])
    kept = torch.tensor([[True, True, True, False, True, True, True, True]])
    code = apply(weight, kept, dimension=2, clusters=2)
    assert sorted(present(code.codebook)[0].tolist()) == [[-8.0, 4.0], [8.0, 2.0]]


def test_a_row_shorter_than_a_subvector_is_one():
    code = quantize(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dimension=4, clusters=2)
    assert (code.dimension, code.codes.shape) == (2, (2, 1))
    assert code.decode().tolist() == [[1.0, 2.0], [3.0, 4.0]]


# Few different subvectors, empty clusters, no weights.


@pytest.mark.parametrize("name", [name for name, weight in WEIGHTS.items() if weight.numel() <= 2 * 256])
@pytest.mark.parametrize("dimension", [2, 4, 7])
def test_with_enough_clusters_each_weight_is_exact(name, dimension):
    weight = WEIGHTS[name]
    code = quantize(weight, dimension=dimension, clusters=256)
    different = torch.nn.functional.pad(weight, (0, -weight.shape[1] % dimension)).reshape(-1, dimension).unique(dim=0)
    assert torch.equal(code.decode(), weight)
    assert present(code.codebook).shape[1] <= len(different)
    assert code.bits == max((present(code.codebook).shape[1] - 1).bit_length(), 1)


@given(weight=matrices(max_side=12), dimension=st.integers(1, 8))
def test_as_many_codewords_as_different_subvectors_are_exact(weight, dimension):
    """Whatever the magnitudes: 1e30 beside 1."""
    length = min(dimension, weight.shape[1])
    different = torch.nn.functional.pad(weight, (0, -weight.shape[1] % length)).reshape(-1, length).unique(dim=0)
    code = quantize(weight, dimension=dimension, clusters=max(len(different), 2))
    assert torch.equal(code.decode(), weight)


def test_a_cluster_that_becomes_empty_goes_to_the_farthest_vector():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [50.0, 0.0]])
    centroids = np.array([[0.0, 0.0], [2.0, 0.0], [0.5, 900.0]]).T
    codes = nearest_centroids(vectors_of(rows), centroids)
    assert codes.tolist() == [0, 0, 1, 1]
    moved = means_of_clusters(vectors_of(rows), codes, centroids)
    assert moved.T.tolist() == [[0.5, 0.0], [26.0, 0.0], [50.0, 0.0]]
    assert lloyd_of_vectors(vectors_of(rows), centroids, 10).T.tolist() == [[0.5, 0.0], [2.0, 0.0], [50.0, 0.0]]


@pytest.mark.parametrize("dimension", [2, 4])
def test_a_tensor_without_weights_has_one_codeword(dimension):
    weight = torch.zeros(2, 6)
    code = apply(weight, ~all_kept(weight), dimension=dimension)
    assert (code.bits, present(code.codebook).tolist()) == (1, [[[0.0] * dimension]])
    assert code.decode().tolist() == weight.tolist()


@pytest.mark.parametrize(("clusters", "bits"), [(2, 1), (3, 2), (4, 2), (5, 3), (17, 5), (255, 8), (256, 8)])
def test_bits_are_the_logarithm_rounded_up(clusters, bits):
    code = quantize(normal(40, 100), clusters=clusters)
    assert code.bits == bits
    assert present(code.codebook).shape == (1, clusters, 4)


# The start.


def test_the_start_draws_different_vectors_by_their_squared_distance():
    """From 0 first, of 1 and 3 the second is drawn one time in ten and nine times in ten."""
    rows = np.array([[0.0], [0.0], [1.0], [3.0]])
    second = [start_of(rows, 2, seed)[1, 0] for seed in range(2000) if start_of(rows, 2, seed)[0, 0] == 0]
    assert set(second) == {1.0, 3.0}
    share = second.count(3.0) / len(second)
    assert abs(share - 0.9) < 4 * math.sqrt(0.9 * 0.1 / len(second))


def test_the_start_ends_where_no_vector_is_left():
    rows = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    centroids, nearest = spread_start(vectors_of(rows), 10, seed=0)
    assert sorted(centroids.T.tolist()) == [[1.0, 2.0], [3.0, 4.0]]
    assert centroids.T[nearest].tolist() == rows.tolist()


def test_another_seed_draws_another_start():
    weight = normal(40, 100)
    books = [present(quantize(weight, clusters=16, iterations=3, seed=seed).codebook) for seed in (0, 0, 1)]
    assert torch.equal(books[0], books[1])
    assert not torch.equal(books[0], books[2])


# What it is good for.


def test_pairs_at_four_bits_a_weight_do_better_than_the_best_single_values():
    """A square of the best 16 values is a codebook of 256 pairs, and not the best."""
    weight = normal(200, 500)
    single = squared_error(weight, k_means.apply(weight, all_kept(weight), clusters=16, start="optimal"))
    pairs = squared_error(weight, quantize(weight, dimension=2, clusters=256))
    assert pairs < 0.9 * single


def test_neighbours_that_belong_together_cost_little():
    """Rows made of 16 patterns need 16 codewords, whatever the values in them."""
    patterns = normal(16, 4)
    weight = patterns[torch.arange(400) % 16].reshape(20, 80)
    assert torch.equal(quantize(weight, clusters=16).decode(), weight)
    single = k_means.apply(weight, all_kept(weight), clusters=16, start="optimal")
    assert squared_error(weight, single) > 1e-3 * float(weight.square().sum())
