"""The bundled networks by name: `names`, `load`, `card`."""

from pathlib import Path

from torch import nn

from compress_explorer.engine.own_draws import own_draws
from compress_explorer.engine.task import Task
from compress_explorer.spec.errors import FileFormatError, unknown
from compress_explorer.zoo.cards import Card, read_card
from compress_explorer.zoo.networks import ARCHITECTURES
from compress_explorer.zoo.tasks import task
from compress_explorer.zoo.weights import load_into

FOLDER = Path(__file__).with_name("weights")

#: Every bundled network, from the smallest task to the largest; each has NAME.safetensors and NAME.json.
BUNDLED = (
    "digits-mlp",
    "lenet-300-100",
    "lenet-5",
    "resnet-fashion",
    "depthwise-fashion",
    "vit-fashion",
)


def names() -> tuple[str, ...]:
    """Return the names of the bundled networks."""
    return BUNDLED


def card(name: str) -> Card:
    """Return the card of the network `name`.

    Raises:
        UnknownNameError: when there is no such network; it suggests the nearest name.
        FileFormatError: when the card cannot be read.
    """
    if name not in BUNDLED:
        raise unknown("model", name, BUNDLED)
    return read_card(FOLDER / f"{name}.json")


def load(name: str, data: str | Path | None = None) -> tuple[nn.Module, Task]:
    """Return the trained network `name`, in evaluation mode, and its task. It needs no network connection.

    Args:
        name: one of `names()`.
        data: for CIFAR-10 alone, a local copy of the data set; see `cifar10.load`.

    Raises:
        UnknownNameError: when there is no such network; it suggests the nearest name.
        FileFormatError: when its files are damaged or do not fit.
        DataError: when `data` is given for a network whose data are bundled.
    """
    found = card(name)
    model = _build(found)
    load_into(model, FOLDER / f"{name}.safetensors")
    return model.eval(), task(found.training.data, Path(data) if data is not None else None)


def load_initial(name: str) -> nn.Module:
    """Return the network `name` as it was before its training, in evaluation mode.

    The lottery ticket hypothesis rewinds to these weights. Not every network keeps them.

    Raises:
        UnknownNameError: when there is no such network.
        FileFormatError: when its initial weights were not kept, or the file does not fit.
    """
    found = card(name)
    if not found.training.keep_initial:
        raise FileFormatError(
            f"The initial weights of {name!r} were not kept. Take a model whose card says keep_initial, "
            "such as 'lenet-300-100'."
        )
    model = _build(found)
    load_into(model, FOLDER / f"{name}.initial.safetensors")
    return model.eval()


def _build(found: Card) -> nn.Module:
    architecture = found.training.architecture
    if architecture not in ARCHITECTURES:
        raise unknown("architecture", architecture, ARCHITECTURES)
    with own_draws():  # fresh weights are drawn, and soon replaced: the caller's draws stay
        return ARCHITECTURES[architecture]()
