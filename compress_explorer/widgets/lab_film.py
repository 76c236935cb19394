"""What a lab's Stage plays: all that its figures and readouts show at every position of the temperature's slider."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compress_explorer.engine.distillation.surface import ALPHAS, TEMPERATURES
from compress_explorer.figures import learning_curves, softened, students, temperature_alpha, text
from compress_explorer.figures.learning_curves import Curves
from compress_explorer.figures.softened import Example
from compress_explorer.figures.students import Mark
from compress_explorer.spec.distillation import Comparison, SurfaceFrame
from compress_explorer.widgets.film import Patch, plain_array


@dataclass(frozen=True)
class Trained:
    """The students of one training, as the strip shows them.

    Attributes:
        accuracies: of the distilled students on the test split, one a seed.
        comparison: with the same students on hard labels.
    """

    accuracies: tuple[float, ...]
    comparison: Comparison


@dataclass(frozen=True, eq=False)
class View:
    """Everything that a lab shows.

    Attributes:
        key: what tells films apart whose positions, classes or training differ.
        parameter: the name of the temperature's slider.
        positions: its temperatures.
        classes: their names.
        example: the example shown; None while the teacher is not open.
        curves: of the students of the newest training.
        curves_of: in words, which training that is; "" before there is one.
        seeds: of that training.
        epochs: of that training.
        teacher: the teacher's accuracy on the split of the curves; None while unknown.
        surface: as far as it is trained; None: no epoch is complete.
        charted: the cells, by the indices of temperature and alpha, whose students stand in the chart.
        alpha: where its slider stands; None when the loss has none.
        marks: the networks of the trade-off.
        file: bytes of the student's file; None while unknown.
        teacher_file: bytes of the teacher's file.
        trained: for each position, its students when they were trained.
    """

    key: str
    parameter: str
    positions: tuple[float, ...]
    classes: tuple[str, ...]
    example: Example | None = None
    curves: Curves = field(default_factory=dict)
    curves_of: str = ""
    seeds: tuple[int, ...] = (0,)
    epochs: int = 1
    teacher: float | None = None
    surface: SurfaceFrame | None = None
    charted: frozenset[tuple[int, int]] = frozenset()
    alpha: float | None = None
    marks: tuple[Mark, ...] = ()
    file: int | None = None
    teacher_file: int | None = None
    trained: tuple[Trained | None, ...] = ()


def figures(classes: Sequence[str], split: str) -> dict[str, Any]:
    """The four figures with their bindings, for `Stage.figures`. They change with the teacher only.

    Args:
        classes: the names of the classes.
        split: what the curves' accuracy is measured on.
    """
    return {
        "softened": softened.panel(classes).to_dict(),
        "curves": learning_curves.panel(split).to_dict(),
        "surface": temperature_alpha.panel(TEMPERATURES, ALPHAS).to_dict(),
        "tradeoff": students.panel().to_dict(),
    }


def film(view: View) -> dict[str, Any]:
    """The film of a view, for `Stage.film`."""
    count = len(view.positions)
    trained = view.trained or (None,) * count
    return {
        "key": view.key,
        "patches": 0,
        "parameter": view.parameter,
        "positions": list(view.positions),
        "arrays": {name: plain_array(array) for name, array in _arrays(view).items()},
        "texts": _texts(view, trained),
        "labels": _labels(view),
        "sizes": [view.file] * count,
        "accuracies": [None if entry is None else float(np.mean(entry.accuracies)) for entry in trained],
        "states": ["" if entry is None else "exact" for entry in trained],
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Patch | None:
    """What must be sent so that `old` becomes `new`; None when that takes the whole film.

    A patch changes the texts of one position at most.
    """
    if not old or any(old[name] != new[name] for name in ("key", "parameter", "positions", "sizes")):
        return None
    changed = [
        index
        for index in range(len(new["positions"]))
        if any(old[name][index] != new[name][index] for name in ("accuracies", "states"))
        or any(
            old["texts"].get(name, [None] * (index + 1))[index] != texts[index] for name, texts in new["texts"].items()
        )
    ]
    if len(changed) > 1:
        return None
    index = changed[0] if changed else 0
    entries, numbers = [], bytearray()
    for name, array in new["arrays"].items():
        if old["arrays"].get(name) != array:
            place = {"offset": len(numbers), "length": len(array["data"])}
            entries.append({"name": name, "row": None, "shape": array["shape"], **place})
            numbers += array["data"]
    message = {
        "type": "patch",
        "key": new["key"],
        "index": index,
        "texts": {name: texts[index] for name, texts in new["texts"].items()} if changed else {},
        "labels": {name: label for name, label in new["labels"].items() if old["labels"].get(name) != label},
        "size": new["sizes"][index],
        "accuracy": new["accuracies"][index],
        "state": new["states"][index],
        "arrays": entries,
    }
    return Patch(message, bytes(numbers))


def _arrays(view: View) -> dict[str, np.ndarray]:
    count = len(view.positions)
    return {
        **({} if view.example is None else softened.arrays(view.example)),
        **learning_curves.arrays(view.curves, view.seeds, view.epochs, view.teacher, count),
        **temperature_alpha.arrays(view.surface, TEMPERATURES, ALPHAS, view.positions, view.alpha, view.charted),
        **students.arrays(view.marks, view.file, count),
    }


def _labels(view: View) -> dict[str, Any]:
    return {
        **({} if view.example is None else softened.labels(view.example, view.classes)),
        **learning_curves.labels(view.curves_of),
        **temperature_alpha.labels(view.surface, TEMPERATURES, ALPHAS, view.charted),
        **students.labels(view.marks),
    }


def _texts(view: View, trained: Sequence[Trained | None]) -> dict[str, list[str]]:
    count = len(view.positions)
    known = view.file is not None and view.teacher_file is not None
    rows = [_accuracy_texts(entry) for entry in trained]
    return {
        "size": [text.UNKNOWN if view.file is None else text.in_bytes(view.file)] * count,
        "ratio": [text.ratio(view.teacher_file, view.file) if known else ""] * count,  # type: ignore[arg-type] # known
        **{name: [row[name] for row in rows] for name in ("accuracy", "spread", "difference", "verdict")},
        **({} if view.example is None else softened.texts(view.example)),
    }


def _accuracy_texts(trained: Trained | None) -> dict[str, str]:
    if trained is None:
        return {"accuracy": text.UNKNOWN, "spread": "", "difference": "not trained yet", "verdict": ""}
    apart = max(trained.accuracies) - min(trained.accuracies)
    several = len(trained.accuracies) > 1
    return {
        "accuracy": text.percent(float(np.mean(trained.accuracies))),
        "spread": f"{100 * apart:.2f} apart" if several else "1 seed",
        "difference": f"{text.signed(100 * trained.comparison.mean)} to hard labels",
        "verdict": trained.comparison.outcome,
    }
