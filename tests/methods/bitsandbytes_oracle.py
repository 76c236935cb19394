"""The 4-bit quantization of bitsandbytes, row by row: its blocks go through a whole tensor, ours end with a row."""

import bitsandbytes.functional as bnb
import torch
from torch import Tensor

from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS
from tests.methods.cases import present


def bitsandbytes_codes(weight: Tensor, kind: str, block_size: int) -> tuple[Tensor, Tensor]:
    """Codes uint8 [channels, n], and the largest magnitude of each block, float32 [channels, groups]."""
    rows = []
    for row in weight:
        packed, state = bnb.quantize_4bit(row, blocksize=block_size, quant_type=kind)
        pairs = packed.flatten()
        rows.append((torch.stack([pairs >> 4, pairs & 15], dim=1).flatten()[: len(row)], state.absmax))
    return torch.stack([codes for codes, _ in rows]), torch.stack([absmax for _, absmax in rows])


def assert_same_codes(code: Code, weight: Tensor, kind: str, block_size: int) -> None:
    """The same codes, but for weights that lie on a cut up to rounding: the oracle multiplies by 1 / s."""
    codes, absmax = bitsandbytes_codes(weight, kind, block_size)
    scale = present(code.scale)
    assert torch.equal(scale, torch.where(absmax > 1e-37, absmax, 1.0))  # of zeros: 0, or 1e-38
    levels = FORMATS[code.grid].levels[FORMATS[code.grid].used.long()]
    cuts = (levels[:-1] + levels[1:]) / 2
    scaled = weight / scale.repeat_interleave(block_size, dim=1)[:, : weight.shape[1]]
    on_a_cut = ((scaled[:, :, None] - cuts).abs() < 1e-6).any(dim=2)
    minus_zero = (kind == "fp4") & (codes == 8)
    assert ((code.codes == torch.where(minus_zero, 0, codes)) | on_a_cut).all()
    assert on_a_cut.float().mean() < 0.02
