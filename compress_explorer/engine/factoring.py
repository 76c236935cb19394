"""Steps that replace a layer by a product of smaller ones."""

from collections.abc import Callable

import torch
from torch import Tensor

from compress_explorer.engine.context import Context
from compress_explorer.engine.edits import Edit, Factored, Tucker
from compress_explorer.engine.evidence import evidence
from compress_explorer.engine.factored import cannot_factor
from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.restructure import Replacement, restructure
from compress_explorer.engine.structure import cannot_edit
from compress_explorer.engine.targets import Target
from compress_explorer.engine.weights import AllWeights, Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.factors import Factors, TuckerFactors
from compress_explorer.spec.method import Method


def factor(work: Workpiece, method: Method, target: Target, context: Context) -> Workpiece:
    """The workpiece with the layers of `target` factored; a layer that factors would not make smaller is refused.

    Each layer becomes an `nn.Sequential` of layers under its name: fc1.weight becomes fc1.0.weight and fc1.1.weight,
    and its bias fc1.1.bias. Pruned weights count as zeros, codes as what they stand for.

    Raises:
        DataError: when the method needs data and there are none.
    """
    reasons = {site.name: cannot_factor(work.model, _layer(site), work.edits) for site in target.sites}
    sites = [site for site in target.sites if reasons[site.name] is None]
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    values, statistics = dict(target.values), {}
    if method.needs != "nothing":
        samples = int(values.pop("samples"))
        known = evidence(work, method, sites, samples, context)
        refused |= {name: found for name, found in known.items() if isinstance(found, str)}
        statistics = {name: (found,) for name, found in known.items() if not isinstance(found, str)}
        sites = [site for site in sites if site.name in statistics]
    edits: list[Edit] = []
    tensors: dict[str, Tensor] = {}
    replacements: dict[str, Replacement] = {}
    for done, site in enumerate(sites, start=1):
        context.tell(f"{method.label}: layer {done} of {len(sites)}")
        entry = work.weights[site.name]
        weight, kept = (site.layout.from_matrix(matrix) for matrix in (entry.matrix, entry.mask))
        with torch.no_grad():
            factors = method.apply(weight, kept, *statistics.get(site.name, ()), **values)
        edit = _edit(_layer(site), factors)
        reason = cannot_edit(work.model, edit, work.edits)
        if reason is not None:
            refused[site.name] = reason
            continue
        edits.append(edit)
        new = _tensors(site, factors)
        tensors |= new
        if (bias := f"{site.name.removesuffix('weight')}bias") in work.state:
            tensors[f"{[*new][-1].removesuffix('weight')}bias"] = work.state[bias]
        replacements[site.name] = Replacement(tuple(new), _dense(tuple(new)))
    work = work.with_refused(refused)
    return restructure(work, edits, tensors, replacements, {}) if edits else work


def _layer(site: WeightSite) -> str:
    """The name of the layer whose weight it is; "" where that is the model itself."""
    return site.name.rpartition(".")[0]


def _edit(layer: str, factors: Factors | TuckerFactors) -> Edit:
    if isinstance(factors, Factors):
        return Factored(layer, factors.left.shape[1])
    return Tucker(layer, *factors.core.shape[:2])


def _tensors(site: WeightSite, factors: Factors | TuckerFactors) -> dict[str, Tensor]:
    """The new weights in the shapes of their layers, the first to compute first."""
    kernel = site.layout.shape[2:]
    ones = (1,) * len(kernel)
    if isinstance(factors, Factors):
        first = factors.right.reshape(-1, site.layout.shape[1], *kernel)
        parts = [first, factors.left.reshape(*factors.left.shape, *ones)]
    else:
        outer = [factor.reshape(*factor.shape, *ones) for factor in (factors.inputs, factors.outputs)]
        parts = [outer[0], factors.core, outer[1]]
    layer = _layer(site)
    return {f"{layer}.{index}.weight" if layer else f"{index}.weight": part for index, part in enumerate(parts)}


def _dense(parts: tuple[str, ...]) -> Callable[[AllWeights], Weights]:
    """Gives the product of the factors in the matrix form of the layer that they stand for."""

    def dense(weights: AllWeights) -> Weights:
        matrices = [weights[part].matrix for part in parts]
        if len(matrices) == 2:
            product = Factors(left=matrices[1], right=matrices[0]).dense()
        else:
            inputs, core, outputs = matrices
            shaped = core.reshape(len(core), len(inputs), -1)
            product = TuckerFactors(outputs=outputs, core=shaped, inputs=inputs).dense().reshape(len(outputs), -1)
        return Weights(product, dtype=weights[parts[0]].dtype)

    return dense
