"""Scales of 8 bits, as block formats have them, in place of float32."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compress_explorer.methods.formats import DYNAMIC8, E8M0, FORMATS, Format

ScaleFormat = Literal["e8m0", "e4m3", "double"]
"""How 8 bits give a scale.

e8m0: 2^(code - 127), a power of two (OCP MX).
e4m3: a float of 8 bits, times one float32 for the whole tensor (NVFP4).
double: mean + factor * level(code), at least 0: a float32 mean for the whole tensor, and a float32 factor for each
    DOUBLE_BLOCK scales in row-major order (double quantization of QLoRA). Rounding may make the sum negative where
    scales differ widely; 0 does less harm.
"""

SCALE_FORMATS: dict[ScaleFormat, Format] = {"e8m0": E8M0, "e4m3": FORMATS["fp8-e4m3"], "double": DYNAMIC8}

DOUBLE_BLOCK = 256


@dataclass(frozen=True, eq=False, kw_only=True)
class CodedScale:
    """Scales as the file holds them.

    Attributes:
        codes: uint8 [1 or channels, groups], each with a level in the format.
        format: what they stand for.
        constants: float32 [`constants_of(format, scales)`]: none, the factor, or the mean and the factors.
    """

    codes: Tensor
    format: ScaleFormat
    constants: Tensor

    @property
    def bytes(self) -> int:
        """Bytes of codes and constants."""
        return self.codes.numel() + 4 * self.constants.numel()

    def decode(self) -> Tensor:
        """The scales, float32 [1 or channels, groups]."""
        level = SCALE_FORMATS[self.format].decode(self.codes)
        if self.format == "e4m3":
            return level * self.constants
        if self.format == "double":
            factors = self.constants[1:].repeat_interleave(DOUBLE_BLOCK)[: level.numel()].view_as(level)
            return (level * factors + self.constants[0]).clamp_(min=0)
        return level


def constants_of(scale_format: ScaleFormat, scales: int) -> int:
    """How many float32 numbers go with so many scales."""
    return {"e8m0": 0, "e4m3": 1, "double": 1 + -(-scales // DOUBLE_BLOCK)}[scale_format]


def double_quantized(scale: Tensor) -> CodedScale:
    """Scales less their mean, in blocks of 256, divided by the block's largest magnitude and rounded to 8 bits.

    Dettmers et al. 2023, QLoRA (arXiv 2305.14314) §3, "Double Quantization"; of its 8-bit floats those of bitsandbytes.

    Args:
        scale: float32 [rows, groups], 0 or more.
    """
    mean = scale.mean(dtype=torch.float64).float()
    deviation = (scale - mean).flatten()
    blocks = torch.nn.functional.pad(deviation, (0, -deviation.numel() % DOUBLE_BLOCK)).reshape(-1, DOUBLE_BLOCK)
    factors = blocks.abs().amax(dim=1)
    codes = DYNAMIC8.nearest(blocks / torch.where(factors > 0, factors, 1.0)[:, None])
    codes = codes.flatten()[: scale.numel()].view_as(scale)
    return CodedScale(codes=codes, format="double", constants=torch.cat([mean[None], factors]))
