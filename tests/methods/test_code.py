"""Codes: what each grid stands for, and how scales spread over groups."""

import pytest
import torch

from compress_explorer.methods.code import Code
from compress_explorer.methods.coded_scale import CodedScale


def codes(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8)


def test_integer_codes_are_offset_and_scaled():
    code = Code(codes=codes([0, 7, 14]), bits=4, grid="integer", offset=-7, scale=torch.tensor([[0.5]]), group_size=3)
    assert code.decode().tolist() == [[-3.5, 0.0, 3.5]]


def test_zero_points_are_subtracted_before_scaling():
    code = Code(
        codes=codes([0, 1, 3], [0, 1, 3]),
        bits=2,
        grid="integer",
        scale=torch.tensor([[2.0], [0.5]]),
        zero_point=torch.tensor([[1], [3]], dtype=torch.uint8),
        group_size=3,
    )
    assert code.decode().tolist() == [[-2.0, 0.0, 4.0], [-1.5, -1.0, 0.0]]


def test_groups_take_their_own_scales_and_the_last_may_be_short():
    code = Code(
        codes=codes([1, 1, 1, 1, 1], [2, 2, 2, 2, 2]),
        bits=2,
        grid="integer",
        scale=torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]]),
        group_size=2,
    )
    assert code.decode().tolist() == [[1.0, 1.0, 10.0, 10.0, 100.0], [4.0, 4.0, 40.0, 40.0, 400.0]]


def test_power_of_two_codes_are_zero_then_positive_then_negative():
    code = Code(
        codes=codes([0, 1, 2, 3, 4, 5, 6]),
        bits=3,
        grid="power-of-two",
        scale=torch.tensor([[4.0]]),
        group_size=7,
    )
    assert code.decode().tolist() == [[0.0, 4.0, 2.0, 1.0, -4.0, -2.0, -1.0]]


@pytest.mark.parametrize(
    ("codebook", "expected"),
    [
        ([[-1.0, 2.5]], [[-1.0, 2.5], [2.5, -1.0]]),
        ([[-1.0, 2.5], [7.0, 8.0]], [[-1.0, 2.5], [8.0, 7.0]]),
    ],
    ids=["shared", "per-channel"],
)
def test_codebook_codes_are_looked_up(codebook, expected):
    code = Code(codes=codes([0, 1], [1, 0]), bits=1, grid="codebook", codebook=torch.tensor(codebook), group_size=2)
    assert code.decode().tolist() == expected


@pytest.mark.parametrize("columns", [6, 5, 4])
def test_codes_of_vectors_stand_for_neighbours_and_the_last_may_be_cut_off(columns):
    code = Code(
        codes=codes([0, 2], [1, 0]),
        bits=2,
        grid="vectors",
        codebook=torch.tensor([[[1.0, 2.0, 3.0], [-4.0, -5.0, -6.0], [7.0, 8.0, 9.0]]]),
        group_size=columns,
    )
    assert code.dimension == 3
    rows = [[1.0, 2.0, 3.0, 7.0, 8.0, 9.0], [-4.0, -5.0, -6.0, 1.0, 2.0, 3.0]]
    assert code.decode().tolist() == [row[:columns] for row in rows]


def test_a_number_format_needs_no_table():
    code = Code(
        codes=codes([0, 7, 15, 9], [1, 2, 3, 4]),
        bits=4,
        grid="fp4-e2m1",
        scale=torch.tensor([[2.0, 10.0], [1.0, 100.0]]),
        group_size=2,
    )
    assert code.decode().tolist() == [[0.0, 12.0, -60.0, -5.0], [0.5, 1.0, 150.0, 200.0]]


def test_scales_that_are_powers_of_two():
    scale = CodedScale(codes=codes([127, 130, 126, 1, 254]), format="e8m0", constants=torch.empty(0))
    assert scale.decode().tolist() == [[1.0, 8.0, 0.5, 2.0**-126, 2.0**127]]
    assert scale.bytes == 5


def test_scales_of_two_levels():
    # E4M3: 0x38 is 1, 0x40 is 2, 0x7e is 448, 0x08 is the smallest normal number, 2^-6.
    scale = CodedScale(codes=codes([0x38, 0x40], [0x7E, 0x08]), format="e4m3", constants=torch.tensor([0.5]))
    assert scale.decode().tolist() == [[0.5, 1.0], [224.0, 2.0**-7]]
    assert scale.bytes == 4 + 4


def test_doubly_quantized_scales_have_a_mean_and_factors_by_the_block():
    # Of the dynamic map, code 127 is 0 and code 255 is 1.
    row = torch.full((1, 300), 127, dtype=torch.uint8)
    row[0, [0, 256, 299]] = 255
    scale = CodedScale(codes=row, format="double", constants=torch.tensor([5.0, 2.0, 10.0]))
    expected = torch.full((1, 300), 5.0)
    expected[0, 0], expected[0, 256], expected[0, 299] = 7.0, 15.0, 15.0
    assert torch.equal(scale.decode(), expected)
    assert scale.bytes == 300 + 3 * 4


def test_a_doubly_quantized_scale_is_never_negative():
    row = torch.tensor([[0, 127]], dtype=torch.uint8)  # the lowest level, -0.993
    scale = CodedScale(codes=row, format="double", constants=torch.tensor([1.0, 3.0]))
    assert scale.decode().tolist() == [[0.0, 1.0]]
