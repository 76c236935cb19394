"""Filter pruning via geometric median (FPGM): the output channels that the others can best stand in for go."""

import torch
from torch import Tensor

from compress_explorer.methods.channels import keep_channels
from compress_explorer.methods.sparsity import sparsity_parameter
from compress_explorer.spec.method import Method


def apply(weight: Tensor, kept: Tensor, *, sparsity: float = 0.3) -> Tensor:
    """A mask that drops the channels nearest to all others: exactly k = round(sparsity * channels) of them.

    Nearest are those of smallest Σ_j ‖W_c − W_j‖₂ over the channels of the layer, so near its geometric median:
    not small but redundant. All are ranked at once, as they were before the first is dropped. A dropped channel's
    weights become zero; it stays in the network, with its bias. Among equal sums the first channels are dropped.

    Distances of more than 25 channels are computed in float64 from the scalar products: to 1e-7 of a layer's spread.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned: zeros here. Those stay pruned; channels of
            which nothing is left count among the k and are no others to be near to.
        sparsity: the fraction of zero channels afterwards, 0 to 1.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    alive = kept.any(dim=1)
    left = torch.where(kept, weight, 0.0)[alive].double()
    # Their mean is taken out, for scalar products of vectors far from zero lose digits.
    centred = left - left.mean(dim=0, keepdim=True)
    sums = torch.zeros(weight.shape[0], dtype=torch.float64, device=weight.device)
    sums[alive] = torch.cdist(centred, centred).sum(dim=1)
    return keep_channels(sums, kept, sparsity)


METHOD = Method(
    name="fpgm",
    label="Filter pruning by geometric median (FPGM)",
    family="Structured pruning",
    summary="Zeroes the output channels that lie nearest to all others of their layer: the most redundant ones.",
    formula="W′_c = 0 for the k channels c of smallest Σ_j ‖W_c − W_j‖₂,  k = round(p·channels)",
    source="He, Liu, Wang, Hu & Yang 2019, FPGM (arXiv 1811.00250)",
    parameters=(sparsity_parameter(default=0.3, of="output channels"),),
    scope="tensor",
    result="mask",
    apply=apply,
)
