"""The stored form of one tensor of a compressed model."""

from dataclasses import dataclass

from torch import Tensor

from compress_explorer.engine.matrix import Layout
from compress_explorer.methods.code import Code
from compress_explorer.spec.size import Coding


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredTensor:
    """One parameter or buffer as it goes into the file.

    Attributes:
        name: its name in the model's state, e.g. "fc1.weight".
        values: the decoded tensor, in the model's own shape and dtype: what the network computes with.
        layout: the matrix form [channels, n] in whose row-major order codes and positions are stored.
        kept: bool [channels, n], False where a weight was pruned; None when nothing was.
        code: the quantized form, or None while the values are plain floats.
        changed: whether a step has treated it, be it only that other plain floats now stand there.
        coding: the entropy coder that a step asked for, used where it makes the file smaller; or None.
    """

    name: str
    values: Tensor
    layout: Layout
    kept: Tensor | None = None
    code: Code | None = None
    changed: bool = False
    coding: Coding | None = None

    @property
    def treated(self) -> bool:
        """Whether a step changed the stored form."""
        return self.kept is not None or self.code is not None
