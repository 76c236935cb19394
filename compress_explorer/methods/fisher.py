"""Pruning by the second-order effect on the loss, with the diagonal of the empirical Fisher information."""

from collections.abc import Sequence

from torch import Tensor

from compress_explorer.methods.evidence import GradientStatistics, samples_parameter
from compress_explorer.methods.gradient_pruning import keep_by_saliency, ranking_parameter
from compress_explorer.methods.sparsity import sparsity_parameter
from compress_explorer.spec.method import Method


def apply(
    weights: Sequence[Tensor],
    kept: Sequence[Tensor],
    statistics: Sequence[GradientStatistics],
    *,
    sparsity: float = 0.9,
    ranking: str = "global",
) -> list[Tensor]:
    """Masks that drop the weights of smallest saliency ½ h w²: exactly round(sparsity * n).

    At a minimum of the loss, ½ h_ii w_i² is what setting w_i to zero adds to it to second order, the other weights
    left alone: Optimal Brain Damage. The second derivative h_ii is taken to be the mean squared gradient of a single
    sample's loss, the diagonal of the empirical Fisher information. The two are equal on average where the model's
    probabilities are those of the labels.

    Ties as in `magnitude-global`: those of earlier layers, and in a layer those that come first, are dropped.

    Args:
        weights: float32 [channels, n], one a layer.
        kept: bool masks of the same shapes, False where an earlier step pruned. Those stay pruned and count.
        statistics: of the gradients of these layers.
        sparsity: the fraction of zeros afterwards, 0 to 1.
        ranking: "global": all layers share one threshold; "layer": each has its own.

    Returns:
        One bool [channels, n] a layer, True where a weight is kept.
    """
    saliencies = [
        weight.double().square() * entry.mean_square.double() / 2
        for weight, entry in zip(weights, statistics, strict=True)
    ]
    return keep_by_saliency(saliencies, kept, sparsity, ranking)


METHOD = Method(
    name="fisher",
    label="Optimal Brain Damage (Fisher)",
    family="Pruning",
    summary="Removes the weights that add least to the loss to second order, by squared gradients.",
    formula="M = 1[s > τ],  s = ½·h·w²,  h = mean over samples of (∂ℓ/∂w)²,  τ the k-th smallest s, k = round(p·n)",
    source="LeCun, Denker & Solla 1990, Optimal Brain Damage; h by the empirical Fisher information: "
    "Theis et al. 2018, Fisher pruning (arXiv 1801.05787)",
    parameters=(sparsity_parameter(default=0.9), ranking_parameter(), samples_parameter(default=1024)),
    scope="model",
    result="mask",
    needs="gradients",
    apply=apply,
)
