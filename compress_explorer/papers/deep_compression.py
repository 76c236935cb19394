"""Deep Compression on MNIST: Han, Mao & Dally 2016 (arXiv 1510.00149), Tables 1 to 3.

A network is pruned to the densities of its tables in three rounds, each
followed by retraining; its weights then share 32, 64 or 256 values a layer, which are trained; positions are relative
indices; both are Huffman-coded. The sizes are those of the files.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from compress_explorer.engine import file as compressed_file
from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.safetensors_size import plain_file_bytes
from compress_explorer.engine.size import tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.task import Split, Task
from compress_explorer.engine.training.plan import Plan
from compress_explorer.papers.counting import Pair, right
from compress_explorer.papers.parts import Parts, fresh
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.zoo.augment import random_shift
from compress_explorer.zoo.catalogue import load
from compress_explorer.zoo.datasets import mnist
from compress_explorer.zoo.networks import LeNet5, LeNet300100
from compress_explorer.zoo.tasks import DEFINITIONS, images_tensor
from compress_explorer.zoo.tasks import task as zoo_task


@dataclass(frozen=True)
class Layer:
    """What the paper's table says of a layer.

    Attributes:
        name: its name in our network.
        density: the fraction of weights that is kept.
        bits: of a shared value's index.
    """

    name: str
    density: float
    bits: int


LENET_300_100 = (Layer("fc1", 0.08, 6), Layer("fc2", 0.09, 6), Layer("fc3", 0.26, 6))
LENET_5 = (Layer("conv1", 0.66, 8), Layer("conv2", 0.12, 8), Layer("ip1", 0.08, 5), Layer("ip2", 0.19, 5))


@dataclass(frozen=True)
class Settings:
    """Everything the results depend on.

    Attributes:
        network: "lenet-300-100" or "lenet-5".
        start: "trained", as in the paper, for `epochs` and without augmentation; or the network of the zoo.
        seeds: of every training.
        epochs: of the first training.
        shift: pixels by which each training image is shifted at most, once and for all; 0 as in the paper.
        rounds: prunings to the final density, in equal ratios.
        retraining: epochs after each of them.
        shared: epochs in which the shared values are trained.
        batch_size: images of one step.
        learning_rate: Adam's peak, in training and retraining; it falls to 0 along a cosine.
        weight_decay: of the first training. Weights that are no use become small then, as with the L2 regularization
            of the paper's networks; 0.5 was chosen by size and errors on validation, with another seed.
        shared_rate: the same of the shared values' training.
        images: how many training images are used; None: all 55,000.
    """

    network: str
    start: Literal["trained", "bundled"] = "trained"
    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: int = 8
    rounds: int = 3
    retraining: int = 3
    shared: int = 2
    shift: int = 0
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.5
    shared_rate: float = 1e-4
    images: int | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The paper's table."""
        return LENET_5 if self.network == "lenet-5" else LENET_300_100

    @property
    def build(self) -> Callable[[], nn.Module]:
        """Makes the network."""
        return LeNet5 if self.network == "lenet-5" else LeNet300100


def run(settings: Settings, parts: Parts) -> list[dict[str, Any]]:
    """Trains, prunes, shares and stores, seed by seed; returns what `final` found of each, as plain data."""
    return [one(settings, seed, parts) for seed in settings.seeds]


def mnist_task(settings: Settings, seed: int) -> Task:
    """MNIST with the settings' training images, each shifted as the seed decides."""
    whole, found = zoo_task("mnist"), mnist("train")
    raw = images_tensor(found.images[: settings.images])
    shifted = random_shift(raw, settings.shift, torch.Generator().manual_seed(seed)) if settings.shift else raw
    inputs = DEFINITIONS["mnist"].normalisation.apply(shifted)
    train = Split(inputs, torch.from_numpy(found.labels[: settings.images]).to(torch.int64))
    return Task(name=whole.name, train=train, validation=whole.validation, test=whole.test, classes=whole.classes)


def one(settings: Settings, seed: int, parts: Parts) -> dict[str, Any]:
    """The whole way of one network."""
    task = mnist_task(settings, seed)
    dense = load(settings.network)[0] if settings.start == "bundled" else trained(settings, seed, task, parts)
    network = dense
    for done in range(1, settings.rounds + 1):
        recipe = Recipe([pruning(settings, done / settings.rounds), retraining(settings, settings.retraining, seed)])
        make = partial(compressed, network, recipe, task)
        network = parts.made(f"pruned-{done}-{seed}", settings.build(), make)
    found: dict[str, Any] = parts.value(f"shared-{seed}", partial(final, settings, seed, dense, network, task, parts))
    return found


def compressed(network: nn.Module, recipe: Recipe, task: Task) -> nn.Module:
    """The network after the recipe."""
    return compress(network, recipe, task).model


def trained(settings: Settings, seed: int, task: Task, parts: Parts) -> nn.Module:
    """The network before its compression, trained as the paper's."""
    dense = fresh(settings.build, seed)
    assert task.train is not None
    train = task.train

    def loss(chosen: Tensor) -> Tensor:
        return functional.cross_entropy(dense(train.inputs[chosen]), train.targets[chosen])

    plan = Plan(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        seed=seed,
    )
    return parts.train(f"dense-{seed}", dense, loss, plan, len(train))


def pruning(settings: Settings, progress: float) -> Step:
    """Magnitude pruning, layer by layer, to the table's densities to the power of `progress`, 0 to 1."""
    sparsities = {layer.name: {"sparsity": 1 - layer.density**progress} for layer in settings.layers}
    return Step("magnitude", overrides=sparsities)


def sharing(settings: Settings) -> Step:
    """Weight sharing from a linear start, layer by layer, with the table's bits."""
    return Step(
        "k-means", start="linear", overrides={layer.name: {"clusters": 2**layer.bits} for layer in settings.layers}
    )


def retraining(settings: Settings, epochs: int, seed: int, rate: float | None = None) -> Step:
    """Training of what is left."""
    rate = settings.learning_rate if rate is None else rate
    return Step("fine-tune", epochs=epochs, learning_rate=rate, batch_size=settings.batch_size, seed=seed)


def final(
    settings: Settings, seed: int, dense: nn.Module, pruned: nn.Module, task: Task, parts: Parts
) -> dict[str, Any]:
    """Shares and codes the weights of the pruned network, writes the files, and measures.

    Returns:
        Errors on test and validation of the dense, the pruned, the shared network; images that are right (wrong) in the
        shared network and were not in the dense one; bytes of the files, uncompressed, before Huffman coding and
        after; and each layer's densities, bits and bytes.
    """
    # The weights that were pruned are zero, so pruning to the same density finds them again.
    recipe = Recipe(
        [
            pruning(settings, 1.0),
            sharing(settings),
            retraining(settings, settings.shared, seed, settings.shared_rate),
            Step("huffman"),
        ]
    )
    shared = compress(pruned, recipe, task)
    coded_path = shared.save(parts.folder / f"coded-{seed}.safetensors-file")
    plain = tuple(_without_coding(tensor) for tensor in shared.stored)
    plain_path = compressed_file.save(
        parts.folder / f"shared-{seed}.safetensors-file", plain, Recipe(recipe.steps[:-1]), dict(shared.aliases)
    )
    read_back = compressed_file.load_into(coded_path, dense)
    validation = task.validation
    assert validation is not None
    networks = {"dense": dense, "pruned": pruned, "shared": read_back}
    rights = {name: right(network, task.test) for name, network in networks.items()}
    pair = Pair.of(rights["dense"], rights["shared"])
    return {
        "seed": seed,
        "errors": {
            name: {"test": int((~rights[name]).sum()), "validation": int((~right(network, validation)).sum())}
            for name, network in networks.items()
        },
        "images": pair.images,
        "gained": pair.gained,
        "lost": pair.lost,
        "bytes": {
            "dense": plain_file_bytes(dense.state_dict()),
            "shared": os.path.getsize(plain_path),
            "coded": os.path.getsize(coded_path),
        },
        "layers": [layer_sizes(layer, shared, plain) for layer in settings.layers],
    }


def _without_coding(tensor: StoredTensor) -> StoredTensor:
    return replace(tensor, coding=None)


def layer_sizes(layer: Layer, shared: CompressedModel, plain: tuple[StoredTensor, ...]) -> dict[str, Any]:
    """One layer's row of the table, as plain data.

    Returns:
        density; entries of the relative index, fillers included, a kept weight; bits of a value and of a gap, for
        each entry, before Huffman coding and after; bytes of everything that the layer's weights take.
    """
    name = f"{layer.name}.weight"
    sizes = {
        "shared": tensor_size(next(tensor for tensor in plain if tensor.name == name)),
        "coded": tensor_size(next(tensor for tensor in shared.stored if tensor.name == name)),
    }
    found: dict[str, Any] = {
        "name": layer.name,
        "weights": sizes["coded"].weights,
        "density": 1 - sizes["coded"].zeros / sizes["coded"].weights,
    }
    kept = sizes["coded"].weights - sizes["coded"].zeros
    for key, size in sizes.items():
        found[key] = {
            "positions": size.position_format,
            "coding": size.coding,
            "value_bits": 8 * size.part("values") / kept,
            "position_bits": 8 * size.part("positions") / kept,
            "bytes": sum(bytes_ for _, bytes_ in size.parts),
        }
    return found
