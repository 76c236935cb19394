"""Model cards: what a bundled network is, how it was made, and what it was measured to do."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from compress_explorer.spec.errors import FileFormatError
from compress_explorer.zoo.training import Training


@dataclass(frozen=True)
class Card:
    """A network's card, written by the training script beside its weights.

    Attributes:
        name: the network's name in the zoo.
        parameters: number of trainable values.
        training: how it was trained.
        train_size: samples it was trained on.
        validation_size: samples that choices were made on; none of them is among the training samples.
        test_size: samples of the official test split.
        validation_correct: of `validation_size`, after the last epoch.
        test_correct: of `test_size`, counted once, after training.
        command: the command that made the weights.
        torch: version of PyTorch that made them.
    """

    name: str
    parameters: int
    training: Training
    train_size: int
    validation_size: int
    test_size: int
    validation_correct: int
    test_correct: int
    command: str
    torch: str

    @property
    def validation_accuracy(self) -> float:
        """The fraction of the validation split that is classified correctly."""
        return self.validation_correct / self.validation_size

    @property
    def test_accuracy(self) -> float:
        """The fraction of the test split that is classified correctly."""
        return self.test_correct / self.test_size


def write_card(card: Card, path: Path) -> None:
    """Write `card` as JSON, with both accuracies spelled out for a human reader."""
    content = asdict(card) | {
        "validation_accuracy": card.validation_accuracy,
        "test_accuracy": card.test_accuracy,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_card(path: Path) -> Card:
    """Read a card that `write_card` wrote.

    Raises:
        FileFormatError: when the file is missing, is not JSON, or lacks an entry.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values = {field.name: content[field.name] for field in fields(Card)}
        return Card(**values | {"training": Training(**values["training"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(
            f"{path} is not a readable model card ({type(error).__name__}: {error}). "
            "Make it again with `python -m compress_explorer.zoo.train`."
        ) from error
