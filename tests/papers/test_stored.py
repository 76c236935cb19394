"""The stored results are those of the experiments as they are declared, on the data that are bundled."""

import json
import math
from dataclasses import asdict

import pytest

from compress_explorer.papers.experiments import EXPERIMENTS, results
from compress_explorer.papers.record import data_digests, read
from compress_explorer.papers.rows import table
from compress_explorer.spec.errors import FileFormatError
from compress_explorer.zoo.catalogue import card
from tests.case import case


def test_every_experiment_has_a_record_of_its_settings_and_data():
    for experiment in EXPERIMENTS:
        with case(experiment.name):
            record, rows = results(experiment.name)
            assert record.settings == json.loads(json.dumps(asdict(experiment.settings)))
            assert record.data == data_digests(experiment.data)
            assert record.command.endswith(f"python -m compress_explorer.papers {experiment.name}")
            assert record.processor_seconds > 0
            assert set(record.versions) >= {"torch", "python", "compress-explorer"}
            assert all(math.isfinite(row.measured) for row in rows)
            assert all(row.interval for row in rows if row.over not in ("", "1 seed"))
            assert len(table(rows)) == len(rows)
            assert next(iter(record.provenance())) == "command"


def test_the_networks_of_the_zoo_err_as_their_cards_say():
    for entry in read("per-channel").results:
        assert entry["errors"] == card(entry["network"]).test_size - card(entry["network"]).test_correct
    for entry in read("lenet-5-bundled").results:
        assert entry["errors"]["dense"]["test"] == card("lenet-5").test_size - card("lenet-5").test_correct


def test_counts_of_errors_and_of_pairs_agree():
    hinton = read("hinton").results
    for entry in hinton["students"]:
        assert entry["distilled"] - entry["plain"] == entry["lost"] - entry["gained"]
    assert sum(hinton["changes"].values()) == hinton["images"]
    changed = sum(int(value) * count for value, count in hinton["changes"].items())
    assert changed == sum(entry["lost"] - entry["gained"] for entry in hinton["students"])
    for name in ("lenet-300-100", "lenet-5", "lenet-5-bundled"):
        for entry in read(name).results:
            change = entry["errors"]["shared"]["test"] - entry["errors"]["dense"]["test"]
            assert change == entry["lost"] - entry["gained"]
    rounds = read("lottery").results["rounds"]
    for entry in rounds:
        for kind in {"ticket", "again"} & set(entry):
            found = entry[kind]
            for place, errors in enumerate(found["errors"]):
                change = errors - rounds[0]["ticket"]["errors"][place]
                assert change == found["lost"][place] - found["gained"][place]


def test_a_missing_record_says_how_to_make_it(tmp_path):
    with pytest.raises(FileFormatError, match=r"python -m compress_explorer.papers hinton"):
        read("hinton", tmp_path)
