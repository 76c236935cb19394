"""One scale a tensor against one a channel: Krishnamoorthi 2018 (arXiv 1806.08342), section 3.1 and Table 2.

Weights alone are quantized, without retraining. Batch normalizations are first folded into the convolutions, as in the
paper: each channel is then multiplied by a factor of its own, and one scale no longer suits all. A network with
depthwise convolutions, whose channels have few weights each, is compared with a residual one without.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compress_explorer.engine.compress import compress
from compress_explorer.engine.task import Split, Task
from compress_explorer.papers.counting import Pair, right
from compress_explorer.papers.parts import Parts
from compress_explorer.papers.record import Record
from compress_explorer.papers.rows import Row, of_one, of_pair
from compress_explorer.spec.recipe import Step
from compress_explorer.zoo.catalogue import load

#: Convolutions and the batch normalizations behind them, by their names within one module of the zoo's networks.
PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("depthwise", "bn1"), ("pointwise", "bn2"), ("0", "1"))


@dataclass(frozen=True)
class Settings:
    """Everything the results depend on.

    Attributes:
        networks: names of the zoo, and whether the batch normalizations are folded.
        bits: of a weight.
        images: how many test images are used; None: all 10,000.
    """

    networks: tuple[tuple[str, bool], ...] = (
        ("depthwise-fashion", True),
        ("depthwise-fashion", False),
        ("resnet-fashion", True),
    )
    bits: tuple[int, ...] = (8, 7, 6, 5, 4, 3)
    images: int | None = None


KINDS = (("tensor", "affine"), ("tensor", "symmetric"), ("channel", "symmetric"), ("channel", "affine"))
"""Granularity and scheme: the table's columns, and symmetric per tensor."""


def run(settings: Settings, parts: Parts) -> list[dict[str, Any]]:
    """Quantizes and measures; returns one entry a network, folded or not, as plain data."""
    found = []
    for name, is_folded in settings.networks:
        part = f"{name}-{'folded' if is_folded else 'as-it-is'}"
        found.append(parts.value(part, partial(one, settings, name, is_folded)))
    return found


def one(settings: Settings, name: str, is_folded: bool) -> dict[str, Any]:
    """One network under every kind of quantization.

    Returns:
        Errors of the network as it is; ranges, the spread of its channels (see `spreads`); and for each kind and
        width the errors and how many images are gained and lost.
    """
    model, task = load(name)
    test = first_of(task, settings.images)
    network = folded(model) if is_folded else model
    before = right(network, test)
    found: dict[str, Any] = {
        "network": name,
        "folded": is_folded,
        "images": len(test),
        "errors": int((~before).sum()),
        "spreads": spreads(network),
        "quantized": [],
    }
    for granularity, scheme in KINDS:
        for bits in settings.bits:
            step = Step("integer", bits=bits, granularity=granularity, scheme=scheme)
            after = right(compress(network, step).model, test)
            pair = Pair.of(before, after)
            counts = {"errors": int((~after).sum()), "gained": pair.gained, "lost": pair.lost}
            found["quantized"].append({"granularity": granularity, "scheme": scheme, "bits": bits, **counts})
    return found


def first_of(task: Task, images: int | None) -> Split:
    """The first test images."""
    return Split(task.test.inputs[:images], task.test.targets[:images])


def folded(model: nn.Module) -> nn.Module:
    """A copy in which every batch normalization is folded into the convolution before it; the function is the same.

    The first of Krishnamoorthi's section 3.2.2: W' = γ W / σ for each output channel, b' = β − γ μ / σ.
    """
    network = copy.deepcopy(model).eval()
    for module in list(network.modules()):
        for conv, norm in PAIRS:
            before, after = module._modules.get(conv), module._modules.get(norm)
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(before, after))
                setattr(module, norm, nn.Identity())
    return network


def spreads(network: nn.Module) -> dict[str, float]:
    """Of each convolution, how many times the widest channel's range exceeds the median one's."""
    found = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            ranges = module.weight.detach().flatten(1).abs().amax(dim=1)
            found[name] = float(ranges.max() / ranges.median())
    return found


PAPER = {
    "depthwise-fashion": {
        "": "0.709",
        "tensor affine": "0.001",
        "channel symmetric": "0.591",
        "channel affine": "0.704",
    },
    "resnet-fashion": {"": "0.752", "tensor affine": "0.75", "channel symmetric": "0.751", "channel affine": "0.752"},
}
"""Top-1 accuracy on ImageNet at 8 bits of MobileNetV1 and of ResNet-50v1."""


def rows(record: Record) -> Sequence[Row]:
    """The changes of the error at 8 bits, of networks folded and as they are, beside the paper's Table 2."""
    found = []
    for entry in record.results:
        said = PAPER[entry["network"]] if entry["folded"] else {}
        name = f"{entry['network']}, {'folded' if entry['folded'] else 'not folded'}"
        found.append(of_one(name, f"accuracy {said['']}" if said else "", entry["errors"], entry["images"]))
        for one in entry["quantized"]:
            if one["bits"] == 8:
                kind = f"{one['granularity']} {one['scheme']}"
                paper = f"accuracy {said[kind]}" if kind in said else ""
                pair = Pair(one["gained"], one["lost"], entry["images"])
                found.append(of_pair(f"{name}, 8 bits, per {kind}: change", paper, pair))
    return found


def curves(record: Record) -> pd.DataFrame:
    """Every measured change of the error in percentage points, with its interval; one row a network, kind and width."""
    lines = []
    for entry in record.results:
        for one in entry["quantized"]:
            pair = Pair(one["gained"], one["lost"], entry["images"])
            line = {name: entry[name] for name in ("network", "folded")}
            line |= {name: one[name] for name in ("granularity", "scheme", "bits")}
            line |= {"change": 100 * pair.change, "low": 100 * pair.interval.low, "high": 100 * pair.interval.high}
            lines.append(line)
    return pd.DataFrame(lines)
