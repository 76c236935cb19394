"""Finds layers that follow each other directly, and applies scales between them."""

from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from compress_explorer.engine.context import Context
from compress_explorer.engine.follow import layer_graph
from compress_explorer.engine.input_change import layer_of
from compress_explorer.engine.input_transform import transform_of
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.rescale import rescaled, with_aliases
from compress_explorer.engine.targets import Target
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.evidence import Pair
from compress_explorer.spec.method import Method

HOMOGENEOUS_MODULES = (
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Flatten,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
)
HOMOGENEOUS_FUNCTIONS = (
    torch.relu,
    torch.flatten,
    torch.max_pool1d,
    torch.max_pool2d,
    functional.relu,
    functional.leaky_relu,
    functional.dropout,
    functional.max_pool1d,
    functional.max_pool2d,
    functional.avg_pool1d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d,
)
HOMOGENEOUS_METHODS = ("relu", "flatten", "contiguous")
"""What may stand between two layers: f(c x) = c f(x) for c > 0, channel by channel, and channels keep their order."""

SCALABLE = (nn.Linear, nn.Conv1d, nn.Conv2d)


def equalize(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece after scales moved between the layers of one target that follow each other.

    Biases of the first layers are scaled with them. Layers in no pair are refused with the reason.
    """
    context.tell(f"{method.label}: looking for layers that follow each other")
    names = [site.name for site in target.sites]
    pairs, refused = find_pairs(work, target.sites)
    if pairs:
        entries = [work.weights[name] for name in names]
        with torch.no_grad():
            scales = method.apply(
                [entry.matrix for entry in entries], [entry.mask for entry in entries], pairs, **target.values
            )
        involved = sorted({place for pair in pairs for place in (pair.first, pair.second)})
        biases = {}
        for place in {pair.first for pair in pairs}:
            bias = names[place].removesuffix("weight") + "bias"
            if bias in work.state:
                biases[bias] = (work.state[bias].double() * scales[place][0].double()).to(work.state[bias].dtype)
        factors = {names[place]: scales[place][0][:, None] * scales[place][1] for place in involved}
        work = rescaled(work, factors)
        work = work.with_weights({}, with_aliases(work, biases))
    return work.with_refused(refused)


def find_pairs(work: Workpiece, sites: tuple[WeightSite, ...]) -> tuple[list[Pair], dict[str, str]]:
    """The pairs among the sites' layers, and for the sites in none the reason.

    Two layers are a pair when the second alone is fed the first's output, through ReLU, leaky ReLU, pooling, dropout
    or flattening, or nothing. A batch normalization between them is not looked through: it would have to be folded
    into the first layer before.
    """
    places = {site.name: place for place, site in enumerate(sites)}
    reasons = {site.name: _unscalable(work, site) for site in sites}
    try:
        graph = layer_graph(work.model)
    except Exception as error:  # noqa: BLE001 -- a forward function can raise anything when it is traced
        untraced = f"the network's layers cannot be followed: torch.fx raised {type(error).__name__}: {error}"
        return [], {site.name: untraced.splitlines()[0] for site in sites}
    layers = {layer_of(work.model, site): site for site in sites}
    calls: dict[str, list[fx.Node]] = {}
    for node in graph.nodes:
        if node.op == "call_module":
            site = layers.get(work.model.get_submodule(str(node.target)))
            if site is not None:
                calls.setdefault(site.name, []).append(node)
    pairs: list[Pair] = []
    refused: dict[str, str] = {}
    for site in sites:
        found = _second(work, site, layers, calls, reasons)
        if isinstance(found, str):
            refused[site.name] = found
        else:
            second = layer_of(work.model, found)
            outputs = sites[places[site.name]].layout.channels
            groups = getattr(second, "groups", 1)
            window = found.layout.columns * groups // outputs
            pairs.append(Pair(places[site.name], places[found.name], groups, window))
    paired = {place for pair in pairs for place in (pair.first, pair.second)}
    return pairs, {name: reason for name, reason in refused.items() if places[name] not in paired}


def _unscalable(work: Workpiece, site: WeightSite) -> str | None:
    """Why a site can be in no pair, in words; None when it can."""
    layer = layer_of(work.model, site)
    if type(layer) not in SCALABLE or not site.name.endswith("weight"):
        return f"{type(layer).__name__} is no layer whose channels can be scaled"
    bias = site.name.removesuffix("weight") + "bias"
    aliases = dict(work.inventory.aliases)
    if site.aliases or bias in aliases or bias in aliases.values():
        return "its weight or bias is used in several places"
    if work.weights[site.name].code is not None:
        return "its weights are quantized already; put this step before that one"
    return None


def _second(
    work: Workpiece,
    site: WeightSite,
    layers: Mapping[nn.Module, WeightSite],
    calls: Mapping[str, list[fx.Node]],
    reasons: Mapping[str, str | None],
) -> WeightSite | str:
    """The site that follows directly, or in words why none does."""
    own = reasons[site.name]
    if own is not None:
        return own
    if len(calls.get(site.name, [])) != 1:
        return "the network does not use it just once"
    node = calls[site.name][0]
    while True:
        if len(node.users) != 1:
            return "its output goes to several places"
        node = next(iter(node.users))
        if node.op == "output":
            return "no layer follows it"
        following = _module(work.model, node)
        if following is not None and following in layers:
            second = layers[following]
            break
        if not _homogeneous(following, node):
            return f"{_described(following, node)} follows it, through which scales cannot pass"
    if reasons[second.name] is not None:
        return f"{second.name} follows it: {reasons[second.name]}"
    if len(calls[second.name]) != 1:
        return f"{second.name} follows it, which is used several times"
    transform = transform_of(following) if following is not None else None
    if transform is not None and transform.scale is not None:
        return f"{second.name} follows it, whose input is rounded to fixed levels; put this step before that one"
    inputs = second.layout.columns * getattr(following, "groups", 1)
    if inputs % site.layout.channels or (
        isinstance(following, _ConvNd) and following.in_channels != site.layout.channels
    ):
        return f"{second.name} follows it, whose inputs are not its channels"
    return second


def _module(model: nn.Module, node: fx.Node) -> nn.Module | None:
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def _homogeneous(module: nn.Module | None, node: fx.Node) -> bool:
    """Whether scales of channels pass through a node."""
    if module is not None:
        return type(module) in HOMOGENEOUS_MODULES and (not isinstance(module, nn.Flatten) or module.start_dim == 1)
    if "flatten" in str(node.target if isinstance(node.target, str) else node.target.__name__):
        return _start_of(node) == 1
    if node.op == "call_function":
        return node.target in HOMOGENEOUS_FUNCTIONS
    return node.op == "call_method" and node.target in HOMOGENEOUS_METHODS


def _start_of(node: fx.Node) -> object:
    """The first axis that flatten joins; with another than 1 channels would not stay together."""
    return node.kwargs.get("start_dim", node.args[1] if len(node.args) > 1 else 0)


def _described(module: nn.Module | None, node: fx.Node) -> str:
    if module is not None:
        return type(module).__name__
    return str(getattr(node.target, "__name__", node.target))
