"""Estimates the running statistics of batch normalizations anew, on the network as it is now."""

from torch import Tensor

from compress_explorer.methods.evidence import BatchMoments, samples_parameter
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,  # noqa: ARG001 -- scale and shift stay as they are
    kept: Tensor,  # noqa: ARG001
    batches: BatchMoments,
) -> tuple[Tensor, Tensor]:
    """The average of the batches' means and variances.

    Args:
        weight: float32 [features, 1], the scale of each feature; has no effect.
        kept: bool [features, 1]; has no effect.
        batches: what the layer computes over each batch of calibration samples.

    Returns:
        The running mean and the running variance, float64 [features].
    """
    return batches.mean.mean(dim=0), batches.variance.mean(dim=0)


METHOD = Method(
    name="batch-norm-recalibration",
    label="Batch norm recalibration",
    family="Corrections",
    summary="Estimates the running means and variances of batch normalizations anew, behind the compressed layers.",
    formula="μ ← mean over batches of μ_B,  σ² ← mean over batches of σ²_B",
    source="Izmailov et al. 2018 (arXiv 1803.05407) §3, batch normalization; as torch.optim.swa_utils.update_bn",
    parameters=(samples_parameter(default=512),),
    scope="tensor",
    result="state",
    needs="batches",
    apply=apply,
)
