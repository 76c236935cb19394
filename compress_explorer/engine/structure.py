"""Makes the changes of a network's structure that `edits` describes: when a step is applied and when a file is loaded.

Layers that an edit cannot change are refused with the reason, in words.
"""

from collections.abc import Iterable, Sequence

from torch import nn

from compress_explorer.engine.changeable import cannot_change
from compress_explorer.engine.edits import Edit, Resized, Transformed
from compress_explorer.engine.factored import cannot_factor, parts_of, saves_nothing
from compress_explorer.engine.input_transform import attach, blank, cannot_transform
from compress_explorer.engine.resized import cannot_resize, resize
from compress_explorer.spec.errors import ModelError


def apply_edits(model: nn.Module, edits: Iterable[Edit], before: Sequence[Edit] = ()) -> nn.Module:
    """The network with its structure changed; the values of what changed are still to be set.

    Args:
        model: a private module: it is changed in place. (Where the edit is of the whole model, a new one comes back.)
        edits: first to last.
        before: the edits that made `model`.

    Raises:
        ModelError: when an edit does not fit the model; the message names the layer and the reason.
    """
    done = list(before)
    for edit in edits:
        reason = cannot_edit(model, edit, done)
        if reason is not None:
            raise ModelError(f"{edit.layer or type(model).__name__} cannot be changed to {edit}: it {reason}.")
        layer = model.get_submodule(edit.layer)
        if isinstance(edit, Resized):
            resize(layer, edit)
        elif isinstance(edit, Transformed):
            scheme = "affine" if edit.affine else "symmetric"
            attach(layer, blank(layer, bool(edit.divided), edit.bits or None, scheme, dynamic=bool(edit.dynamic)))
        else:
            model = _exchange(model, edit.layer, parts_of(layer, edit))
        done.append(edit)
    return model


def cannot_edit(model: nn.Module, edit: Edit, before: Sequence[Edit] = ()) -> str | None:
    """Why an edit cannot be made, in words that go on after "it ..."; None when it can.

    Args:
        model: the network as it is.
        edit: the change.
        before: the edits that made `model`.
    """
    if isinstance(edit, Transformed):
        known = dict(model.named_modules(remove_duplicate=False))
        return cannot_transform(known[edit.layer]) if edit.layer in known else "is no layer of this model"
    reason = cannot_change(model, edit.layer)
    if reason is not None:
        return reason
    layer = model.get_submodule(edit.layer)
    if isinstance(edit, Resized):
        return cannot_resize(layer, edit)
    return cannot_factor(model, edit.layer, before) or saves_nothing(layer, edit)


def _exchange(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    if not name:
        return new
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, new)
    return model
