"""Filter pruning by norm: the output channels of smallest weights are dropped."""

import torch
from torch import Tensor

from compress_explorer.methods.channels import keep_channels
from compress_explorer.methods.sparsity import none_pruned, sparsity_parameter
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, sparsity: float = 0.3, norm: str = "L2") -> Tensor:
    """A mask that drops the output channels of smallest norm: exactly k = round(sparsity * channels) of them.

    A dropped channel's weights become zero; it stays in the network, with its bias. Among equal norms the first
    channels are dropped.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned: zeros here. Those stay pruned; channels of
            which nothing is left count among the k.
        sparsity: the fraction of zero channels afterwards, 0 to 1.
        norm: "L1", the sum of magnitudes, or "L2", the root of the sum of squares.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    left = weight if none_pruned(kept) else torch.where(kept, weight, 0.0)
    norms = torch.linalg.vector_norm(left.double(), ord=1 if norm == "L1" else 2, dim=1)
    return keep_channels(norms, kept, sparsity)


METHOD = Method(
    name="filter-norm",
    label="Filter pruning by norm",
    family="Structured pruning",
    summary="Zeroes the output channels whose weights have the smallest norm, the same fraction in every layer.",
    formula="W′_c = 0 for the k channels c of smallest ‖W_c‖₁ or ‖W_c‖₂,  k = round(p·channels)",
    source="Li, Kadav, Durdanovic, Samet & Graf 2017 (arXiv 1608.08710): the L1 norm; L2 as its variant",
    parameters=(
        sparsity_parameter(default=0.3, of="output channels"),
        Parameter(
            name="norm",
            label="Norm",
            kind="choice",
            default="L2",
            choices=("L1", "L2"),
            help="L1: the sum of a channel's magnitudes. L2: the root of its sum of squares.",
        ),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
