"""Pruning by how much the loss changes with a weight, to first order: connection sensitivity."""

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
    """Masks that drop the weights of smallest |w·∂L/∂w|, L the mean loss: exactly round(sparsity * n).

    To first order the loss changes by -w·∂L/∂w when w becomes zero. This is the derivative by a factor that stands
    before w, which SNIP takes before training, divided by its sum over all weights. Molchanov et al. take the same of
    feature maps in place of weights. In a trained network the gradients of the samples nearly cancel: there the method
    "fisher" tells the weights apart better.

    Ties as in `magnitude-global`: those of earlier layers, and in a layer those that come first, are dropped.

    Args:
        weights: float32 [channels, n], one a layer.
        kept: bool masks of the same shapes, False where an earlier step pruned. Those stay pruned and count.
        statistics: of the gradients of these layers.
        sparsity: the fraction of zeros afterwards, 0 to 1.
        ranking: "global": all layers share one threshold, as in SNIP; "layer": each has its own.

    Returns:
        One bool [channels, n] a layer, True where a weight is kept.
    """
    saliencies = [
        (weight.double() * entry.mean.double()).abs() for weight, entry in zip(weights, statistics, strict=True)
    ]
    return keep_by_saliency(saliencies, kept, sparsity, ranking)


METHOD = Method(
    name="taylor",
    label="First-order Taylor (SNIP)",
    family="Pruning",
    summary="Removes the weights without which the loss stays nearest to what it is, to first order.",
    formula="M = 1[s > τ],  s = |w·∂L/∂w|,  τ the k-th smallest s, k = round(p·n)",
    source="Lee, Ajanthan & Torr 2019, SNIP (arXiv 1810.02340) §4.1; Molchanov et al. 2017 (arXiv 1611.06440) §2.2",
    parameters=(sparsity_parameter(default=0.9), ranking_parameter(), samples_parameter(default=1024)),
    scope="model",
    result="mask",
    needs="gradients",
    apply=apply,
)
