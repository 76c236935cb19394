"""Quantization-aware training: the weights behind the codes learn, and are quantized at each step."""

from typing import Literal

from torch import Tensor

from compress_explorer.methods.training import Training, training_parameters
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Parameter


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    scale: Literal["recomputed", "learned"] = "recomputed",
    epochs: int = 2,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    optimiser: Literal["adam", "sgd"] = "adam",
    seed: int = 0,
) -> Training:
    """Asks for a training that quantizes at each step as the quantizing step before did, and then once more.

    The network computes with quantized weights; their gradient goes, as it is, to the float weights behind them (the
    straight-through estimator). These begin as they were before they were quantized, or, behind a quantizer that looked
    at data, as it left them. Pruned weights stay zero, and weights that are not quantized are trained as usual.

    Args:
        weight: float32 [channels, n]; the engine trains what it was before it was quantized.
        kept: bool [channels, n], False where an earlier step pruned.
        scale: "recomputed": all of the code is made anew of the weights at each step, by the same method with the
            same values. "learned": scales are trained like weights (LSQ), from those of the code on; the paper begins
            at 2·mean|w|/√Q_P. For evenly spaced levels; those of data-driven methods too.
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
        quantized=scale,
    )


METHOD = Method(
    name="quantization-aware",
    label="Quantization-aware training",
    family="Recovery",
    summary="Trains the weights behind the codes while the network computes with quantized ones; the scale may learn "
    "too.",
    formula="ŵ = Q(w),  ∂L/∂w ← ∂L/∂ŵ;  learned scale: ŵ = s·⌊clip(w/s, −Q_N, Q_P)⌉,  ∂ŵ/∂s = ⌊w/s⌉ − w/s, "
    "or −Q_N, Q_P where clipped, times 1/√(N·Q_P)",
    source="Jacob et al. 2018 (arXiv 1712.05877) §3; Bengio et al. 2013 (arXiv 1308.3432); "
    "learned: Esser et al. 2020, LSQ (arXiv 1902.08153) §2",
    parameters=(
        Parameter(
            name="scale",
            label="Scale",
            kind="choice",
            default="recomputed",
            choices=("recomputed", "learned"),
            help="Made anew of the weights at each step by the method that quantized them, or trained like a weight.",
        ),
        *training_parameters(),
    ),
    scope="tensor",
    result="trained",
    apply=apply,
)
