"""The stored form of one tensor of a compressed model."""

from dataclasses import dataclass

from torch import Tensor

from compress_explorer.methods.code import Code


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredTensor:
    """One parameter or buffer as it goes into the file.

    Attributes:
        name: its name in the model's state, e.g. "fc1.weight".
        values: the decoded tensor, in the model's own shape and dtype: what the network computes with.
        matrix: the same values as float32 [channels, n], the order in which codes and positions are stored;
            None for a tensor that no step treated.
        kept: bool [channels, n], False where a weight was pruned; None when nothing was.
        code: the quantized form, or None while the values are plain floats.
    """

    name: str
    values: Tensor
    matrix: Tensor | None = None
    kept: Tensor | None = None
    code: Code | None = None

    @property
    def treated(self) -> bool:
        """Whether a step changed the stored form."""
        return self.kept is not None or self.code is not None
