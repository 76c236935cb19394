"""Sizes against published and closed-form figures."""

import math

import pytest
import torch

from compress_explorer.engine.contents import Contents
from compress_explorer.engine.matrix import Layout
from compress_explorer.engine.positions import relative_bytes
from compress_explorer.engine.size import tensor_size
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.methods.code import Code
from compress_explorer.spec.size import TensorSize
from tests.engine.stored_examples import stored


def shared(channels: int, columns: int, density: float, bits: int) -> StoredTensor:
    """Weights shared by a codebook of 2^bits values, zero among them; an exact share is kept, scattered."""
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(channels * columns, generator=generator).reshape(channels, columns)
    kept = order < round(density * channels * columns)
    codes = torch.randint(1, 2**bits, (channels, columns), generator=generator, dtype=torch.uint8)
    codebook = torch.linspace(0, 1, 2**bits).reshape(1, -1)
    code = Code(codes=codes, bits=bits, grid="codebook", codebook=codebook, group_size=columns)
    return stored("w", Layout((channels, columns)), kept, code, torch.float32, torch.empty(channels, columns))


@pytest.mark.parametrize(
    ("channels", "columns", "density", "bits", "gap_bits", "rate"),
    [
        # Deep Compression (Han, Mao and Dally, ICLR 2016), tables 2 and 3, column "Compress rate (P+Q)".
        pytest.param(300, 784, 0.08, 6, 5, 0.031, id="LeNet-300-100 ip1"),
        pytest.param(100, 300, 0.09, 6, 5, 0.038, id="LeNet-300-100 ip2"),
        pytest.param(10, 100, 0.26, 6, 5, 0.157, id="LeNet-300-100 ip3"),
        pytest.param(20, 25, 0.66, 8, 5, 0.785, id="LeNet-5 conv1"),
        pytest.param(500, 800, 0.08, 5, 5, 0.027, id="LeNet-5 ip1"),
    ],
)
def test_deep_compressions_rates(channels: int, columns: int, density: float, bits: int, gap_bits: int, rate: float):
    tensor = shared(channels, columns, density, bits)
    size = tensor_size(tensor)
    runs = Contents(tensor).runs
    entries = runs.total + runs.fillers(2**gap_bits)
    theirs = relative_bytes(entries, gap_bits, bits) + size.part("codebook")
    assert theirs / size.baseline == pytest.approx(rate, rel=0.1)
    # Whatever width the paper chose, ours is the best one.
    assert size.bytes("relative") <= theirs


def test_eight_percent_is_stored_with_five_bit_gaps():
    size = tensor_size(shared(300, 784, 0.08, 6))
    assert size.position_format == "relative-5"
    assert size.bytes() / size.baseline == pytest.approx(0.0298, abs=0.0002)


def integers(bits: int, group_size: int, affine: bool) -> TensorSize:
    """The size of 256 x 1024 integers with a scale a group."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(1, 2**bits - 1, (256, 1024), generator=generator, dtype=torch.uint8)
    scale = torch.ones(256, 1024 // group_size)
    zero_point = torch.zeros(scale.shape, dtype=torch.uint8) if affine else None
    code = Code(codes=codes, bits=bits, grid="integer", scale=scale, zero_point=zero_point, group_size=group_size)
    return tensor_size(stored("w", Layout((256, 1024)), None, code, torch.float32, torch.empty(256, 1024)))


@pytest.mark.parametrize(
    ("bits", "group_size", "affine", "bits_a_weight"),
    [
        (4, 128, False, 4 + 32 / 128),
        (4, 128, True, 4 + 32 / 128 + 4 / 128),
        (8, 32, False, 8 + 32 / 32),
        (3, 64, True, 3 + 32 / 64 + 3 / 64),
    ],
)
def test_bits_a_weight_of_grouped_integers(bits: int, group_size: int, affine: bool, bits_a_weight: float):
    size = integers(bits, group_size, affine)
    assert 8 * size.bytes() / size.weights == bits_a_weight


@pytest.mark.parametrize("bits", [4, 8])
def test_two_of_four_costs_half_the_bits_and_one(bits: int):
    kept = torch.tensor([True, True, False, False]).repeat(64, 64)
    codes = torch.full((64, 256), 2, dtype=torch.uint8)
    code = Code(codes=codes, bits=bits, grid="integer", offset=-1, group_size=256)
    size = tensor_size(stored("w", Layout((64, 256)), kept, code, torch.float32, torch.empty(64, 256)))
    assert 8 * size.bytes("bitmask") / size.weights == bits / 2 + 1


def test_bits_for_a_position_at_eight_percent():
    size = tensor_size(shared(300, 784, 0.08, 6))
    present = size.weights - size.zeros
    values = math.ceil(present * 6 / 8) + size.part("codebook")

    def position_bits(bytes: float) -> float:
        return 8 * (bytes - values) / present

    assert position_bits(size.bytes("bitmask")) == pytest.approx(12.5, abs=0.01)
    # Scipy's 32-bit columns cost 32.5 bits; ten bits tell 784 columns apart.
    assert position_bits(size.bytes("csr")) + 22 == pytest.approx(32.5, abs=0.05)
    assert position_bits(size.bytes("coo")) == pytest.approx(18, abs=0.01)
    bound = scattered_bound(0.08)
    assert bound == pytest.approx(5.03, abs=0.005)
    gaps = 8 * size.part("positions") / present
    assert gaps > bound
    assert gaps == pytest.approx(5.37, abs=0.05)


def scattered_bound(density: float) -> float:
    """h(d) / d: the bits that a position costs at least."""
    return (-density * math.log2(density) - (1 - density) * math.log2(1 - density)) / density
