"""Contests of methods that look at a layer's inputs, beside their algorithms as the papers print them."""

import functools

import torch
from torch import Tensor

from benchmarks.oracles import MILLION, Contest, kept, same_masks
from compress_explorer.methods import gptq, sparsegpt, wanda
from compress_explorer.methods.code import Code
from compress_explorer.methods.evidence import InputStatistics
from compress_explorer.methods.values import Values

VECTORS = 4096
DAMPING = 0.01


@functools.cache
def inputs(columns: int) -> Tensor:
    """Correlated input vectors, float64 [vectors, columns]."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64) / columns**0.5
    vectors = torch.randn(VECTORS, columns, generator=generator, dtype=torch.float64)
    return vectors + vectors @ mixing


@functools.cache
def moment(columns: int) -> Tensor:
    """The mean of x xᵀ."""
    return inputs(columns).T @ inputs(columns) / VECTORS


@functools.cache
def statistics(columns: int) -> InputStatistics:
    """What our methods are given."""
    vectors = inputs(columns)
    return InputStatistics(
        moment=moment(columns)[None],
        mean=vectors.mean(dim=0)[None],
        peak=vectors.abs().amax(dim=0).float()[None],
        vectors=VECTORS,
        samples=VECTORS,
    )


def upper_factor(columns: int) -> Tensor:
    """The upper Cholesky factor of the damped second moment's inverse."""
    second = moment(columns)
    damped = second + DAMPING * second.diagonal().mean() * torch.eye(columns, dtype=torch.float64)
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)


def wanda_of_the_paper(weight: Tensor) -> Tensor:
    """|w| times the norm of its input; of each row the lower half goes."""
    scores = weight.abs() * moment(weight.shape[1]).diagonal().sqrt().float()
    lowest = torch.sort(scores, dim=1, stable=True).indices[:, : weight.shape[1] // 2]
    return torch.ones_like(weight, dtype=torch.bool).scatter_(1, lowest, value=False)


def gptq_of_the_paper(weight: Tensor) -> Tensor:
    """Algorithm 1 with blocks of one column: 4 bits, one scale a channel."""
    work, factor = weight.double().clone(), upper_factor(weight.shape[1])
    scale = weight.abs().amax(dim=1).double() / 7
    for column in range(work.shape[1]):
        exact = work[:, column].clone()
        rounded = (exact / scale).round().clamp(-7, 7) * scale
        error = (exact - rounded) / factor[column, column]
        work[:, column:] -= torch.outer(error, factor[column, column:])
        work[:, column] = rounded
    return work.float()


def sparsegpt_of_the_paper(weight: Tensor) -> Tensor:
    """Algorithm 1, half of every 128 columns: the mask of a block, then its columns one by one."""
    work, factor = weight.double().clone(), upper_factor(weight.shape[1])
    for start in range(0, work.shape[1], 128):
        block = slice(start, start + 128)
        scores = work[:, block].square() / factor.diagonal()[block].square()
        dropped = scores <= scores.flatten().kthvalue(scores.numel() // 2).values
        for column in range(start, min(start + 128, work.shape[1])):
            exact = work[:, column].clone()
            final = torch.where(dropped[:, column - start], 0.0, exact)
            work[:, column:] -= torch.outer((exact - final) / factor[column, column], factor[column, column:])
            work[:, column] = final
    return work.float()


def output_error(weight: Tensor, ours: object, theirs: object) -> float:
    """Their error of the layer's output over ours."""
    assert isinstance(theirs, Tensor)
    mine = ours.decode() if isinstance(ours, Code) else ours.matrix if isinstance(ours, Values) else None
    assert mine is not None
    changes = [(entry.double() - weight.double()) for entry in (mine, theirs)]
    own, other = (float(((change @ moment(weight.shape[1])) * change).sum()) for change in changes)
    return other / own


CALIBRATED = (
    Contest(
        "wanda 50 % / torch.sort",
        lambda w: wanda.apply(w, kept(w), statistics(w.shape[1]), sparsity=0.5),
        wanda_of_the_paper,
        same_masks,
        largest=MILLION,
    ),
    Contest(
        "gptq 4 bits / Algorithm 1 in torch (quality: their error over ours)",
        lambda w: gptq.apply(w, kept(w), statistics(w.shape[1]), bits=4),
        gptq_of_the_paper,
        output_error,
        largest=MILLION,
    ),
    Contest(
        "sparsegpt 50 % / Algorithm 1 in torch (quality: their error over ours)",
        lambda w: sparsegpt.apply(w, kept(w), statistics(w.shape[1]), sparsity=0.5),
        sparsegpt_of_the_paper,
        output_error,
        largest=MILLION,
    ),
)
