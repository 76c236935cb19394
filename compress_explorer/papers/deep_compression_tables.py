"""The results of Deep Compression beside the paper's: Han, Mao & Dally 2016 (arXiv 1510.00149), Tables 1 to 3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import pandas as pd

from compress_explorer.papers.counting import Pair
from compress_explorer.papers.record import Record
from compress_explorer.papers.rows import Row, of_pair, of_test, over_seeds


@dataclass(frozen=True)
class Paper:
    """The paper's figures.

    Attributes:
        error: before, after, and the change (Table 1).
        size: of the parameters before and after.
        ratio: before Huffman coding and after (Table 2 or 3).
        layers: by the paper's names: percent kept; bits of a value, quantized and Huffman-coded; bits of a position,
            likewise; rates in percent, likewise.
    """

    error: tuple[str, str, str]
    size: tuple[str, str]
    ratio: tuple[str, str]
    layers: Mapping[str, tuple[float, float, float, float, float, float, float]]


PAPERS = {
    "lenet-300-100": Paper(
        ("1.64 %", "1.58 %", "−0.06"),
        ("1070 KB", "27 KB"),
        ("32×", "40×"),
        {
            "ip1": (8, 6, 4.4, 5, 3.7, 3.1, 2.32),
            "ip2": (9, 6, 4.4, 5, 4.3, 3.8, 3.04),
            "ip3": (26, 6, 4.3, 5, 3.2, 15.7, 12.70),
        },
    ),
    "lenet-5": Paper(
        ("0.80 %", "0.74 %", "−0.06"),
        ("1720 KB", "44 KB"),
        ("33×", "39×"),
        {
            "conv1": (66, 8, 7.2, 5, 1.5, 78.5, 67.45),
            "conv2": (12, 8, 7.2, 5, 3.9, 6.0, 5.28),
            "ip1": (8, 5, 4.5, 5, 4.5, 2.7, 2.45),
            "ip2": (19, 5, 5.2, 5, 3.7, 6.9, 6.13),
        },
    ),
}


def rows(record: Record) -> Sequence[Row]:
    """The results beside the paper's: its Tables 1, and 2 or 3."""
    found: list[dict[str, Any]] = record.results
    paper = PAPERS[record.settings["network"]]
    images = found[0]["images"]
    pairs = [Pair(entry["gained"], entry["lost"], images) for entry in found]

    def errors(name: str) -> list[float]:
        return [100 * entry["errors"][name]["test"] / images for entry in found]

    def sizes(value: Callable[[dict[str, Any]], float], what: str, said: str, unit: str) -> Row:
        return over_seeds(what, said, [value(entry) for entry in found], unit)

    first = pairs[0]
    return [
        over_seeds("network before", paper.error[0], errors("dense"), "% error"),
        over_seeds("pruned and retrained", "", errors("pruned"), "% error"),
        over_seeds("compressed", paper.error[1], errors("shared"), "% error"),
        of_pair(f"change, seed {found[0]['seed']}", paper.error[2], first)
        if len(pairs) == 1
        else over_seeds("change", paper.error[2], [100 * pair.change for pair in pairs], "points of error"),
        of_test("McNemar's test, the smallest p of the seeds", min(pair.p_value for pair in pairs)),
        sizes(lambda entry: entry["bytes"]["dense"] / 1000, "file before", paper.size[0], "KB"),
        sizes(lambda entry: entry["bytes"]["coded"] / 1000, "file after", paper.size[1], "KB"),
        sizes(
            lambda entry: entry["bytes"]["dense"] / entry["bytes"]["shared"], "ratio of the files, not coded", "", "×"
        ),
        sizes(lambda entry: entry["bytes"]["dense"] / entry["bytes"]["coded"], "ratio of the files", "", "×"),
        sizes(lambda entry: ratio(entry, "shared"), "ratio of the weights, not coded", paper.ratio[0], "×"),
        sizes(lambda entry: ratio(entry, "coded"), "ratio of the weights", paper.ratio[1], "×"),
    ]


def ratio(entry: dict[str, Any], key: str) -> float:
    """How many times smaller the weights are now, with codebooks and code tables, without biases and header."""
    layers = entry["layers"]
    before, after = sum(4 * layer["weights"] for layer in layers), sum(layer[key]["bytes"] for layer in layers)
    return float(before / after)


def layers_table(record: Record) -> pd.DataFrame:
    """The paper's Table 2 or 3 and ours, means over the seeds; of the rates the interval too."""
    found: list[dict[str, Any]] = record.results
    paper = PAPERS[record.settings["network"]]
    lines = {}
    for place, (name, said) in enumerate(paper.layers.items()):
        own = [entry["layers"][place] for entry in found]
        line: dict[str, str] = {"weights": f"{own[0]['weights']:,}", "kept, paper": f"{said[0]} %"}
        line["kept"] = f"{100 * fmean(layer['density'] for layer in own):.1f} %"
        for key, words, (value, position, rate) in (
            ("shared", "", (said[1], said[3], said[5])),
            ("coded", " +H", (said[2], said[4], said[6])),
        ):
            line[f"value bits{words}, paper"] = f"{value}"
            line[f"value bits{words}"] = f"{fmean(layer[key]['value_bits'] for layer in own):.2f}"
            line[f"position bits{words}, paper"] = f"{position}"
            line[f"position bits{words}"] = f"{fmean(layer[key]['position_bits'] for layer in own):.2f}"
            line[f"rate{words}, paper"] = f"{rate} %"
            rates = over_seeds("", "", [25 * layer[key]["bytes"] / layer["weights"] for layer in own], "%")
            line[f"rate{words}"] = f"{rates.measured:.2f} %"
            if rates.interval is not None:
                line[f"rate{words}"] += f" ± {rates.interval.half_width:.2f}"
            line[f"rate{words}, ours / paper"] = f"{rates.measured / rate:.2f}"
        line["positions"] = own[0]["shared"]["positions"]
        lines[f"{name} ({own[0]['name']})"] = line
    return pd.DataFrame(lines)
