"""Huffman coding of the file: short words for frequent values, as the last step of Deep Compression."""

from torch import Tensor

from compress_explorer.spec.method import Method
from compress_explorer.spec.size import Coding


def apply(weight: Tensor, kept: Tensor) -> Coding:
    """Asks for canonical Huffman codes of the values, and of the gaps between them where that is smaller.

    The weights stay as they are, and so does the file of plain floats without zeros; where coding would make a tensor
    larger, it is stored packed. Values that are plain floats are not coded, the gaps between them are.

    Args:
        weight: float32 [channels, n].
        kept: bool [channels, n].

    Returns:
        The coder's name.
    """
    del weight, kept
    return "huffman"


METHOD = Method(
    name="huffman",
    label="Huffman coding",
    family="Coding",
    summary="Writes frequent values and gaps in few bits, rare ones in more. The weights stay the same.",
    formula="H ≤ Σ pₛ lₛ < H + 1,  lₛ whole bits,  H = −Σ pₛ log₂ pₛ",
    source="Huffman 1952 (Proc. IRE 40(9)); Han, Mao & Dally 2016 (arXiv 1510.00149) §4",
    parameters=(),
    scope="tensor",
    result="coding",
    apply=apply,
)
