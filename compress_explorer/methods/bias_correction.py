"""Corrects biases for the shift that rounded and pruned weights give a layer's mean output."""

from torch import Tensor

from compress_explorer.methods.evidence import LayerBefore, by_groups, samples_parameter
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,  # noqa: ARG001 -- pruned weights are zeros
    before: LayerBefore,
) -> Tensor:
    """What has to be added to the layer's bias: (W - Ŵ)·E[x].

    With it the mean output of the layer on the calibration samples is that of the weights before. The paper derives
    E[x] from the batch normalization before the layer, without data; here it is measured.

    Args:
        weight: float32 [channels, n], Ŵ: as the steps before left them.
        kept: bool [channels, n]; has no effect.
        before: the weights W before they were rounded and pruned, and what the layer is fed.

    Returns:
        float64 [channels].
    """
    difference = by_groups(before.weight.double() - weight.double(), before.inputs)
    return (difference @ before.inputs.mean[:, :, None]).flatten()


METHOD = Method(
    name="bias-correction",
    label="Bias correction",
    family="Corrections",
    summary="Adds to each layer's bias what rounding and pruning took from its mean output.",
    formula="b ← b + (W − Ŵ)·E[x]",
    source="Nagel et al. 2019 (arXiv 1906.04721); from data: Nagel et al. 2021 (arXiv 2106.08295) §3.3",
    parameters=(samples_parameter(),),
    scope="tensor",
    result="state",
    needs="before",
    apply=apply,
)
