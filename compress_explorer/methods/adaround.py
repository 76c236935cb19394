"""AdaRound: learns for each weight whether to round it up or down."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from compress_explorer.methods import integer
from compress_explorer.methods.code import Code
from compress_explorer.methods.evidence import InputStatistics, by_groups, samples_parameter
from compress_explorer.methods.granularity import granularity_parameter
from compress_explorer.methods.second_order import mean_curvature
from compress_explorer.methods.uniform_codes import levels_of, with_numbers
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter

STRETCH = (-0.1, 1.1)
"""The ends of the rectified sigmoid before it is cut off at 0 and 1: so it reaches both."""

WARM_START = 0.2
"""The fraction of the iterations before the choices are pulled towards 0 and 1."""

BETA = (20.0, 2.0)
"""The exponent of that pull when it begins and at the end: at first it leaves choices near the middle alone."""

LEARNING_RATE = 0.1


def apply(
    weight: Tensor,
    kept: Tensor,
    statistics: InputStatistics,
    *,
    bits: int = 4,
    scheme: str = "symmetric",
    granularity: str = "channel",
    group_size: int = 128,
    iterations: int = 1000,
    regularization: float = 1.0,
) -> Code:
    """Rounds each weight up or down such that the layer's output changes least.

    The levels are those of the method "integer" for these weights. A choice h = clip(1.2 σ(V) - 0.1, 0, 1) between
    down (0) and up (1) is learned for each weight by Adam: it lowers tr(Δ H Δᵀ) + λ Σ (1 - |2h - 1|^β), with
    Δ the change of the weights in steps, H the second moment of the inputs, its mean diagonal 1, and β falling from
    20 to 2. This is the paper's reconstruction of one layer's output without its activation function; the mean over
    all input vectors takes the place of batches, so nothing is random. At last h is rounded.

    A λ of 0.01, AIMET's default as are 20 to 2 and the start after a fifth of the iterations, weighs against the error
    of the output itself. Here the error is in steps, so that one λ suits layers of any scale: it begins at 0, for h
    begins as w stands between its levels, and is of the order 1.

    A row that rounding to nearest serves better is rounded to nearest: the error is never above its. Pruned weights
    stay zero. Weights of features that were zero in every calibration sample are rounded to nearest.

    Args:
        weight: float32 [channels, n], finite; magnitudes up to 1e38.
        kept: bool [channels, n], False where an earlier step pruned.
        statistics: of the layer's inputs.
        bits: width of one code, 2 to 8.
        scheme: "symmetric" or "affine", as of "integer".
        granularity: "channel" or "group".
        group_size: neighbouring columns that share a scale; only for "group".
        iterations: of the optimizer.
        regularization: λ.

    Returns:
        The code with grid "integer".
    """
    nearest = integer.apply(weight, kept, bits=bits, scheme=scheme, granularity=granularity, group_size=group_size)
    levels = levels_of(nearest)
    exact = torch.where(kept, weight.double() / levels.scale, 0.0)
    down = torch.minimum(torch.maximum(exact.floor(), levels.lowest), levels.highest)
    up = torch.where(kept, torch.minimum(torch.maximum(exact.floor() + 1, levels.lowest), levels.highest), 0.0)
    closest = torch.minimum(torch.maximum(exact.round(), down), up)

    exact, down, up, closest, scale = (
        by_groups(entry, statistics) for entry in (exact, down, up, closest, levels.scale)
    )
    step = scale / scale.mean(dim=2, keepdim=True)
    hessian = statistics.moment / mean_curvature(statistics.moment)[:, None, None]
    above, room, steps, curvature = (entry.float() for entry in (exact - down, up - down, step, hessian))
    choice = _learn(above, room, steps, curvature, iterations, regularization, statistics.tell)
    chosen = torch.where(choice >= 0.5, up, down)
    better = _output_error(step * (chosen - exact), hessian) < _output_error(step * (closest - exact), hessian)
    return with_numbers(nearest, torch.where(better, chosen, closest).reshape(weight.shape))


def _output_error(change: Tensor, hessian: Tensor) -> Tensor:
    """What each row adds to tr(Δ H Δᵀ), [g, rows, 1]."""
    return ((change @ hessian) * change).sum(dim=2, keepdim=True)


def _learn(
    above: Tensor,
    room: Tensor,
    step: Tensor,
    hessian: Tensor,
    iterations: int,
    regularization: float,
    tell: Callable[[str], None],
) -> Tensor:
    """The choices h after so many iterations of Adam, [g, rows, n] as all but `hessian`.

    Args:
        above: how far each weight is above its lower level, in steps.
        room: from there to its upper level: 1, or 0 where it has no choice.
        step: the distance of two levels.
        hessian: [g, n, n].
        iterations: of Adam.
        regularization: λ.
        tell: called every ten iterations.
    """
    low, high = STRETCH
    start = (above.clamp(0, 1) - low) / (high - low)
    logits = torch.log(start / (1 - start))
    first, second = torch.zeros_like(logits), torch.zeros_like(logits)
    for turn, beta in enumerate(_betas(iterations), start=1):
        if turn % 10 == 0:
            tell(f"{turn:,} of {iterations:,} iterations")
        sigmoid = torch.sigmoid(logits)
        choice = (low + (high - low) * sigmoid).clamp_(0, 1)
        slope = (2 * step * room) * ((step * (room * choice - above)) @ hessian)
        if beta is not None:
            side = 2 * choice - 1
            slope -= (2 * regularization * beta) * side.abs().pow_(beta - 1).copysign_(side)
        # The clip stops what would push a choice further, and Adam's momentum all else.
        slope *= (high - low) * sigmoid * (1 - sigmoid) * ((choice > 0) & (choice < 1))
        first.lerp_(slope, 0.1)
        second.lerp_(slope.square_(), 0.001)
        scaled = first / (1 - 0.9**turn)
        logits -= LEARNING_RATE * scaled / ((second / (1 - 0.999**turn)).sqrt_() + 1e-8)
    return (low + (high - low) * torch.sigmoid(logits)).clamp_(0, 1)


def _betas(iterations: int) -> Iterator[float | None]:
    """The exponent of the pull in each iteration; None while there is none."""
    begin = round(WARM_START * iterations)
    for turn in range(iterations):
        if turn < begin:
            yield None
        else:
            yield BETA[0] + (BETA[1] - BETA[0]) * (turn - begin) / max(iterations - begin - 1, 1)


METHOD = Method(
    name="adaround",
    label="AdaRound",
    family="Uniform quantization",
    summary="Learns for each weight whether to round up or down, so that the layer's output changes least.",
    formula="q = clamp(⌊w/s⌋ + h),  min over h of tr(Δ·H·Δᵀ) + λ·Σ(1 − |2h − 1|^β),  h = clip(1.2·σ(V) − 0.1, 0, 1),  "
    "H = mean(x·xᵀ)",
    source="Nagel et al. 2020, AdaRound (arXiv 2004.10568)",
    parameters=(
        Parameter(
            name="bits",
            label="Bit width",
            kind="integer",
            default=4,
            minimum=2,
            maximum=8,
            unit="bits",
            help="Bits of one stored weight: at most 2^bits levels.",
        ),
        integer.METHOD.parameter("scheme"),
        granularity_parameter("channel", "group", default="channel"),
        integer.METHOD.parameter("group_size"),
        Parameter(
            name="iterations",
            label="Iterations",
            kind="integer",
            default=1000,
            minimum=1,
            maximum=100_000,
            soft_minimum=100,
            soft_maximum=2000,
            step=100,
            help="Steps of the optimizer that learns the rounding.",
        ),
        Parameter(
            name="regularization",
            label="Pull to 0 and 1",
            kind="float",
            default=1.0,
            minimum=0.0,
            maximum=1000.0,
            soft_minimum=0.1,
            soft_maximum=3.0,
            step=0.1,
            help="How strongly each choice is pulled to up or down while it is learned.",
        ),
        samples_parameter(),
    ),
    scope="tensor",
    result="code",
    needs="inputs",
    apply=apply,
)
