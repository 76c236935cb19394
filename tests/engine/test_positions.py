import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import compress_explorer.engine.positions as module
from compress_explorer.engine.positions import (
    WIDTHS,
    Runs,
    best_width,
    count_runs,
    decode_gaps,
    encode_gaps,
    gap_counts,
    relative_bytes,
    run_lengths,
    span_of,
)
from tests.case import case

masks = st.one_of(
    st.lists(st.booleans(), max_size=300),
    # Long runs of zeros, so that every width needs fillers.
    st.lists(st.integers(0, 600), max_size=12).map(
        lambda runs: [present for run in runs for present in [False] * run + [True]]
    ),
).map(lambda bits: np.array(bits, dtype=bool))


def naive_entries(present: np.ndarray, width: int, zero_level: bool) -> list[tuple[int, bool]]:
    """The relative index one weight at a time: (gap, filler?)."""
    entries, zeros = [], 0
    for is_present in present:
        if is_present:
            entries.append((zeros, False))
            zeros = 0
            continue
        zeros += 1
        if zeros == span_of(width, zero_level):
            entries.append((2**width - 1, True))
            zeros = 0
    while entries and entries[-1][1]:
        entries.pop()  # zeros behind the last weight need no entry
    return entries


def test_deep_compressions_figure_2():
    # "Representing the matrix sparsity with relative index. Padding filler zero to prevent overflow."
    present = np.zeros(16, dtype=bool)
    present[[1, 4, 15]] = True
    gaps = encode_gaps(run_lengths(present), width=3, zero_level=True)
    # The paper counts from the previous position (1, 3, filler 8, 3), we count the zeros between: one less each.
    assert gaps.tolist() == [1, 2, 7, 2]
    positions, holds_value = decode_gaps(gaps, 3, zero_level=True)
    assert positions.tolist() == [1, 4, 12, 15]
    assert holds_value.all()


def test_without_a_zero_level_the_largest_gap_is_a_filler():
    present = np.zeros(16, dtype=bool)
    present[[7, 14, 15]] = True
    gaps = encode_gaps(run_lengths(present), width=3, zero_level=False)
    assert gaps.tolist() == [7, 0, 6, 0]
    positions, holds_value = decode_gaps(gaps, 3, zero_level=False)
    assert positions[holds_value].tolist() == [7, 14, 15]


@given(masks, st.sampled_from(WIDTHS), st.booleans())
def test_gaps_equal_a_naive_encoder_and_decode_to_the_mask(present: np.ndarray, width: int, zero_level: bool):
    gaps = encode_gaps(run_lengths(present), width, zero_level)
    expected = naive_entries(present, width, zero_level)
    assert gaps.tolist() == [gap for gap, _ in expected]
    positions, holds_value = decode_gaps(gaps, width, zero_level)
    fillers = np.array([filler for _, filler in expected], dtype=bool)
    if not zero_level:
        assert holds_value.tolist() == (~fillers).tolist()
    assert positions[~fillers].tolist() == np.flatnonzero(present).tolist()
    assert not present[positions[fillers & holds_value]].any()


@given(masks)
def test_runs_are_the_histogram_of_run_lengths_in_whatever_pieces(present: np.ndarray):
    lengths, counts = np.unique(run_lengths(present), return_counts=True)
    for piece in (1, 2, 3, 7, module._PIECE):
        with pytest.MonkeyPatch.context() as patch, case(piece):
            patch.setattr(module, "_PIECE", piece)
            runs = count_runs(present)
            assert runs.lengths.tolist() == lengths.tolist()
            assert runs.counts.tolist() == counts.tolist()
            assert runs.total == present.sum()


@given(masks, st.sampled_from(WIDTHS), st.booleans())
def test_fillers_and_gap_counts_are_those_of_the_real_encoding(present: np.ndarray, width: int, zero_level: bool):
    runs = count_runs(present)
    gaps = encode_gaps(run_lengths(present), width, zero_level)
    assert runs.total + runs.fillers(span_of(width, zero_level)) == len(gaps)
    if not zero_level:
        assert gap_counts(runs, width).tolist() == np.bincount(gaps, minlength=2**width).tolist()


@given(masks, st.integers(1, 32), st.booleans())
def test_best_width_is_the_smallest_of_all_real_encodings(present: np.ndarray, bits: int, zero_level: bool):
    runs = run_lengths(present)
    sizes = {
        width: math.ceil(len(encode_gaps(runs, width, zero_level)) * width / 8)
        + math.ceil(len(encode_gaps(runs, width, zero_level)) * bits / 8)
        for width in WIDTHS
    }
    width, entries = best_width(count_runs(present), bits, zero_level)
    assert relative_bytes(entries, width, bits) == sizes[width] == min(sizes.values())


def scattered(density: float) -> Runs:
    """The expected runs before a billion weights in no order: a run of r zeros has the probability q^r d."""
    lengths = np.arange(2000)
    counts = np.round(1e9 * density * (1 - density) ** lengths).astype(np.int64)
    return Runs(lengths, counts)


@pytest.mark.parametrize(("width", "predicted"), [(5, 0.0745), (3, 1.05)])
def test_the_geometric_law_of_fillers(width: int, predicted: float):
    # A weight is preceded by q^M / (1 - q^M) fillers, M = 2^width.
    q = 0.92**2**width
    assert q / (1 - q) == pytest.approx(predicted, rel=0.01)
    present = np.random.default_rng(7).permutation(1_000_000) < 80_000
    for runs, tolerance in ((scattered(0.08), 1e-6), (count_runs(present), 0.04)):
        assert runs.fillers(2**width) / runs.total == pytest.approx(q / (1 - q), rel=tolerance)


@pytest.mark.parametrize(("density", "width"), [(0.02, 7), (0.05, 6), (0.08, 5), (0.2, 4), (0.5, 2)])
def test_the_best_width_for_six_bit_values(density: float, width: int):
    assert best_width(scattered(density), 6, zero_level=True)[0] == width


def test_bits_for_a_position_at_eight_percent():
    runs = scattered(0.08)
    entries = runs.total + runs.fillers(32)
    assert 5 * entries / runs.total == pytest.approx(5.37, abs=0.005)
