"""Codes: what each grid stands for, and how scales spread over groups."""

import pytest
import torch

from compress_explorer.methods.code import Code


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
