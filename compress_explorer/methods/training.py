"""How a network is trained between two steps of a recipe, as data; and the parameters that decide on it."""

from dataclasses import dataclass
from typing import Literal

from compress_explorer.methods.seed import seed_parameter
from compress_explorer.spec.parameter import Parameter


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Pruning while the network is trained: how the sparsity of each layer grows.

    Attributes:
        sparsity: at the end, 0 to 1.
        every: training steps between two prunings.
        until: the fraction of all training steps after which nothing more is pruned, above 0 to 1.
    """

    sparsity: float
    every: int
    until: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the engine trains a network.

    Attributes:
        epochs: passes over the train split.
        batch_size: samples of one step.
        optimiser: "adam" or "sgd".
        learning_rate: at the beginning; it falls to 0 along a cosine.
        seed: of the samples' order, and of what the network draws.
        quantized: what becomes of weights that are quantized. "shared": the codes stay, the codebooks and scales that
            they share are trained. "recomputed": the weights behind the codes are trained, and after each step
            quantized by the method that quantized them. "learned": likewise, with the scale trained as well.
        growth: of the sparsity; None where nothing is pruned.
    """

    epochs: int
    batch_size: int
    optimiser: Literal["adam", "sgd"]
    learning_rate: float
    seed: int
    quantized: Literal["shared", "recomputed", "learned"] = "shared"
    growth: Growth | None = None


def training_parameters(*, epochs: int = 2, learning_rate: float = 1e-3) -> tuple[Parameter, ...]:
    """The declarations of length, learning rate, batches, optimiser and seed, in this order.

    Args:
        epochs: the default.
        learning_rate: the default, a power of ten.
    """
    return (
        Parameter(
            name="epochs",
            label="Epochs",
            kind="integer",
            default=epochs,
            minimum=1,
            maximum=10_000,
            soft_maximum=20,
            help="Passes over the train split.",
        ),
        Parameter(
            name="learning_rate",
            label="Learning rate",
            kind="float",
            default=learning_rate,
            minimum=1e-8,
            maximum=100.0,
            soft_minimum=1e-5,
            soft_maximum=1e-1,
            step=0.25,
            scale="log10",
            help="How far a step of the optimiser goes at the beginning; it falls to 0 along a cosine.",
        ),
        Parameter(
            name="batch_size",
            label="Batch size",
            kind="integer",
            default=64,
            minimum=1,
            maximum=65_536,
            soft_minimum=16,
            soft_maximum=512,
            scale="log2",
            unit="samples",
            help="Samples whose mean gradient makes one step.",
        ),
        Parameter(
            name="optimiser",
            label="Optimiser",
            kind="choice",
            default="adam",
            choices=("adam", "sgd"),
            help="Adam, or stochastic gradient descent with Nesterov momentum 0.9, which wants a higher learning rate.",
        ),
        seed_parameter("The order of the samples, and what the network draws while it is trained."),
    )


def enough_epochs(samples: int, shown: int) -> int:
    """The epochs in which about `shown` samples are shown, 1 to 30: small data sets are shown often."""
    return min(max(round(shown / samples), 1), 30)
