"""Stratified, seeded, order-independent cuts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress_explorer.zoo.splits import apportion, rest, stratified_indices


def labelled(count: int, seed: int = 0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 4, 4), dtype=np.uint8), random.integers(0, 5, count).astype(np.uint8)


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=10), st.floats(0, 1))
def test_parts_sum_to_the_size_and_are_within_one_of_their_share(totals, fraction):
    totals = np.array(totals)
    size = int(totals.sum() * fraction)
    counts = apportion(totals, size)
    assert counts.sum() == size
    assert (np.abs(counts - totals * size / totals.sum()) < 1 + 1e-9).all()
    assert (counts <= totals).all()


def test_the_largest_remainders_are_rounded_up():
    # Shares of 10 are 4.7, 2.9, 2.4: whole parts 4, 2, 2; the two left go to .9 and .7.
    assert apportion(np.array([47, 29, 24]), 10).tolist() == [5, 3, 2]


def test_the_same_images_are_chosen_in_any_order():
    images, labels = labelled(500)
    order = np.random.default_rng(1).permutation(500)
    chosen = images[stratified_indices(images, labels, 50)]
    shuffled = images[order][stratified_indices(images[order], labels[order], 50)]
    assert {image.tobytes() for image in chosen} == {image.tobytes() for image in shuffled}


def test_another_seed_chooses_others():
    images, labels = labelled(500)
    first, second = (set(stratified_indices(images, labels, 100, seed).tolist()) for seed in (1, 2))
    assert len(first & second) < 50  # 20 are expected by chance


@pytest.mark.parametrize("size", [0, 1, 77, 500])
def test_chosen_and_rest_make_up_the_whole(size):
    images, labels = labelled(500)
    chosen = stratified_indices(images, labels, size)
    assert len(chosen) == size
    assert np.array_equal(np.sort(np.concatenate([chosen, rest(500, chosen)])), np.arange(500))


def test_memory_order_does_not_matter():
    images, labels = labelled(100)
    assert np.array_equal(
        stratified_indices(np.asfortranarray(images), labels, 20), stratified_indices(images, labels, 20)
    )
