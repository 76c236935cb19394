"""Ternary weights: minus one, zero or one times a shared magnitude."""

import numpy as np
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.granularity import columns_per_scale, from_blocks, granularity_parameter, to_blocks
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor, kept: Tensor, *, threshold: str = "factor", factor: float = 0.75, granularity: str = "tensor"
) -> Code:
    """Sends each weight to -α, 0 or α: to zero where |w| does not exceed Δ, α the mean magnitude of the others.

    With the threshold "factor" Δ is a multiple of the mean magnitude of the kept weights. With "best" the k
    largest magnitudes, of sum S_k, are those for which S_k²/k is greatest: no other Δ and α have a smaller squared
    error. α is 1, and unused, where no weight exceeds Δ. The factor 0.75 is the paper's rule of thumb; its first
    version had 0.7.

    Args:
        weight: float32 [channels, n], finite.
        kept: bool [channels, n], False where an earlier step pruned: left out of the means.
        threshold: "factor" or "best".
        factor: Δ over the mean magnitude, 0 or more; only for the threshold "factor".
        granularity: "tensor" or "channel": what Δ and α are taken over.

    Returns:
        The code with grid "integer", offset -1 and 2 bits, of whose four codes three are in use.
    """
    columns = columns_per_scale(weight, granularity, weight.shape[1])
    blocks = to_blocks(weight, granularity, columns)
    magnitudes = blocks.abs()
    if threshold == "best":
        large = (magnitudes >= _least_large(magnitudes)[:, :, None]).logical_and_(magnitudes > 0)
    else:
        counts = to_blocks(kept, granularity, columns).sum(dim=2).clamp(min=1)
        delta = factor * magnitudes.sum(dim=2, dtype=torch.float64) / counts
        large = magnitudes > delta[:, :, None]
    count = large.sum(dim=2)
    total = torch.where(large, magnitudes, 0.0).sum(dim=2, dtype=torch.float64)
    signs = torch.sign(blocks).mul_(large).add_(1)
    return Code(
        codes=from_blocks(signs.to(torch.uint8), weight.shape),
        bits=2,
        grid="integer",
        offset=-1,
        scale=torch.where(count > 0, total / count.clamp(min=1), 1.0).float(),
        group_size=weight.shape[1],
    )


def _least_large(magnitudes: Tensor) -> Tensor:
    """The k-th largest magnitude for the k that makes S_k²/k greatest, float32 [rows, groups]."""
    ordered = -np.sort(-magnitudes.cpu().numpy(), axis=2)
    # S_k/√k has its maximum where S_k²/k has, and does not overflow.
    sums = np.cumsum(ordered, axis=2, dtype=np.float64)
    best = (sums / np.sqrt(np.arange(1, ordered.shape[2] + 1))).argmax(axis=2)
    return torch.from_numpy(np.take_along_axis(ordered, best[:, :, None], axis=2)[:, :, 0]).to(magnitudes.device)


METHOD = Method(
    name="ternary",
    label="Ternary weights (TWN)",
    family="Formats and codebooks",
    summary="Keeps the sign of the large weights with one shared magnitude; all others become zero.",
    formula="ŵ = α·sign(w)·1[|w| > Δ],  α = mean of |w| over |w| > Δ;  Δ = factor·mean|w|, "
    "or the best: argmax over k of S_k²/k, S_k the sum of the k largest |w|",
    source="Li, Zhang & Liu 2016, TWN (arXiv 1605.04711) §2.3; the optimum is an argmax, where its Eq. 6 prints argmin",
    parameters=(
        Parameter(
            name="factor",
            label="Threshold",
            kind="float",
            default=0.75,
            minimum=0.0,
            maximum=100.0,
            soft_maximum=2.0,
            step=0.05,
            unit="× mean|w|",
            when=("threshold", ("factor",)),
            help="Weights up to this multiple of the mean magnitude become zero.",
        ),
        Parameter(
            name="threshold",
            label="Threshold by",
            kind="choice",
            default="factor",
            choices=("factor", "best"),
            help="A multiple of the mean magnitude, or the threshold with the least squared error.",
        ),
        granularity_parameter("tensor", "channel", default="tensor"),
    ),
    scope="tensor",
    result="code",
    apply=apply,
)
