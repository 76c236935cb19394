"""How each bundled network was trained, as data: the table behind ``python -m compress_explorer.zoo.train``.

The values were chosen on validation accuracy; no network's test accuracy had a part in it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """One network's architecture, data and training.

    Attributes:
        architecture: a key of `networks.ARCHITECTURES`.
        data: a key of `tasks.DEFINITIONS`.
        seed: of the initial weights, the order of the samples and the augmentation.
        epochs: passes over the training split.
        batch_size: samples per step; the last incomplete batch of an epoch is dropped.
        optimiser: ``"sgd"`` (Nesterov momentum 0.9) or ``"adamw"``.
        learning_rate: the peak; a linear rise over the first `warm_up` of the steps, then a cosine to 0.
        weight_decay: the optimiser's, on every parameter.
        warm_up: fraction of all steps, above 0.
        shift: largest random shift in pixels; 0 for none.
        flip: whether images are mirrored at random.
        keep_initial: whether the initial weights are kept as well.
    """

    architecture: str
    data: str
    seed: int
    epochs: int
    batch_size: int
    optimiser: str
    learning_rate: float
    weight_decay: float
    warm_up: float = 0.2
    shift: int = 0
    flip: bool = False
    keep_initial: bool = False


TRAININGS: dict[str, Training] = {
    "digits-mlp": Training(
        architecture="digits-mlp",
        data="digits",
        seed=1,
        epochs=60,
        batch_size=32,
        optimiser="adamw",
        learning_rate=5e-3,
        weight_decay=0.05,
    ),
    "lenet-300-100": Training(
        architecture="lenet-300-100",
        data="mnist",
        seed=1,
        epochs=40,
        batch_size=128,
        optimiser="sgd",
        learning_rate=0.1,
        weight_decay=1e-4,
        shift=1,
        keep_initial=True,
    ),
    "lenet-5": Training(
        architecture="lenet-5",
        data="mnist",
        seed=1,
        epochs=15,
        batch_size=128,
        optimiser="sgd",
        learning_rate=0.05,
        weight_decay=5e-4,
        shift=2,
    ),
    "depthwise-fashion": Training(
        architecture="depthwise",
        data="fashion",
        seed=1,
        epochs=16,
        batch_size=128,
        optimiser="sgd",
        learning_rate=0.2,
        weight_decay=5e-4,
        shift=2,
        flip=True,
    ),
    "resnet-fashion": Training(
        architecture="resnet-8",
        data="fashion",
        seed=1,
        epochs=18,
        batch_size=128,
        optimiser="sgd",
        learning_rate=0.2,
        weight_decay=5e-4,
        shift=2,
        flip=True,
    ),
    "vit-fashion": Training(
        architecture="vision-transformer",
        data="fashion",
        seed=1,
        epochs=16,
        batch_size=128,
        optimiser="adamw",
        learning_rate=2e-3,
        weight_decay=0.05,
        shift=1,
        flip=True,
    ),
    "resnet20-cifar10": Training(
        architecture="resnet-20",
        data="cifar10",
        seed=1,
        epochs=20,
        batch_size=128,
        optimiser="sgd",
        learning_rate=0.2,
        weight_decay=5e-4,
        shift=4,
        flip=True,
    ),
}
