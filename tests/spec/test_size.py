import dataclasses

import pytest

from compress_explorer.spec.size import ACCOUNTINGS, PARTS, SizeReport, TensorSize


def tensor(name: str, treated: bool, weights: int, zeros: int, parts: dict[str, int]) -> TensorSize:
    every_part = dict.fromkeys(PARTS, 0) | parts
    packed = sum(every_part.values())
    sizes = dict.fromkeys(ACCOUNTINGS, 4.0 * weights) | {"packed": packed, "entropy": packed - 0.5}
    return TensorSize(
        name=name,
        treated=treated,
        weights=weights,
        zeros=zeros,
        bits=32,
        position_format="none",
        baseline=4 * weights,
        parts=tuple(every_part.items()),
        accountings=tuple(sizes.items()),
    )


REPORT = SizeReport(
    tensors=(
        tensor("a.weight", True, 100, 90, {"values": 30, "positions": 13, "scales": 4}),
        tensor("b.weight", True, 50, 0, {"values": 25, "zero_points": 1, "codebook": 16}),
        tensor("a.bias", False, 10, 10, {"values": 40}),
    ),
    file=529,
    header=400,
    baseline_file=1058,
    baseline_format="float32",
)


def test_totals():
    assert REPORT.weights == 160
    assert REPORT.total() == 47 + 42 + 40
    assert REPORT.total("entropy") == 127.5
    assert REPORT.total("dense") == 640
    assert REPORT.ratio == 2.0


def test_sparsity_counts_the_treated_tensors():
    assert REPORT.sparsity == 90 / 150


def test_sparsity_of_an_untreated_model_counts_all_tensors():
    untreated = tuple(dataclasses.replace(entry, treated=False) for entry in REPORT.tensors)
    assert dataclasses.replace(REPORT, tensors=untreated).sparsity == 100 / 160


def test_the_breakdown_sums_to_the_file():
    rows = REPORT.breakdown()
    assert rows == {
        "values": 55,
        "positions": 13,
        "scales": 4,
        "zero_points": 1,
        "codebook": 16,
        "left alone": 40,
        "header": 400,
    }
    assert sum(rows.values()) == REPORT.file


def test_parts_and_accountings_by_name():
    first = REPORT.tensors[0]
    assert first.part("positions") == 13
    assert first.bytes() == first.bytes("packed") == 47
    with pytest.raises(KeyError):
        first.part("gaps")
