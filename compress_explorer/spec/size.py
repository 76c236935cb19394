"""The size of a compressed model, in every accounting, per tensor and in total. Bytes; 1 KB = 1000 bytes."""

from dataclasses import dataclass
from typing import Literal

Accounting = Literal["dense", "packed", "bitmask", "csr", "coo", "relative", "entropy", "huffman", "rans"]
"""How bytes are counted.

dense: every weight in the model's own dtype, zeros included (what `torch.save` of a simulated model costs).
bitmask, csr, coo, relative: the weights that are not zero at their code width, and their positions in that format.
packed: the smallest of plain codes, bitmask and relative index, and after a coding step also of these coded: what the
file holds.
entropy: the information bound of coders to which all positions are alike, with scales and codebooks; zeros that
cluster, as at the border of images, can be coded in less.
huffman: a real canonical Huffman code of values and of position gaps, code tables included.
rans: the same with a real range coder by asymmetric numeral systems.
"""

Coding = Literal["huffman", "rans"]
"""An entropy coder that a file's values and position gaps can go through."""

ACCOUNTINGS: tuple[Accounting, ...] = (
    "dense",
    "packed",
    "bitmask",
    "csr",
    "coo",
    "relative",
    "entropy",
    "huffman",
    "rans",
)

PARTS = ("values", "positions", "scales", "zero_points", "codebook")


@dataclass(frozen=True)
class TensorSize:
    """The bytes of one stored tensor.

    Attributes:
        name: its name in the model's state, e.g. "fc1.weight".
        treated: whether a step of the recipe treated it; biases and buffers are not.
        weights: the number of elements.
        zeros: how many of them are exactly zero.
        bits: the width of one stored value (code width, or the dtype's); of vectors, of several weights together.
        position_format: how the file says where the kept weights are: "none", "bitmask" or "relative-N".
        baseline: bytes in the uncompressed model's file; 0 of a tensor that it does not have, such as a factor.
        parts: (part, bytes) of the packed form, for each of PARTS; they sum to the packed accounting.
        accountings: (accounting, bytes) for each of ACCOUNTINGS; fractions of a byte only in "entropy".
        coding: the entropy coder that the file's values and gaps went through, or None.
    """

    name: str
    treated: bool
    weights: int
    zeros: int
    bits: float
    position_format: str
    baseline: int
    parts: tuple[tuple[str, int], ...]
    accountings: tuple[tuple[Accounting, float], ...]
    coding: Coding | None = None

    def part(self, name: str) -> int:
        """The bytes of one of PARTS."""
        return dict(self.parts)[name]

    def bytes(self, accounting: Accounting = "packed") -> float:
        """The bytes in one accounting."""
        return dict(self.accountings)[accounting]


@dataclass(frozen=True)
class SizeReport:
    """The size of one compressed model.

    Attributes:
        tensors: one entry a stored tensor, those left alone included; a tied tensor is stored once.
        file: bytes of the file that `CompressedModel.save` writes: `os.path.getsize` of it, exactly.
        header: bytes of that file that hold names, shapes and the recipe.
        baseline_file: bytes of the uncompressed model's own safetensors file.
        baseline_format: its dtype, e.g. "float32".
    """

    tensors: tuple[TensorSize, ...]
    file: int
    header: int
    baseline_file: int
    baseline_format: str

    @property
    def ratio(self) -> float:
        """How many times smaller the file is than the baseline's file."""
        return self.baseline_file / self.file

    @property
    def weights(self) -> int:
        """The number of elements in all stored tensors."""
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def sparsity(self) -> float:
        """The fraction of zeros among the elements of the treated tensors; of all tensors when none is treated."""
        counted = [tensor for tensor in self.tensors if tensor.treated] or list(self.tensors)
        return sum(tensor.zeros for tensor in counted) / sum(tensor.weights for tensor in counted)

    def total(self, accounting: Accounting = "packed") -> float:
        """Bytes of all tensors in one accounting, without the file's header."""
        return sum(tensor.bytes(accounting) for tensor in self.tensors)

    def breakdown(self) -> dict[str, int]:
        """Where the file's bytes go: each of PARTS over the treated tensors, "left alone" and "header".

        The entries sum to `file`.
        """
        treated = [tensor for tensor in self.tensors if tensor.treated]
        rows = {part: sum(tensor.part(part) for tensor in treated) for part in PARTS}
        rows["left alone"] = sum(int(tensor.bytes()) for tensor in self.tensors if not tensor.treated)
        rows["header"] = self.header
        return rows
