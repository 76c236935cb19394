"""One weight matrix between two steps: its values, its mask and its codes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compress_explorer.engine.layers import Inventory
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.methods.code import Code
from compress_explorer.methods.values import Values
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.size import Coding


@dataclass(frozen=True, eq=False)
class Quantizer:
    """What made a code, so that it can be made again of other weights.

    Attributes:
        method: with the result "code".
        values: of its parameters, but for those that the engine alone reads.
    """

    method: Method
    values: Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class Weights:
    """One weight matrix between two steps.

    Attributes:
        matrix: float32 [channels, n], exactly zero where not kept; every value is one of `dtype`.
        kept: bool [channels, n], or None while nothing was pruned.
        code: the quantized form, or None.
        dtype: what the network computes with.
        coding: the entropy coder of the file, or None.
        quantizer: what made the code; None where there is none.
    """

    matrix: Tensor
    kept: Tensor | None = None
    code: Code | None = None
    dtype: torch.dtype = torch.float32
    coding: Coding | None = None
    quantizer: Quantizer | None = None

    @property
    def mask(self) -> Tensor:
        """`kept`, all true while nothing was pruned."""
        return torch.ones_like(self.matrix, dtype=torch.bool) if self.kept is None else self.kept

    def pruned(self, keep: Tensor) -> "Weights":
        """These weights with only those left that `keep` names; codes stay as they are."""
        kept = keep if self.kept is None else self.kept & keep
        return replace(self, matrix=torch.where(kept, self.matrix, 0.0), kept=kept)

    def quantized(self, code: Code) -> "Weights":
        """These weights in the form of `code`; pruned weights stay exactly zero."""
        values = code.decode()
        if self.dtype.itemsize < values.itemsize:
            # bfloat16 rounds as coarsely as 8 bits quantize: the error must count.
            values = values.to(self.dtype).float()
        return replace(self, matrix=values if self.kept is None else torch.where(self.kept, values, 0.0), code=code)

    def revalued(self, new: Values) -> "Weights":
        """The weights `new` in place of these, no longer quantized; what was pruned stays so."""
        kept = self.mask & new.kept
        matrix = torch.where(kept, new.matrix.to(self.dtype).float(), 0.0)
        return replace(
            self,
            matrix=matrix,
            kept=None if self.kept is None and bool(kept.all()) else kept,
            code=None,
            quantizer=None,
        )


AllWeights = Mapping[str, Weights]
"""The weights of a model by the name of their site."""


def original_weights(state: Mapping[str, Tensor], inventory: Inventory) -> AllWeights:
    """Float32 copies of all treatable weights of a model's `state`."""
    return {
        site.name: Weights(as_float32_matrix(state[site.name], site.layout), dtype=state[site.name].dtype)
        for site in inventory.sites
    }
