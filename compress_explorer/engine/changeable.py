"""Whether anything of a layer's structure can be changed."""

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def cannot_change(model: nn.Module, name: str) -> str | None:
    """Why nothing of a layer's structure can be changed, in words that go on after "it ..."; None when it can."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if name not in modules:
        return "is no layer of this model"
    layer = modules[name]
    if sum(other is layer for other in modules.values()) > 1:
        return "is used under several names"
    if any(vars(layer)[kind] for kind in vars(layer) if kind.endswith("_hooks") and kind.startswith("_")):
        return "has hooks, which compute with its present form"
    own = {id(tensor) for tensor in layer.parameters(recurse=False)}
    everywhere = [id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False)]
    if any(everywhere.count(entry) > 1 for entry in own):
        return "shares a weight with another layer"
    return None
