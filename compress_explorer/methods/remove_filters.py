"""Removal of the channels whose filters have the smallest norm."""

from torch import Tensor

from compress_explorer.methods.channel_removal import ROUND_TO, SPARSITY, keep_best, staying
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 pruned weights are zeros, which add nothing to a norm
    *,
    sparsity: float = 0.3,
    norm: str = "L1",
    round_to: int = 1,
) -> Tensor:
    """The channels to keep: all but the round(sparsity * channels) whose filters have the smallest norm.

    Among equal norms the channels that come first are removed.

    Args:
        weight: float32 [channels, n], all weights that compute a channel in its row; where layers are added, those
            of all of them.
        kept: bool of the same shape; has no effect.
        sparsity: the fraction of channels to remove, 0 to 1; one stays.
        norm: "L1", Σ|w|, or "L2", √Σw².
        round_to: how many stay is rounded up to a multiple of this.

    Returns:
        bool [channels], True where a channel is kept.
    """
    scores = weight.double().norm(p=1 if norm == "L1" else 2, dim=1)
    return keep_best(scores, staying(len(weight), sparsity, round_to))


METHOD = Method(
    name="remove-filters",
    label="Remove filters of small norm",
    family="Structured pruning",
    summary="Removes the channels whose filters have the smallest norm, the same fraction in every layer.",
    formula="keep the channels c of largest ‖W_c‖_p, p = 1 or 2; W_c: all weights that compute c",
    source="Li et al. 2017 (arXiv 1608.08710), L1; shared channels: Fang et al. 2023 (arXiv 2301.12900)",
    parameters=(
        SPARSITY,
        Parameter(
            name="norm",
            label="Norm",
            kind="choice",
            default="L1",
            choices=("L1", "L2"),
            help="How the size of a filter is measured: the sum of magnitudes, or the root of the sum of squares.",
        ),
        ROUND_TO,
    ),
    scope="tensor",
    result="channels",
    apply=apply,
)
