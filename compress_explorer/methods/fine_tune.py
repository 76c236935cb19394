"""Fine-tuning: a short training in which zeros stay zeros and codes stay codes."""

from typing import Literal

from torch import Tensor

from compress_explorer.methods.training import Training, training_parameters
from compress_explorer.spec.method import Method


def apply(
    weight: Tensor,
    kept: Tensor,
    *,
    epochs: int = 2,
    learning_rate: float = 1e-3,
    batch_size: int = 64,
    optimiser: Literal["adam", "sgd"] = "adam",
    seed: int = 0,
) -> Training:
    """Asks for a training that keeps what the steps before fixed.

    Pruned weights stay exactly zero, codes stay as they are. The gradient of a codebook's entry is the sum of the
    gradients of the weights that share it, and so is that of a scale. Codebooks and float32 scales are trained;
    scales that the file holds in 8 bits stay. Plain weights, biases and normalizations are trained as usual.

    Args:
        weight: float32 [channels, n]; the engine trains it.
        kept: bool [channels, n], False where an earlier step pruned.
        epochs: passes over the train split, 1 or more.
        learning_rate: above 0; in the unit of the optimiser.
        batch_size: samples of one step, 1 or more.
        optimiser: "adam" or "sgd".
        seed: of the samples' order, and of what the network draws.

    Returns:
        How the engine shall train.
    """
    del weight, kept
    return Training(epochs=epochs, batch_size=batch_size, optimiser=optimiser, learning_rate=learning_rate, seed=seed)


METHOD = Method(
    name="fine-tune",
    label="Fine-tuning",
    family="Recovery",
    summary="Trains what is left for a few epochs: zeros stay zeros, and of shared values the values are trained, "
    "not which weights share them.",
    formula="W ← W − η·M ⊙ ∂L/∂W;  of codes I with a codebook C: ∂L/∂C_k = Σ ∂L/∂W_ij · 1[I_ij = k]",
    source="Han, Pool, Tran & Dally 2015 (arXiv 1506.02626) §3; Han, Mao & Dally 2016 (arXiv 1510.00149) §3.3, Eq. 3",
    parameters=training_parameters(),
    scope="tensor",
    result="trained",
    apply=apply,
)
