"""A sweep made in numpy alone, whose every figure is known independently of the engine."""

import math
from dataclasses import replace

import numpy as np

from compress_explorer.spec.evaluation import Evaluation, Interval
from compress_explorer.spec.parameter import Parameter
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.sweep import Frame, Histogram, LayerError, Sweep

SPARSITY = Parameter(
    name="sparsity",
    label="Sparsity",
    kind="float",
    default=0.9,
    minimum=0,
    maximum=1,
    soft_maximum=0.99,
    step=0.01,
    unit="%",
    help="The fraction of weights that are zero.",
)
BITS = Parameter(
    name="bits", label="Bit width", kind="integer", default=4, minimum=1, maximum=8, unit="bits", help="Bits a weight."
)
SHAPES = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}
LEFT_ALONE = 1640
HEADER = 412
TESTED = 10_000


def network(shapes: dict[str, tuple[int, int]] = SHAPES) -> dict[str, np.ndarray]:
    """Weights of every layer, float64, seeded."""
    random = np.random.default_rng(0)
    return {name: random.normal(0, 1 / math.sqrt(shape[1]), shape) for name, shape in shapes.items()}


def before(weights: dict[str, np.ndarray]) -> dict[str, int]:
    """Bytes of each layer in float32."""
    return {name: 4 * weight.size for name, weight in weights.items()}


def evaluation(value: float, count: int = TESTED, baseline: float = 0.9833) -> Evaluation:
    """An evaluation with intervals of the size that real ones have."""
    half = 1.96 * math.sqrt(value * (1 - value) / count)
    lost = value - baseline
    paired = 1.96 * math.sqrt((abs(lost) + 0.001) / count)
    return Evaluation(
        value=value,
        interval=Interval(value - half, value + half),
        count=count,
        total=TESTED,
        split="test",
        difference=lost,
        difference_interval=Interval(lost - paired, lost + paired),
    )


def prune(weight: np.ndarray, sparsity: float) -> tuple[np.ndarray, float]:
    """The weights with the smallest magnitudes set to zero, and the largest magnitude among those."""
    order = np.sort(np.abs(weight), axis=None)
    cut = round(sparsity * weight.size)
    threshold = order[cut - 1] if cut else 0.0
    return np.where(np.abs(weight) > threshold, weight, 0), float(threshold)


def quantize(weight: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The weights rounded to symmetric levels, and the levels."""
    most = max(2 ** (bits - 1) - 1, 1)
    scale = np.abs(weight).max() / most
    return np.clip(np.round(weight / scale), -most, most) * scale, np.arange(-most, most + 1) * scale


def frame(
    value: float,
    weights: dict[str, np.ndarray],
    compressed: dict[str, np.ndarray],
    edges: np.ndarray,
    bits: float,
    levels: tuple[float, ...] = (),
    threshold: float | None = None,
) -> Frame:
    """The frame of one value, counted with numpy."""
    old = np.concatenate([weight.ravel() for weight in weights.values()])
    new = np.concatenate([weight.ravel() for weight in compressed.values()])
    kept = {name: int(np.count_nonzero(weight)) for name, weight in compressed.items()}
    stored = {name: math.ceil(kept[name] * bits / 8) for name in compressed}
    positions = {
        name: math.ceil(weight.size / 8) if kept[name] < weight.size else 0 for name, weight in weights.items()
    }
    parts = {"values": sum(stored.values()), "positions": sum(positions.values()), "scales": 4 * len(weights)}
    parts |= {"zero_points": 0, "codebook": 0, "left alone": LEFT_ALONE, "header": HEADER}
    return Frame(
        value=value,
        exact=True,
        file=sum(parts.values()),
        zeros=float(np.mean(new == 0)),
        histogram=Histogram(
            edges=tuple(edges.tolist()),
            before=tuple(np.histogram(old, edges)[0].tolist()),
            after=tuple(np.histogram(new[new != 0], edges)[0].tolist()),
            zeros_before=int(np.sum(old == 0)),
            zeros_after=int(np.sum(new == 0)),
            levels=levels,
            threshold=threshold,
        ),
        errors=tuple(
            LayerError(
                name,
                float(np.sum(weight**2)),
                float(np.sum((weight - compressed[name]) ** 2)),
                float(np.abs(weight - compressed[name]).max()),
                weight.size,
            )
            for name, weight in weights.items()
        ),
        layer_bytes=tuple((name, stored[name] + positions[name] + 4) for name in weights),
        layer_zeros=tuple((name, 1 - kept[name] / weight.size) for name, weight in weights.items()),
        breakdown=tuple(parts.items()),
    )


def edges_of(weights: dict[str, np.ndarray], bins: int = 161) -> np.ndarray:
    """An axis that holds all weights, zero in the middle of its middle bin."""
    limit = 1.02 * max(float(np.abs(weight).max()) for weight in weights.values())
    return np.linspace(-limit, limit, bins + 1)


def sparsity_sweep(weights: dict[str, np.ndarray] | None = None, values: tuple[float, ...] | None = None) -> Sweep:
    """Magnitude pruning of the whole network at every position of its slider, all of it measured."""
    weights = network() if weights is None else weights
    values = tuple(float(value) for value in SPARSITY.positions()) if values is None else values
    edges = edges_of(weights)
    frames = []
    for value in values:
        pruned = {name: prune(weight, value)[0] for name, weight in weights.items()}
        threshold = prune(weights[next(iter(weights))], value)[1]
        frames.append(frame(value, weights, pruned, edges, 32, threshold=threshold or None))
    accuracies = [0.1 + 0.8833 / (1 + math.exp(40 * (value - 0.95))) for value in values]
    return Sweep(
        recipe=Recipe(Step("magnitude", sparsity=0.9)),
        step=0,
        parameter="sparsity",
        values=values,
        frames=tuple(frames),
        evaluations=tuple(evaluation(value) for value in accuracies),
        baseline_file=4 * sum(weight.size for weight in weights.values()) + LEFT_ALONE + HEADER,
        baseline=replace(evaluation(0.9833), difference=None, difference_interval=None),
    )


def bits_sweep(weights: dict[str, np.ndarray] | None = None) -> Sweep:
    """Symmetric quantization of the whole network at 1 to 8 bits, measured at some of them."""
    weights = network() if weights is None else weights
    edges = edges_of(weights)
    largest = {"all": np.concatenate([weight.ravel() for weight in weights.values()])}
    frames = []
    for bits in range(1, 9):
        levels = quantize(largest["all"], bits)[1]
        step = levels[1] - levels[0]
        rounded = {
            name: np.clip(np.round(weight / step), levels.min() / step, levels.max() / step) * step
            for name, weight in weights.items()
        }
        frames.append(frame(bits, weights, rounded, edges, bits, levels=tuple(levels.tolist())))
    accuracies = [0.11, 0.35, 0.93, 0.978, 0.981, 0.983, 0.9833, 0.9834]
    known = [
        None if bits == 2 else evaluation(value, 2048 if bits == 5 else TESTED)
        for bits, value in enumerate(accuracies, start=1)
    ]
    return Sweep(
        recipe=Recipe(Step("integer", bits=4)),
        step=0,
        parameter="bits",
        values=tuple(range(1, 9)),
        frames=tuple(frames),
        evaluations=tuple(known),
        baseline_file=4 * sum(weight.size for weight in weights.values()) + LEFT_ALONE + HEADER,
        baseline=replace(evaluation(0.9833), difference=None, difference_interval=None),
    )
