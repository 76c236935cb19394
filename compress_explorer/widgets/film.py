"""A sweep as the Stage plays it: numbers and texts, an entry a slider position, and updates of one position."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress_explorer.figures import breakdown, layers, text, trade_off, weights_histogram
from compress_explorer.spec.errors import CompressExplorerError
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Parameter
from compress_explorer.spec.sweep import Sweep

Before = Mapping[str, int]
"""Bytes of each stored weight tensor in the uncompressed model's file, in the model's order."""


@dataclass(frozen=True)
class Patch:
    """Newer numbers for one position of a film.

    Attributes:
        message: what is sent as JSON: key, index, texts and numbers of that position, labels, and where each array lies
            in `numbers`.
        numbers: float32 little endian, the arrays end to end.
    """

    message: dict[str, Any]
    numbers: bytes

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.message["arrays"] or self.message["texts"] or self.message["labels"])


def figures(sweep: Sweep, parameter: Parameter, before: Before, layer: str | None = None) -> dict[str, Any]:
    """The four figures with their bindings, for `Stage.figures`. They change with the model, method or layer only.

    Args:
        sweep: the sweep that will be played.
        parameter: the declaration of its parameter.
        before: bytes of each weight tensor in the uncompressed file.
        layer: whose weights the histogram shows; None for all treated weights.
    """
    return {
        "histogram": weights_histogram.panel(sweep, layer).to_dict(),
        "tradeoff": trade_off.panel(sweep, parameter.label).to_dict(),
        "layers": layers.panel(before).to_dict(),
        "bytes": breakdown.panel().to_dict(),
    }


def film(sweep: Sweep, key: str, parameter: Parameter, before: Before) -> dict[str, Any]:
    """The film of a sweep, for `Stage.film`.

    Args:
        sweep: frames and evaluations, as far as they are known.
        key: what tells this film from others; patches must carry the same. `patches` counts those put into it.
        parameter: the declaration of the sweep's parameter.
        before: bytes of each weight tensor in the uncompressed file.
    """
    _check(sweep, before)
    count = len(sweep.values)
    texts = [_texts(sweep, index, before) for index in range(count)]
    return {
        "key": key,
        "patches": 0,
        "parameter": sweep.parameter,
        "positions": _positions(sweep, parameter),
        "arrays": {name: plain_array(array) for name, array in _arrays(sweep, before).items()},
        "texts": {name: [entry[name] for entry in texts] for name in (texts[0] if texts else {})},
        "labels": {},
        "sizes": [_size(sweep, index) for index in range(count)],
        "accuracies": [_accuracy(sweep, index) for index in range(count)],
        "states": [_state(sweep, index) for index in range(count)],
    }


def patch(film: Mapping[str, Any], sweep: Sweep, index: int, before: Before) -> Patch:
    """What changed in `film` at one position, after its frame or evaluation was exchanged in `sweep`.

    Args:
        film: the film as it is shown now; it is not changed here.
        sweep: the sweep with the newer frame or evaluation.
        index: the position.
        before: bytes of each weight tensor in the uncompressed file.
    """
    entries: list[dict[str, Any]] = []
    numbers = bytearray()
    for name, row, array in _changes(film, sweep, index, before):
        data = _bytes(array)
        entries.append(
            {"name": name, "row": row, "shape": list(array.shape), "offset": len(numbers), "length": len(data)}
        )
        numbers += data
    texts = _texts(sweep, index, before)
    message = {
        "type": "patch",
        "key": film["key"],
        "index": index,
        "texts": {name: entry for name, entry in texts.items() if film["texts"][name][index] != entry},
        "labels": {},
        "size": _size(sweep, index),
        "accuracy": _accuracy(sweep, index),
        "state": _state(sweep, index),
        "arrays": entries,
    }
    return Patch(message, bytes(numbers))


def apply_patch(film: dict[str, Any], patch: Patch) -> bool:
    """Puts a patch into a film, in place; False, and nothing done, when it is of another film."""
    message = patch.message
    if film.get("key") != message["key"]:
        return False
    for entry in message["arrays"]:
        data = patch.numbers[entry["offset"] : entry["offset"] + entry["length"]]
        if entry["row"] is None:
            whole = {"shape": entry["shape"], "data": bytearray(data)}
            film["arrays"] = {**film["arrays"], entry["name"]: whole}  # another thread may be reading the old one
        else:
            start = entry["row"] * len(data)
            film["arrays"][entry["name"]]["data"][start : start + len(data)] = data
    index = message["index"]
    for name, entry in message["texts"].items():
        film["texts"][name][index] = entry
    film["labels"] = {**film["labels"], **message["labels"]}
    film["sizes"][index] = message["size"]
    film["accuracies"][index] = message["accuracy"]
    film["states"][index] = message["state"]
    film["patches"] += 1  # last: a page that read the film meanwhile must find itself behind
    return True


def numbers(film: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The film's arrays as numpy sees them, for `apply_bindings`."""
    return {
        name: np.frombuffer(array["data"], dtype="<f4").reshape(array["shape"])
        for name, array in film["arrays"].items()
    }


def _check(sweep: Sweep, before: Before) -> None:
    """A film has one axis of bins and one list of layers."""
    known = [frame for frame in sweep.frames if frame is not None]
    for frame in known:
        if frame.histogram.edges != known[0].histogram.edges:
            raise CompressExplorerError(
                f"The frames of {sweep.parameter} have different histogram bins. Count them all in the same."
            )
        if {name for name, _ in frame.layer_bytes} != set(before):
            raise CompressExplorerError(
                f"The frame of {sweep.parameter}={frame.value} stores the tensors "
                f"{[name for name, _ in frame.layer_bytes]}, the uncompressed model {list(before)}."
            )


def _arrays(sweep: Sweep, before: Before) -> dict[str, np.ndarray]:
    """Every array: rows stacked to [F, n], scalars to [F], and those that all frames share."""
    rows = [_rows(sweep, index, before) for index in range(len(sweep.values))]
    names = next((list(row) for row in rows if row), [])
    stacked = {name: _stack([row.get(name) for row in rows]) for name in names}
    return {**stacked, **_wholes(sweep, before)}


def _rows(sweep: Sweep, index: int, before: Before) -> dict[str, np.ndarray]:
    """The arrays of one frame, of all figures; empty while it is not known."""
    return {
        **weights_histogram.rows(sweep, index),
        **layers.rows(sweep, index, before),
        **breakdown.rows(sweep, index),
    }


def _wholes(sweep: Sweep, before: Before) -> dict[str, np.ndarray]:
    """The arrays that all frames share, of all figures."""
    return {**weights_histogram.wholes(sweep), **trade_off.wholes(sweep), **layers.wholes(sweep, before)}


def _stack(rows: list[np.ndarray | None]) -> np.ndarray:
    """Rows of one array as one: NaN where a row is not known, and behind a row that is shorter than others."""
    shapes = [row.shape for row in rows if row is not None]
    if not shapes[0]:
        return np.array([math.nan if row is None else row for row in rows])
    stacked = np.full((len(rows), max(shape[0] for shape in shapes)), math.nan)
    for row, place in zip(rows, stacked, strict=True):
        if row is not None:
            place[: len(row)] = row
    return stacked


def _changes(
    film: Mapping[str, Any], sweep: Sweep, index: int, before: Before
) -> list[tuple[str, int | None, np.ndarray]]:
    """(name, row or None for the whole array, numbers) of every array that differs from the film's."""
    shown = film["arrays"]
    rows = _rows(sweep, index, before)
    if any(name not in shown or _width(row) > _width_shown(shown[name]) for name, row in rows.items()):
        return [(name, None, array) for name, array in _arrays(sweep, before).items()]
    changes: list[tuple[str, int | None, np.ndarray]] = []
    for name, row in rows.items():
        padded = np.full(_width_shown(shown[name]), math.nan)
        padded[: _width(row)] = row
        data, start = _bytes(padded), index * padded.size * 4
        if shown[name]["data"][start : start + len(data)] != data:
            changes.append((name, index, padded))
    for name, array in _wholes(sweep, before).items():
        if name not in shown or shown[name]["data"] != _bytes(array):
            changes.append((name, None, array))
    return changes


def _width(row: np.ndarray) -> int:
    return row.size


def _width_shown(array: Mapping[str, Any]) -> int:
    """The length of one row of a film's array; 1 for scalars."""
    return array["shape"][1] if len(array["shape"]) == 2 else 1


def _bytes(array: np.ndarray) -> bytes:
    return array.astype("<f4").tobytes()


def plain_array(array: np.ndarray) -> dict[str, Any]:
    """An array as the browser gets it. The bytes can be edited, so that patches need not copy them."""
    return {"shape": list(array.shape), "data": bytearray(_bytes(array))}


def _texts(sweep: Sweep, index: int, before: Before) -> dict[str, Any]:
    """Every text of one position: the strip's and the figures'."""
    return {
        **_size_texts(sweep, index),
        **_accuracy_texts(sweep.evaluations[index]),
        **weights_histogram.texts(sweep, index),
        **layers.texts(sweep, index, before),
        **breakdown.texts(sweep, index),
    }


def _size_texts(sweep: Sweep, index: int) -> dict[str, str]:
    """The strip's texts that the frame gives. A size that comes from the index is marked as approximate."""
    frame = sweep.frames[index]
    if frame is None:
        return {"size": text.UNKNOWN, "ratio": "", "zeros": text.UNKNOWN, "sqnr": text.UNKNOWN}
    about = "" if frame.exact else "≈ "
    return {
        "size": about + text.in_bytes(frame.file),
        "ratio": text.ratio(sweep.baseline_file, frame.file),
        "zeros": text.percent(frame.zeros, 1),
        "sqnr": text.decibels(frame.sqnr),
    }


def _accuracy_texts(evaluation: Evaluation | None) -> dict[str, str]:
    """The strip's texts that the evaluation gives."""
    if evaluation is None:
        return {"accuracy": text.UNKNOWN, "interval": "", "difference": "", "verdict": ""}
    return {
        "accuracy": text.percent(evaluation.value),
        "interval": text.half_width(evaluation),
        "difference": text.difference(evaluation),
        "verdict": text.verdict(evaluation),
    }


def _positions(sweep: Sweep, parameter: Parameter) -> list[float]:
    """The slider's positions as numbers; of a choice, the indices of its choices."""
    if parameter.kind == "choice":
        return [parameter.choices.index(str(value)) for value in sweep.values]
    return [float(value) for value in sweep.values]


def _size(sweep: Sweep, index: int) -> int | None:
    frame = sweep.frames[index]
    return None if frame is None else frame.file


def _accuracy(sweep: Sweep, index: int) -> float | None:
    evaluation = sweep.evaluations[index]
    return None if evaluation is None else evaluation.value


def _state(sweep: Sweep, index: int) -> str:
    """What the accuracy of a position is: "", "estimating" or "exact"."""
    evaluation = sweep.evaluations[index]
    return "" if evaluation is None else "exact" if evaluation.exact else "estimating"
