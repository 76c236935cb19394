"""Low rank of convolutions by the Tucker-2 decomposition: both channel axes become narrower."""

import torch
from torch import Tensor

from compress_explorer.methods.factors import TuckerFactors
from compress_explorer.methods.low_rank import rank_for, rank_parameter
from compress_explorer.spec.method import Method

ITERATIONS = 5
"""Of higher-order orthogonal iteration; the first ones gain nearly all."""


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros; the product has others in their place
    *,
    rank: float = 0.5,
) -> TuckerFactors:
    """A core with fewer output and input channels, and the matrices that lead to and from it.

    The factors begin as the leading singular vectors of the weight's unfoldings along either channel axis (HOSVD);
    each of the higher-order orthogonal iterations that follow makes one of them best for the other, so that the
    error only falls. Kim et al. choose the ranks by variational Bayesian matrix factorization and train afterwards;
    here they are given.

    Args:
        weight: float32 [out, in, *kernel].
        kept: bool of the same shape; has no effect.
        rank: both ranks as a fraction of their largest, out and in, 0 to 1; 1 at least.

    Returns:
        The factors: 1x1 from `in` to s channels, the kernel from s to r, 1x1 from r to `out`; float32.
    """
    tensor = weight.double().flatten(2) if weight.ndim > 2 else weight.double()[:, :, None]
    outputs, inputs, kernel = tensor.shape
    # An unfolding along one axis has no more independent rows than the other axes allow.
    rank_out = min(rank_for(rank, outputs), inputs * kernel)
    rank_in = min(rank_for(rank, inputs), outputs * kernel)
    right = _leading(tensor.transpose(0, 1), rank_in)
    left = _leading(tensor, rank_out)
    for _ in range(ITERATIONS):
        left = _leading(torch.einsum("oik,is->osk", tensor, right), min(rank_out, right.shape[1] * kernel))
        right = _leading(torch.einsum("oik,or->irk", tensor, left), min(rank_in, left.shape[1] * kernel))
    core = torch.einsum("oik,or,is->rsk", tensor, left, right)
    return TuckerFactors(
        outputs=left.float().contiguous(),
        core=core.float().reshape(left.shape[1], right.shape[1], *weight.shape[2:]),
        inputs=right.T.float().contiguous(),
    )


def _leading(tensor: Tensor, rank: int) -> Tensor:
    """The leading left singular vectors of the unfolding along the first axis, float64 [first axis, rank]."""
    left, _, _ = torch.linalg.svd(tensor.flatten(1), full_matrices=False)
    leading: Tensor = left[:, :rank]
    return leading


METHOD = Method(
    name="tucker",
    label="Tucker-2 of convolutions",
    family="Low rank",
    summary="Replaces a convolution by three: 1×1 to fewer channels, the kernel among these, and 1×1 back.",
    formula="W ≈ G ×₁ U ×₂ V,  G = W ×₁ Uᵀ ×₂ Vᵀ,  r·m + r·s·k² + s·n instead of m·n·k² weights",
    source="Kim et al. 2016 (arXiv 1511.06530); iteration: De Lathauwer, De Moor & Vandewalle 2000",
    parameters=(rank_parameter(default=0.5),),
    scope="tensor",
    result="factors",
    apply=apply,
)
