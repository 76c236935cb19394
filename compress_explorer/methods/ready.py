"""Recipes that are known by a name, to begin with: each as the steps that the catalogue has for it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compress_explorer.methods.training import enough_epochs
from compress_explorer.spec.errors import unknown
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe, Step

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class ReadyRecipe:
    """A recipe with a name.

    Attributes:
        name: how it is asked for, e.g. "deep-compression".
        label: its name in menus.
        summary: what it does, in one sentence.
        source: where it comes from.
        make: the recipe for a network with these types of layers, e.g. {"Linear", "Conv2d"}.
        make_trained: the one with training between its steps, for these types of layers and so many train samples;
            None where it has none.
    """

    name: str
    label: str
    summary: str
    source: str
    make: Callable[[Collection[str]], Recipe] = field(repr=False)
    make_trained: Callable[[Collection[str], int], Recipe] | None = field(default=None, repr=False)


def _convolutions(layers: Collection[str], **values: Value) -> dict[str, dict[str, Value]]:
    """Other values for each type of convolution that the network has."""
    return {layer: dict(values) for layer in sorted(layers) if layer.startswith("Conv")}


def _deep_compression(layers: Collection[str]) -> Recipe:
    return Recipe(
        [
            Step("magnitude", sparsity=0.7, overrides=_convolutions(layers, sparsity=0.3)),
            Step("k-means", clusters=32, overrides=_convolutions(layers, clusters=256)),
            Step("huffman"),
        ]
    )


ABOUT = 60_000
"""Samples that a ready recipe shows the network in a training, in whole epochs."""


def _deep_compression_trained(layers: Collection[str], samples: int) -> Recipe:
    epochs = enough_epochs(samples, ABOUT)
    return Recipe(
        [
            Step("magnitude", sparsity=0.85, overrides=_convolutions(layers, sparsity=0.6)),
            Step("fine-tune", epochs=epochs, learning_rate=0.002),
            Step("k-means", clusters=32, overrides=_convolutions(layers, clusters=256)),
            Step("fine-tune", epochs=max(epochs // 4, 1), learning_rate=1e-4),
            Step("huffman"),
        ]
    )


def _white_paper(_layers: Collection[str]) -> Recipe:
    return Recipe(
        [
            Step("cross-layer-equalization"),
            Step("integer-mse", bits=8, granularity="tensor"),
            Step("bias-correction"),
            Step("activations", bits=8),
        ]
    )


READY: tuple[ReadyRecipe, ...] = (
    ReadyRecipe(
        name="deep-compression",
        label="Deep Compression",
        summary="Prunes small weights, lets the others share a few values, and codes what is left. With a train split "
        "it trains after each of the first two stages, as in the paper; without one it prunes less.",
        source="Han, Mao & Dally 2016 (arXiv 1510.00149): 5 bits for linear layers, 8 for convolutions",
        make=_deep_compression,
        make_trained=_deep_compression_trained,
    ),
    ReadyRecipe(
        name="prune-share-code",
        label="Prune, share, Huffman",
        summary="The three stages of Deep Compression with one setting for all layers.",
        source="Han, Mao & Dally 2016 (arXiv 1510.00149)",
        make=lambda _layers: Recipe([Step("magnitude", sparsity=0.6), Step("k-means", clusters=16), Step("huffman")]),
    ),
    ReadyRecipe(
        name="w8a8",
        label="W8A8",
        summary="Weights of each output channel and inputs of each layer in 8 bits: what integer hardware multiplies.",
        source="Krishnamoorthi 2018 (arXiv 1806.08342)",
        make=lambda _layers: Recipe(
            [Step("integer", bits=8, granularity="channel"), Step("activations", bits=8, scheme="affine")]
        ),
    ),
    ReadyRecipe(
        name="w4-groups",
        label="W4, group-wise",
        summary="Weights in 4 bits with a scale for every 128 neighbours, as large language models are stored.",
        source="The weight format of GPTQ (arXiv 2210.17323) and AWQ (arXiv 2306.00978), here rounded to nearest",
        make=lambda _layers: Recipe(Step("integer", bits=4, scheme="affine", granularity="group", group_size=128)),
    ),
    ReadyRecipe(
        name="2-4-int8",
        label="2:4 sparsity and int8",
        summary="Two of four neighbouring input channels are zero, the others 8-bit, as sparse tensor cores multiply.",
        source="Mishra et al. 2021 (arXiv 2104.08378)",
        make=lambda _layers: Recipe([Step("n-m", keep=2, block=4), Step("integer", bits=8, granularity="channel")]),
    ),
    ReadyRecipe(
        name="post-training",
        label="Post-training W8A8 per tensor",
        summary="Evens out the ranges of consecutive layers, clips by least squared error, corrects the biases, and "
        "quantizes the inputs.",
        source="Nagel et al. 2021 (arXiv 2106.08295) §3.5, with bias correction in place of AdaRound",
        make=_white_paper,
    ),
)


def ready(name: str) -> ReadyRecipe:
    """The ready recipe called `name`.

    Raises:
        UnknownNameError: when there is none; the message suggests the nearest.
    """
    for entry in READY:
        if entry.name == name:
            return entry
    raise unknown("ready recipe", name, [entry.name for entry in READY])


def ready_table() -> "pd.DataFrame":
    """One row a ready recipe: name, label, summary, source."""
    import pandas as pd  # takes a third of a second to import

    return pd.DataFrame(
        [
            {"name": entry.name, "label": entry.label, "summary": entry.summary, "source": entry.source}
            for entry in READY
        ]
    )
