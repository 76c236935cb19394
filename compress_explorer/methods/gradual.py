"""Gradual pruning: the sparsity grows while the network is trained."""

from typing import Literal

from torch import Tensor

from compress_explorer.methods.sparsity import sparsity_parameter
from compress_explorer.methods.training import Growth, Training, training_parameters
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def cubic_sparsity(step: int, last: int, final: float, initial: float = 0.0) -> float:
    """The sparsity after `step` of `last` training steps: it grows fast at first, and slowly towards the end.

    s_t = s_f + (s_i - s_f) (1 - t/(nΔt))³, with t = step and nΔt = last; Zhu & Gupta 2017, Eq. 1.

    Args:
        step: 0 or more; from `last` on nothing grows any more.
        last: 1 or more.
        final: s_f, 0 to 1.
        initial: s_i, 0 to 1.
    """
    left = 1 - min(step, last) / last
    return final + (initial - final) * left**3


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    sparsity: float = 0.9,
    every: int = 10,
    until: float = 0.7,
    epochs: int = 2,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    optimiser: Literal["adam", "sgd"] = "adam",
    seed: int = 0,
) -> Training:
    """Asks for a training in which, every few steps, each layer loses its smallest weights, as `cubic_sparsity` says.

    What was pruned once stays zero. In the rest of the training the weights that are left recover. Weights that are
    quantized already are left alone.

    Args:
        weight: float32 [channels, n]; the engine trains and prunes it.
        kept: bool [channels, n], False where an earlier step pruned. Those stay pruned and count.
        sparsity: the fraction of zeros in each layer at the end, 0 to 1.
        every: training steps between two prunings, 1 or more.
        until: the fraction of the training after which nothing more is pruned, above 0 to 1.
        epochs: passes over the train split, 1 or more.
        learning_rate: above 0; in the unit of the optimiser.
        batch_size: samples of one step, 1 or more.
        optimiser: "adam" or "sgd".
        seed: of the samples' order, and of what the network draws.

    Returns:
        How the engine shall train.
    """
    del weight, kept
    return Training(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        learning_rate=learning_rate,
        seed=seed,
        growth=Growth(sparsity=sparsity, every=every, until=until),
    )


METHOD = Method(
    name="gradual",
    label="Gradual pruning",
    family="Recovery",
    summary="Prunes small weights a few at a time while the network is trained, and lets the others adapt.",
    formula="s_t = s_f + (s_i − s_f)·(1 − t / (n·Δt))³,  s_i = 0;  every Δt steps the smallest |w| of each layer go",
    source="Zhu & Gupta 2017 (arXiv 1710.01878) Eq. 1",
    parameters=(
        sparsity_parameter(default=0.9),
        Parameter(
            name="every",
            label="Prune every",
            kind="integer",
            default=10,
            minimum=1,
            maximum=1_000_000,
            soft_maximum=100,
            unit="steps",
            help="Training steps between two prunings.",
        ),
        Parameter(
            name="until",
            label="Prune until",
            kind="float",
            default=0.7,
            minimum=0.01,
            maximum=1.0,
            soft_minimum=0.1,
            step=0.05,
            unit="%",
            help="The part of the training in which the sparsity grows; in the rest the weights that are left recover.",
        ),
        *training_parameters(),
    ),
    scope="tensor",
    result="trained",
    apply=apply,
)
