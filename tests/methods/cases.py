"""Weight matrices that the tests of all methods share, and what they measure on them."""

import hypothesis.extra.numpy as hnp
import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from compress_explorer.methods.evidence import GradientStatistics, InputStatistics, InputValues


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed weights, the same on every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _with_zero_channel() -> Tensor:
    weight = normal(4, 9)
    weight[2] = 0
    return weight


WEIGHTS: dict[str, Tensor] = {
    "single": torch.tensor([[0.7]]),
    "single-negative": torch.tensor([[-0.3]]),
    "single-zero": torch.zeros(1, 1),
    "one-row": normal(1, 17),
    "one-column": normal(17, 1),
    "odd": normal(5, 37),
    "wide": normal(3, 150),
    "one-zero-channel": _with_zero_channel(),
    "negative-only": -normal(6, 20).abs() - 0.01,
    "positive-only": normal(6, 20).abs() + 0.01,
    "one-sided-far": 5 + 0.01 * normal(6, 20),
    "zeros": torch.zeros(3, 8),
    "constant": torch.full((3, 8), 0.25),
    "constant-negative": torch.full((3, 8), -1.7),
    "two-values": torch.tensor([[-1.0, 1.0, 1.0, -1.0]]),
    "ties": torch.tensor([0.5, -0.5, 0.5, 1.0, -1.0, 0.0, 0.25, -0.25] * 4).reshape(4, 8),
    "tiny": normal(4, 25) * 1e-30,
    "huge": normal(4, 25) * 1e30,
    "subnormal": normal(4, 25) * 1e-40,
    "outlier": torch.cat([normal(2, 50), torch.tensor([[1000.0], [0.0]])], dim=1),
}
"""Edge cases by name, float32 [channels, n]."""


def present(table: Tensor | None) -> Tensor:
    """A scale, zero point or codebook that a code must have."""
    assert table is not None
    return table


def all_kept(weight: Tensor) -> Tensor:
    """The mask of a tensor that nothing has pruned."""
    return torch.ones_like(weight, dtype=torch.bool)


def half_kept(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weights with about half of them pruned, and the mask that says which are left."""
    generator = torch.Generator().manual_seed(1)
    kept = torch.rand(weight.shape, generator=generator) < 0.5
    return torch.where(kept, weight, 0.0), kept


def sqnr_db(weight: Tensor, decoded: Tensor) -> float:
    """Signal to quantization noise ratio in decibel."""
    signal = weight.double().square().sum()
    noise = (weight.double() - decoded.double()).square().sum()
    return float(10 * torch.log10(signal / noise))


def matrices(largest: float = 1e30, max_side: int = 24) -> st.SearchStrategy[Tensor]:
    """Arbitrary finite float32 matrices, with many zeros, repeated values and mixed magnitudes."""
    bound = float(np.float32(largest))
    elements = st.one_of(
        st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.75, 1.5]),
        st.floats(-bound, bound, width=32, allow_subnormal=False),
        st.floats(-2.0, 2.0, width=32, allow_subnormal=False),
    )
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=max_side)
    return hnp.arrays(np.float32, shapes, elements=elements).map(torch.from_numpy)


def inputs_like(width: int, vectors: int = 64, seed: int = 2, groups: int = 1) -> Tensor:
    """Input vectors whose features depend on one another, float64 [groups, vectors, width]."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups, width, width, generator=generator) / width**0.5
    free = torch.randn(groups, vectors, width, generator=generator)
    return (free @ (torch.eye(width) + mixing) + 0.3).double()


def statistics_of(inputs: Tensor) -> InputStatistics:
    """What calibration finds out about these input vectors, float64 [groups, vectors, n]."""
    vectors = inputs.shape[1]
    return InputStatistics(
        moment=inputs.transpose(1, 2) @ inputs / vectors,
        mean=inputs.mean(dim=1),
        peak=inputs.abs().amax(dim=1).float(),
        vectors=vectors,
        samples=vectors,
        mean_magnitude=inputs.abs().mean(dim=1),
    )


def values_of(inputs: Tensor) -> InputValues:
    """What calibration finds out about inputs of any shape, one row a sample."""
    rows = inputs.float().flatten(1)
    return InputValues(low=rows.amin(dim=1), high=rows.amax(dim=1), values=rows.flatten().sort().values)


def gradients_like(weight: Tensor, samples: int = 16, seed: int = 3) -> Tensor:
    """A gradient of each sample's loss, float32 [samples, channels, n]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *weight.shape, generator=generator)


def gradient_statistics_of(gradients: Tensor) -> GradientStatistics:
    """What calibration finds out about these gradients, [samples, channels, n]."""
    return GradientStatistics(
        mean=gradients.mean(dim=0), mean_square=gradients.square().mean(dim=0), samples=len(gradients)
    )


def output_error(weight: Tensor, changed: Tensor, statistics: InputStatistics) -> float:
    """The mean squared error of the layer's output, summed over its channels."""
    change = (weight.double() - changed.double()).reshape(statistics.groups, -1, weight.shape[1])
    return float(((change @ statistics.moment) * change).sum())
