"""Each method beside its oracle, on layers of one and of 25 million weights."""

import torch
from torch import Tensor

from benchmarks.calibrated import CALIBRATED
from benchmarks.duel import Row, duel
from benchmarks.more_oracles import MORE
from benchmarks.oracles import CONTESTS, Contest
from benchmarks.sweeps import SWEEPS, SweepContest, largest_difference

SIZES = {"1M": (1024, 1024), "25M": (5120, 5120)}
"""Rows and columns."""


def weights(size: str) -> Tensor:
    """Normally distributed, the same on every run."""
    return torch.randn(SIZES[size], generator=torch.Generator().manual_seed(0))


def method_row(contest: Contest, size: str) -> Row:
    """One method beside its oracle."""
    weight = weights(size)
    own, others, spread, mine, other = duel(lambda: contest.ours(weight), lambda: contest.oracle(weight.clone()))
    return Row(contest.name, size, own, others, spread, f"{contest.agreement(weight, mine, other):.6g}")


def sweep_row(contest: SweepContest, size: str) -> Row:
    """All positions of a slider beside the oracle applied to each."""
    weight = weights(size)
    own, others, spread, mine, other = duel(lambda: contest.ours(weight), lambda: contest.oracle(weight))
    assert isinstance(mine, list)
    assert isinstance(other, list)
    return Row(contest.name, size, own, others, spread, f"within {largest_difference(mine, other):.1e}")


def run() -> list[Row]:
    """Every contest on every size that it is held on."""
    rows = []
    contests = (*CONTESTS, *MORE, *CALIBRATED)
    for size, (height, width) in SIZES.items():
        rows += [method_row(contest, size) for contest in contests if height * width <= contest.largest]
        rows += [sweep_row(contest, size) for contest in SWEEPS if height * width <= contest.largest]
    return rows
