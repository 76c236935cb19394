"""What the number formats share: one scale for each block of neighbouring weights, and the nearest code."""

import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import CodedScale, double_quantized
from compress_explorer.methods.formats import FORMATS, WeightFormat
from compress_explorer.methods.granularity import columns_per_scale, from_blocks, to_blocks
from compress_explorer.spec.parameter import Parameter

SCALES_PARAMETER = Parameter(
    name="scales",
    label="Scales",
    kind="choice",
    default="float32",
    choices=("float32", "double"),
    help="Stored as float32, or quantized themselves: to 8 bits, with one float32 for 256 of them.",
)


def block_size_parameter(default: int) -> Parameter:
    """The declaration of the number of weights that share a scale."""
    return Parameter(
        name="block_size",
        label="Block size",
        kind="integer",
        default=default,
        minimum=1,
        soft_minimum=8,
        soft_maximum=512,
        scale="log2",
        unit="weights",
        help="How many neighbouring weights of a channel share a scale. Smaller: less error, more bytes for scales.",
    )


def quantize_by_absmax(weight: Tensor, number_format: WeightFormat, *, block_size: int, scales: str) -> Code:
    """Divides each block by its largest magnitude and takes the nearest level of a format from -1 to 1.

    With "double" scales the codes are found first, with the exact largest magnitudes.

    Args:
        weight: float32 [channels, n], finite.
        number_format: whose largest level is 1.
        block_size: neighbouring columns that share a scale; the last block of a channel may be shorter.
        scales: "float32" or "double", see `coded_scale`.
    """
    columns = columns_per_scale(weight, "group", block_size)
    absmax = to_blocks(weight.abs(), "group", columns).amax(dim=2)
    exact = torch.where(absmax > 0, absmax, 1.0)
    coded = double_quantized(absmax) if scales == "double" else None
    return encode(weight, number_format, "group", columns, divisor=exact, scale=coded or exact)


def encode(
    weight: Tensor,
    number_format: WeightFormat,
    granularity: str,
    columns: int,
    *,
    divisor: Tensor,
    scale: Tensor | CodedScale,
) -> Code:
    """The code of weight / divisor, rounded to the nearest level.

    Args:
        weight: float32 [channels, n].
        number_format: the code's grid.
        granularity: "tensor", "channel" or "group", see `to_blocks`.
        columns: neighbouring columns that share a scale.
        divisor: float32 [1 or channels, groups], positive.
        scale: what the levels are multiplied by; shaped like `divisor`.
    """
    blocks = to_blocks(weight, granularity, columns) / divisor[:, :, None]
    coded = scale if isinstance(scale, CodedScale) else None
    return Code(
        codes=from_blocks(FORMATS[number_format].nearest(blocks), weight.shape),
        bits=FORMATS[number_format].bits,
        grid=number_format,
        scale=scale.decode() if isinstance(scale, CodedScale) else scale,
        coded_scale=coded,
        group_size=columns,
    )
