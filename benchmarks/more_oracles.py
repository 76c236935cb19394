"""Further contests of `benchmarks.methods`: searches, levels, low rank and coders beside someone else's."""

import math

import constriction
import numpy as np
import scipy.linalg
import tensorly
import tensorly.decomposition
import torch
from dahuffman import HuffmanCodec
from optimum.quanto import qint4
from optimum.quanto.tensor.optimizers import HqqOptimizer
from torch import Tensor
from torchao.prototype.sparsity.sparsifier.weight_norm_sparsifier import WeightNormSparsifier

from benchmarks.oracles import MILLION, Contest, kept, layer, not_worse, same_masks, same_values
from compress_explorer.engine import huffman, rans
from compress_explorer.methods import (
    apot,
    block,
    hqq,
    integer_mse,
    integer_percentile,
    power_of_two,
    svd,
    tucker,
)
from compress_explorer.methods.code import Code
from compress_explorer.methods.formats import FORMATS


def nearest(weight: Tensor, levels: Tensor) -> Tensor:
    """The nearest of increasing levels, by torch.bucketize."""
    return levels[torch.bucketize(weight, (levels[:-1] + levels[1:]) / 2)]


def powers(weight: Tensor) -> Tensor:
    """The nearest signed power of two or zero, 4 bits."""
    top = 2.0 ** math.floor(math.log2(4 * float(weight.abs().max()) / 3))
    down = top * 2.0 ** -torch.arange(7, dtype=torch.float32)
    return nearest(weight, torch.cat([-down, torch.zeros(1), down.flip(0)]))


def additive_powers(weight: Tensor) -> Tensor:
    """The nearest of the levels of additive powers of two, 4 bits, the largest at the largest weight."""
    levels = FORMATS["apot-4"].levels
    return nearest(weight, levels[~levels.isnan()].sort().values * weight.abs().max())


def clipped(weight: Tensor) -> Tensor:
    """4 bits, clipped at the 99.9th percentile of numpy."""
    scale = float(np.quantile(weight.abs().numpy(), 0.999)) / 7
    return torch.fake_quantize_per_tensor_affine(weight, scale, 0, -7, 7)


def searched(weight: Tensor) -> Tensor:
    """4 bits, the best of 200 clipping ranges, each tried with torch."""
    full, best, least = float(weight.abs().max()) / 7, weight, math.inf
    for part in range(200, 0, -1):
        decoded = torch.fake_quantize_per_tensor_affine(weight, full * part / 200, 0, -7, 7)
        error = float((decoded - weight).square().sum())
        if error < least:
            best, least = decoded, error
    return best


def same_ranges(_weight: Tensor, ours: object, theirs: object) -> float:
    """The share of groups whose scale agrees to a millionth."""
    assert isinstance(ours, Code)
    assert ours.scale is not None
    assert isinstance(theirs, tuple)
    return float((ours.scale.reshape(-1, 1) / theirs[0] - 1).abs().le(1e-6).float().mean())


def same_products(_weight: Tensor, ours: object, theirs: object) -> float:
    """1 less the largest difference of the two products of factors, of their largest entry."""
    product = ours.dense()  # type: ignore[attr-defined]
    return 1 - float((product - theirs).abs().max() / product.abs().max())


def truncated(weight: Tensor) -> Tensor:
    """A quarter of the largest rank, by scipy."""
    left, values, right = scipy.linalg.svd(weight.numpy(), full_matrices=False)
    rank = round(0.25 * len(values))
    return torch.from_numpy((left[:, :rank] * values[:rank]) @ right[:rank])


def kernels(weight: Tensor) -> Tensor:
    """The same weights as 3x3 kernels."""
    inputs = weight.shape[1] // 9
    return weight[:, : inputs * 9].reshape(len(weight), inputs, 3, 3)[:256, :112]


def partial_tucker(weight: Tensor) -> Tensor:
    """Half of the ranks along both channel axes, by tensorly."""
    array = kernels(weight).double().numpy()
    ranks = [round(0.5 * size) for size in array.shape[:2]]
    (core, parts), _ = tensorly.decomposition.partial_tucker(array, rank=ranks, modes=[0, 1], init="svd")
    return torch.from_numpy(tensorly.tenalg.multi_mode_dot(core, parts, modes=[0, 1]))


def closeness(weight: Tensor, ours: object, theirs: object) -> float:
    """Their squared error over ours."""
    exact = kernels(weight).double()
    errors = [float((exact - entry).square().sum()) for entry in (ours.dense().double(), theirs)]  # type: ignore[attr-defined]
    return errors[1] / errors[0]


def symbols(weight: Tensor) -> np.ndarray:
    """Codes of 5 bits with the frequencies of quantized weights, uint8."""
    return (weight.flatten() * 5).round().clamp(-15, 15).add(15).to(torch.uint8).numpy()


def by_dahuffman(weight: Tensor) -> bytes:
    """The same symbols, encoded."""
    values = symbols(weight)
    counts = {int(symbol): int(count) for symbol, count in enumerate(np.bincount(values)) if count}
    found: bytes = HuffmanCodec.from_frequencies(counts).encode(values.tolist())
    return found


def by_constriction(weight: Tensor) -> bytes:
    """The same symbols, encoded."""
    values = symbols(weight)
    counts = np.bincount(values, minlength=32).astype(np.float64)
    model = constriction.stream.model.Categorical(np.maximum(counts, 1e-9) / counts.sum(), perfect=False)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(values.astype(np.int32), model)
    found: bytes = coder.get_compressed().tobytes()
    return found


def as_short(_weight: Tensor, ours: object, theirs: object) -> float:
    """Their bytes over ours, our code table included."""
    return len(theirs) / len(ours)  # type: ignore[arg-type]


def blocks_by_torchao(weight: Tensor) -> Tensor:
    """Half of the blocks of 4 by 4."""
    module = torch.nn.Sequential(layer(weight))
    sparsifier = WeightNormSparsifier(sparsity_level=0.5, sparse_block_shape=(4, 4), zeros_per_block=16)
    sparsifier.prepare(module, config=[{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    mask: Tensor = module[0].parametrizations.weight[0].mask  # type: ignore[union-attr,index]
    return mask.bool()


MORE = (
    Contest(
        "block 50 %, 4 by 4 / torchao WeightNormSparsifier",
        lambda w: block.apply(w, kept(w), sparsity=0.5, rows=4, columns=4),
        blocks_by_torchao,
        same_masks,
        largest=MILLION,
    ),
    Contest("power-of-two 4 bits / torch.bucketize", lambda w: power_of_two.apply(w, kept(w)), powers, same_values),
    Contest("apot 4 bits / torch.bucketize", lambda w: apot.apply(w, kept(w)), additive_powers, same_values),
    Contest(
        "integer-percentile 4 bits / numpy and torch",
        lambda w: integer_percentile.apply(w, kept(w)),
        clipped,
        same_values,
    ),
    Contest(
        "integer-mse 4 bits, 200 ranges / torch (quality: their error over ours)",
        lambda w: integer_mse.apply(w, kept(w)),
        searched,
        not_worse,
    ),
    Contest(
        "hqq 4 bits, groups of 64 / optimum-quanto",
        lambda w: hqq.apply(w, kept(w)),
        lambda w: HqqOptimizer().optimize(w.reshape(-1, 64), qint4, 0),
        same_ranges,
        largest=MILLION,
    ),
    Contest(
        "svd, a quarter of the rank / scipy",
        lambda w: svd.apply(w, kept(w), by="rank", rank=0.25),
        truncated,
        same_products,
        largest=MILLION,
    ),
    Contest(
        "tucker, half of the ranks, [256, 112, 3, 3] / tensorly (quality: their error over ours)",
        lambda w: tucker.apply(kernels(w), kept(kernels(w)), rank=0.5),
        partial_tucker,
        closeness,
        largest=MILLION,
    ),
    Contest(
        "huffman, 32 symbols / dahuffman (their bytes over ours)",
        lambda w: huffman.encode_stream(symbols(w), 32),
        by_dahuffman,
        as_short,
        largest=MILLION,
    ),
    Contest(
        "rans, 32 symbols / constriction (their bytes over ours)",
        lambda w: rans.encode_stream(symbols(w), 32),
        by_constriction,
        as_short,
    ),
)
