"""rANS coding of the file: asymmetric numeral systems spend fractions of a bit, and come closest to the entropy."""

from torch import Tensor

from compress_explorer.spec.method import Method
from compress_explorer.spec.size import Coding


def apply(weight: Tensor, kept: Tensor) -> Coding:
    """Asks for range asymmetric numeral systems (rANS) of the values, and of their gaps where that is smaller.

    The weights stay as they are, and so does the file of plain floats without zeros; where coding would make a tensor
    larger, it is stored packed. Values that are plain floats are not coded, the gaps between them are.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n].

    Returns:
        The coder's name.
    """
    del weight, kept
    return "rans"


METHOD = Method(
    name="rans",
    label="rANS coding",
    family="Coding",
    summary="Writes values and gaps in fractions of bits, close to their entropy. The weights stay the same.",
    formula="x′ = ⌊x/fₛ⌋·2¹² + cₛ + x mod fₛ,  about log₂(2¹²/fₛ) bits for s",
    source="Duda 2013 (arXiv 1311.2540)",
    parameters=(),
    scope="tensor",
    result="coding",
    apply=apply,
)
