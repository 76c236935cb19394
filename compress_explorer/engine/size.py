"""The size of a compressed model in every accounting.

Letters: n weights, of which k are present (not zero), density d = k / n, b bits a value (the code's width, or
the dtype's for plain floats), i bits a gap, f fillers, S bytes of scales (float32, or 8 bits and their constants),
zero points (packed at b bits) and codebooks (float32). Every section is rounded up to whole bytes, as in the file;
only the entropy is not.

    dense       n * bytes of the dtype
    bitmask     ceil(n / 8) + ceil(k b / 8) + S
    csr         ceil(k b / 8) + ceil(k c / 8) + 4 (rows + 1) + S: row starts of 32 bits, the narrowest column
                index, c = ceil(log2 columns); a row is an output channel
    coo         ceil(k b / 8) + ceil(k c / 8) + S, one flat index a weight: c = ceil(log2 n)
    relative    ceil((k + f) i / 8) + ceil((k + f) b / 8) + S at the best i of 1..8; f is counted
    packed      the smallest of plain codes, ceil(n b / 8) + S, bitmask and relative, and after a coding step also
                of huffman or rans: what the file holds
    entropy     (n h(d) + k H(values)) / 8 + S, with h(d) = -d log2 d - (1 - d) log2 (1 - d); where plain
                codes are possible, n H(all codes) / 8 + S if less (it can be where zero points differ)
    huffman     Huffman-coded values, and gaps where that is smaller, with their code tables, + S
    rans        the same coded with rANS: see `engine.rans`

Of vectors, codes that stand for neighbouring weights together, the k in k b and in k H is the number of codes of which
a weight is present, n the number of all codes where all are stored, and fillers have no value: relative is
ceil((k + f) i / 8) and the codes.

Tensors that were left alone cost their dtype's bytes in every accounting. Plain floats are not coded: H = b.
The entropy bounds coders to which all positions are alike and values tell nothing of their neighbours: the
gaps of clustered zeros (at the border of digits) can cost less.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from compress_explorer.engine.contents import Contents, count_zeros
from compress_explorer.engine.edits import Edit
from compress_explorer.engine.form import (
    Form,
    choose_form,
    coded_forms,
    metadata,
    side_parts,
)
from compress_explorer.engine.huffman import entropy
from compress_explorer.engine.packing import packed_bytes
from compress_explorer.engine.positions import best_width
from compress_explorer.engine.safetensors_size import header_bytes, plain_file_bytes
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.size import ACCOUNTINGS, Accounting, Coding, SizeReport, TensorSize


def size_report(
    stored: Sequence[StoredTensor],
    recipe: Recipe,
    aliases: Mapping[str, str],
    baseline: Mapping[str, Tensor],
    edits: Sequence[Edit] = (),
) -> SizeReport:
    """The size of a compressed model.

    Args:
        stored: every tensor of the model, each once.
        recipe: what made them; it stands in the file's header.
        aliases: other names of stored tensors in the model's state: alias -> the name that is stored.
        baseline: the uncompressed model's state. Its file is a safetensors file without metadata, in which a
            tied tensor stands once.
        edits: how the network's structure was changed; they stand in the file's header.

    Raises:
        ModelError: when the tensors cannot be put into a file.
    """
    forms = [choose_form(tensor) for tensor in stored]
    arrays = [form.array for form in forms]
    header = header_bytes(arrays, metadata(forms, recipe, aliases, edits))
    original = {name: tensor for name, tensor in baseline.items() if isinstance(tensor, Tensor) and name not in aliases}
    return SizeReport(
        tensors=tuple(_tensor_size(form, _dense_bytes(original.get(form.stored.name))) for form in forms),
        file=header + sum(array.bytes for array in arrays),
        header=header,
        baseline_file=plain_file_bytes(original),
        baseline_format=main_format(original),
    )


def main_format(state: Mapping[str, Tensor]) -> str:
    """The dtype that most of a state's bytes are in, e.g. "float32"."""
    bytes_of: Counter[torch.dtype] = Counter()
    for tensor in state.values():
        bytes_of[tensor.dtype] += tensor.numel() * tensor.element_size()
    return str(max(bytes_of, key=lambda dtype: bytes_of[dtype])).removeprefix("torch.")


def tensor_size(stored: StoredTensor) -> TensorSize:
    """The size of one tensor."""
    return _tensor_size(choose_form(stored), _dense_bytes(stored.values))


def _dense_bytes(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def _tensor_size(form: Form, baseline: int) -> TensorSize:
    stored, contents = form.stored, form.contents
    dense = _dense_bytes(stored.values)
    counted: dict[Accounting, float] = dict.fromkeys(ACCOUNTINGS, dense)
    if stored.treated:
        counted |= _accountings(contents)
        counted["packed"] = sum(form.parts.values())
    return TensorSize(
        name=stored.name,
        treated=stored.treated or stored.changed,
        weights=contents.weights,
        zeros=count_zeros(stored.values),
        bits=contents.bits,
        position_format=form.position_format,
        baseline=baseline,
        parts=tuple(form.parts.items()),
        accountings=tuple((accounting, counted[accounting]) for accounting in ACCOUNTINGS),
        coding=form.coding,
    )


def _accountings(contents: Contents) -> dict[Accounting, float]:
    layout, count, bits = contents.stored.layout, contents.count, contents.bits
    side = sum(side_parts(contents.stored.code).values())
    values = packed_bytes(contents.held_count, bits) + side
    width, entries = best_width(contents.runs, contents.gap_bits, contents.zero_level)
    row_starts = 4 * (layout.channels + 1)
    return {
        "bitmask": packed_bytes(contents.weights, 1) + values,
        "csr": packed_bytes(count, index_bits(layout.columns)) + row_starts + values,
        "coo": packed_bytes(count, index_bits(contents.weights)) + values,
        "relative": Form(contents, "relative", width, entries).payload + side,
        "entropy": _entropy_bytes(contents) + side,
        "huffman": _coded_bytes(contents, width, "huffman") + side,
        "rans": _coded_bytes(contents, width, "rans") + side,
    }


def index_bits(count: int) -> int:
    """The bits of an index 0..count-1: ceil(log2 count)."""
    return max(count - 1, 0).bit_length()


def _entropy_bytes(contents: Contents) -> float:
    count, weights = contents.count, contents.weights
    positions = weights * entropy(np.array([count, weights - count]))
    if contents.stored.code is None:
        return min(positions + count * contents.bits, weights * contents.bits) / 8
    with_positions = positions + contents.held_count * entropy(contents.held_counts)
    if not contents.plain:
        return with_positions / 8
    return min(with_positions, contents.values * entropy(contents.all_counts)) / 8


def _coded_bytes(contents: Contents, width: int, coding: Coding) -> int:
    """Bytes of all n values coded, or of the present ones and their gaps, whichever are fewer."""
    coded = min(form.payload for form in coded_forms(contents, width, coding))
    if contents.stored.code is not None:
        return coded
    return min(coded, packed_bytes(contents.weights, contents.bits))
