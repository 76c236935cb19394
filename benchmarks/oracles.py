"""The contests of `benchmarks.methods`: one of our methods beside someone else's, and how far their answers agree."""

from collections.abc import Callable
from dataclasses import dataclass

import bitsandbytes.functional as bnb
import kmeans1d
import ml_dtypes
import numpy as np
import torch
import torch_pruning
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.utils import prune
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize, per_tensor_amax_to_scale
from torchao.prototype.parq.quant.lsbq import LSBQuantizer
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)
from torchao.sparsity.utils import mask_creator

from compress_explorer.methods import (
    binary,
    filter_norm,
    fp4,
    fp8,
    fpgm,
    integer,
    k_means,
    lamp,
    magnitude,
    mx,
    n_m,
    nf4,
    nvfp4,
    product_quantization,
    random,
    sigma_threshold,
    ternary,
)
from compress_explorer.methods.code import Code

MILLION = 2_000_000
"""Contests whose oracle would take minutes on 25 million weights are held below this many only."""


@dataclass(frozen=True)
class Contest:
    """One method beside its oracle.

    Attributes:
        name: the method with its setting, and the oracle.
        ours: what is timed; its result.
        oracle: what is timed beside it.
        agreement: the share of weights on which the two results agree, 0 to 1; taken outside of the timing.
        largest: the most weights that it is held on.
    """

    name: str
    ours: Callable[[Tensor], object]
    oracle: Callable[[Tensor], object]
    agreement: Callable[[Tensor, object, object], float]
    largest: int = 10**9


def kept(weight: Tensor) -> Tensor:
    """The mask of a tensor that nothing has pruned."""
    return torch.ones_like(weight, dtype=torch.bool)


def layer(weight: Tensor) -> nn.Linear:
    """A layer with these weights, for torch's pruning functions work on modules."""
    made = nn.Linear(1, 1, bias=False)
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def same_masks(_weight: Tensor, ours: object, theirs: object) -> float:
    """The share of weights that both keep or both drop."""
    assert isinstance(ours, Tensor)
    assert isinstance(theirs, Tensor)
    return float((ours == theirs.bool().reshape(ours.shape)).float().mean())


def same_count(_weight: Tensor, ours: object, theirs: object) -> float:
    """1 when both drop as many, for masks that are drawn by lot."""
    assert isinstance(ours, Tensor)
    assert isinstance(theirs, Tensor)
    return float(int((~ours).sum()) == int((theirs == 0).sum()))


def same_values(weight: Tensor, ours: object, theirs: object) -> float:
    """The share of weights whose values agree to a millionth of the largest."""
    decoded = ours.decode() if isinstance(ours, Code) else ours
    assert isinstance(decoded, Tensor)
    assert isinstance(theirs, Tensor)
    return float(((decoded - theirs.reshape(decoded.shape)).abs() <= 1e-6 * weight.abs().max()).float().mean())


def not_worse(weight: Tensor, ours: object, theirs: object) -> float:
    """The oracle's squared error over ours: above 1 where ours is the better answer."""
    assert isinstance(ours, Code)
    assert isinstance(theirs, Tensor)
    mine, other = (
        float((weight - values.reshape(weight.shape)).double().square().sum()) for values in (ours.decode(), theirs)
    )
    return other / mine


def uniform(weight: Tensor, block: tuple[int, int]) -> Tensor:
    """Torchao's 4-bit symmetric quantization with one scale a block, decoded."""
    given = weight, MappingType.SYMMETRIC, block, torch.int8, -7, 7
    scale, zero_point = choose_qparams_affine(*given)
    numbers = quantize_affine(weight, block, scale, zero_point, torch.int8, -7, 7)
    return dequantize_affine(numbers, block, scale, zero_point, torch.int8, -7, 7)


def e4m3(weight: Tensor) -> Tensor:
    """FP8 with one scale, by numpy and ml_dtypes."""
    values = weight.numpy()
    scale = np.float32(np.abs(values).max() / 448.0)
    scaled = (values / scale).clip(-448, 448)
    return torch.from_numpy(scaled.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale)


def four_bits(weight: Tensor, kind: str) -> Tensor:
    """bitsandbytes, decoded."""
    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type=kind)
    return bnb.dequantize_4bit(packed, state)


def microscaled(weight: Tensor) -> Tensor:
    """MXFP4 by torchao, decoded."""
    scale, data = to_mx(weight, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode("floor"))
    return to_dtype(data, scale, torch.float4_e2m1fn_x2, 32, torch.float32)


def clustered(weight: Tensor) -> Tensor:
    """The optimum of kmeans1d for 16 clusters, decoded."""
    found = kmeans1d.cluster(weight.flatten().numpy().astype(np.float64), 16)
    return torch.tensor(found.centroids, dtype=torch.float32)[torch.tensor(found.clusters)]


def clustered_vectors(weight: Tensor) -> Tensor:
    """scikit-learn's k-means of subvectors of 4, decoded: 256 clusters, from k-means++, 25 steps."""
    found = KMeans(256, n_init=1, max_iter=25, tol=0, random_state=0).fit(weight.numpy().reshape(-1, 4))
    return torch.from_numpy(found.cluster_centers_)[torch.from_numpy(found.labels_).long()]


CONTESTS = (
    Contest(
        "random 50 % / torch.nn.utils.prune",
        lambda w: random.apply(w, kept(w), sparsity=0.5),
        lambda w: prune.random_unstructured(layer(w), "weight", amount=0.5).weight_mask,
        same_count,
    ),
    Contest(
        "magnitude 90 % / torch.nn.utils.prune",
        lambda w: magnitude.apply(w, kept(w), sparsity=0.9),
        lambda w: prune.l1_unstructured(layer(w), "weight", amount=0.9).weight_mask,
        same_masks,
    ),
    Contest(
        "sigma-threshold / numpy, σ in float64",
        lambda w: sigma_threshold.apply(w, kept(w), quality=1.0),
        lambda w: torch.from_numpy(np.abs(w.numpy()) > w.numpy().std(dtype=np.float64)),
        same_masks,
    ),
    Contest(
        "lamp 90 % / torch-pruning and a sort",
        lambda w: lamp.apply([w], [kept(w)], sparsity=0.9)[0],
        lambda w: torch.ones(w.numel(), dtype=torch.bool).scatter_(
            0,
            torch_pruning.importance.LAMPImportance()._lamp(w.flatten().square()).argsort()[: round(0.9 * w.numel())],
            value=False,
        ),
        same_masks,
    ),
    Contest(
        "n-m 2:4 / torchao",
        lambda w: n_m.apply(w, kept(w), keep=2, block=4),
        lambda w: mask_creator(w, N=2, M=4),
        same_masks,
    ),
    Contest(
        "filter-norm 30 % / torch.nn.utils.prune",
        lambda w: filter_norm.apply(w, kept(w), sparsity=0.3),
        lambda w: prune.ln_structured(layer(w), "weight", amount=0.3, n=2, dim=0).weight_mask,
        same_masks,
    ),
    Contest(
        "fpgm 30 % / scipy cdist",
        lambda w: fpgm.apply(w, kept(w), sparsity=0.3),
        lambda w: _furthest(w, cdist(w.numpy(), w.numpy()).sum(axis=1)),
        same_masks,
        largest=MILLION,
    ),
    Contest(
        "integer 4 bits, tensor / torchao",
        lambda w: integer.apply(w, kept(w), bits=4),
        lambda w: uniform(w, tuple(w.shape)),
        same_values,
    ),
    Contest(
        "integer 4 bits, groups of 128 / torchao",
        lambda w: integer.apply(w, kept(w), bits=4, granularity="group", group_size=128),
        lambda w: uniform(w, (1, 128)),
        same_values,
    ),
    Contest(
        "fp8 / ml_dtypes", lambda w: fp8.apply(w, kept(w), exponent_bits=4, granularity="tensor"), e4m3, same_values
    ),
    Contest("nf4 / bitsandbytes", lambda w: nf4.apply(w, kept(w)), lambda w: four_bits(w, "nf4"), same_values),
    Contest("fp4 / bitsandbytes", lambda w: fp4.apply(w, kept(w)), lambda w: four_bits(w, "fp4"), same_values),
    Contest("mx, MXFP4 / torchao", lambda w: mx.apply(w, kept(w)), microscaled, same_values),
    Contest(
        "nvfp4 / torchao, codes only",
        lambda w: nvfp4.apply(w, kept(w)),
        lambda w: nvfp4_quantize(w, per_tensor_scale=per_tensor_amax_to_scale(w.abs().max())),
        lambda _w, ours, theirs: float(
            (ours.coded_scale.codes == theirs[0].view(torch.uint8).reshape(ours.coded_scale.codes.shape)).float().mean()
        ),
    ),
    Contest(
        "binary / torchao parq",
        lambda w: binary.apply(w, kept(w), bits=1, granularity="tensor"),
        lambda w: LSBQuantizer().quantize(w, 1)[0],
        same_values,
    ),
    Contest(
        "ternary, best threshold / torchao parq (quality: their error over ours)",
        lambda w: ternary.apply(w, kept(w), threshold="best"),
        lambda w: LSBQuantizer(optimal=True).quantize(w, 0)[0],
        not_worse,
        largest=MILLION,
    ),
    Contest(
        "k-means 16, optimal / kmeans1d (quality: their error over ours)",
        lambda w: k_means.apply(w, kept(w), clusters=16, start="optimal"),
        clustered,
        not_worse,
        largest=MILLION,
    ),
    Contest(
        "product-quantization 256 of 4 / scikit-learn, as many steps (quality: their error over ours)",
        lambda w: product_quantization.apply(w, kept(w), iterations=25),
        clustered_vectors,
        not_worse,
        largest=MILLION,
    ),
)


def _furthest(weight: Tensor, sums: np.ndarray) -> Tensor:
    """The mask that drops the 30 % of channels nearest to all others."""
    dropped = np.argsort(sums, kind="stable")[: round(0.3 * len(sums))]
    mask = torch.ones(weight.shape, dtype=torch.bool)
    mask[torch.from_numpy(dropped)] = False
    return mask
