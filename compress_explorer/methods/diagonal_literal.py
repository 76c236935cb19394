"""“Sparse pruning” as the article writes it, csr_matrix(W).setdiag(0): kept to show how little it does."""

from torch import Tensor

from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(weight: Tensor, kept: Tensor, *, offset: int = 0) -> Tensor:
    """A mask that drops one diagonal of the matrix and nothing else, whatever the values there.

    At most min(channels, n) weights of channels * n go. The call that the article writes also stores the zeros it
    sets: with an index beside every value the sparse matrix is larger than the dense one. Here zeros are stored as
    any pruning's. The method "magnitude" drops the smallest weights, as many as asked for.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned.
        offset: which diagonal, k of scipy's setdiag(values, k): 0 the main one, positive above it, negative below.
            Beyond the matrix nothing is dropped, where scipy raises.

    Returns:
        bool [channels, n], True where a weight is kept.
    """
    mask = kept.clone()
    channels, columns = weight.shape
    if -channels < offset < columns:
        mask.diagonal(offset).fill_(False)
    return mask


METHOD = Method(
    name="diagonal-literal",
    label="setdiag(0), as written",
    family="As written (article)",
    summary="Zeroes one diagonal of each weight matrix. Wrong: that is 0.1 % of a matrix of 1000 × 100, chosen by "
    "place and not by value. Use “magnitude” (Magnitude pruning), which removes the smallest weights.",
    formula="W′ = csr_matrix(W).setdiag(0):  w′_ij = 0 where j − i = offset, else w_ij",
    source="The article's formula for sparse pruning, as written",
    parameters=(
        Parameter(
            name="offset",
            label="Diagonal",
            kind="integer",
            default=0,
            minimum=-1_000_000,
            maximum=1_000_000,
            soft_minimum=-10,
            soft_maximum=10,
            help="Which diagonal: 0 is the main one, positive ones lie above it, negative ones below.",
        ),
    ),
    scope="tensor",
    result="mask",
    apply=apply,
)
