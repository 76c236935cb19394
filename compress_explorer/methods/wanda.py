"""Wanda: pruning by weight times the norm of what it is multiplied with, within each output row."""

import torch
from torch import Tensor

from compress_explorer.methods.evidence import InputStatistics, by_groups, samples_parameter
from compress_explorer.methods.row_sparsity import (
    STRUCTURES,
    keep_largest_of_rows,
    keep_of_neighbours,
    structure_parameters,
)
from compress_explorer.methods.sparsity import zeros_for
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,
    statistics: InputStatistics,
    *,
    sparsity: float = 0.5,
    structure: str = "unstructured",
) -> Tensor:
    """A mask that drops, in each output row, the weights of smallest |W_ij|·‖X_j‖₂.

    Unstructured: exactly round(sparsity * n) of each row's n weights. Among equal scores in a row, those that come
    first are dropped: of features that were zero in every calibration sample, all scores are zero.

    N:M: the largest of neighbouring input channels are kept, of a convolution at each place of the kernel, as by the
    method n-m.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count among the zeros.
        statistics: of the layer's inputs; ‖X_j‖₂² is the number of vectors times the second moment of feature j.
        sparsity: the fraction of zeros in each row afterwards, 0 to 1; only for "unstructured".
        structure: "unstructured", "2:4" (2 of 4 neighbouring input channels are kept) or "4:8".

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    norms = (statistics.vectors * statistics.moment.diagonal(dim1=1, dim2=2)).sqrt()
    scores = (by_groups(weight.abs().double(), statistics) * norms[:, None, :]).reshape(weight.shape)
    scores = torch.where(kept, scores, -1.0)
    if structure == "unstructured":
        return keep_largest_of_rows(scores, zeros_for(sparsity, weight.shape[1]))
    return keep_of_neighbours(scores, *STRUCTURES[structure], statistics.window)


METHOD = Method(
    name="wanda",
    label="Wanda",
    family="Pruning",
    summary="Removes, in each output row, the weights whose magnitude times the norm of their input is smallest.",
    formula="M_ij = 1[S_ij > τ_i],  S_ij = |W_ij|·‖X_j‖₂,  τ_i the k-th smallest S of row i, k = round(p·n)",
    source="Sun et al. 2023, Wanda (arXiv 2306.11695) §3, Eq. 1",
    parameters=(*structure_parameters(), samples_parameter()),
    scope="tensor",
    result="mask",
    needs="inputs",
    apply=apply,
)
