"""All compression methods, in the order of the menus."""

from typing import TYPE_CHECKING

from compress_explorer.methods import (
    aciq,
    activation_svd,
    activations,
    activations_dynamic,
    adaround,
    apot,
    awq,
    batch_norm_recalibration,
    bias_correction,
    binary,
    block,
    cross_layer_equalization,
    diagonal_literal,
    filter_norm,
    fine_tune,
    fisher,
    fp4,
    fp8,
    fpgm,
    gptq,
    gradual,
    hqq,
    huffman,
    integer,
    integer_mse,
    integer_percentile,
    k_means,
    lamp,
    magnitude,
    magnitude_global,
    mx,
    n_m,
    nf4,
    nvfp4,
    power_of_two,
    power_of_two_literal,
    product_quantization,
    quantization_aware,
    random,
    random_literal,
    rans,
    remove_filters,
    remove_fpgm,
    round_literal,
    sigma_threshold,
    slimming,
    smoothquant,
    sparsegpt,
    stochastic,
    svd,
    taylor,
    ternary,
    tucker,
    wanda,
)
from compress_explorer.methods.table import table
from compress_explorer.spec.errors import unknown
from compress_explorer.spec.method import Method
from compress_explorer.spec.recipe import Step

if TYPE_CHECKING:
    import pandas as pd

METHODS: tuple[Method, ...] = (
    random.METHOD,
    magnitude.METHOD,
    magnitude_global.METHOD,
    lamp.METHOD,
    sigma_threshold.METHOD,
    taylor.METHOD,
    fisher.METHOD,
    wanda.METHOD,
    sparsegpt.METHOD,
    remove_filters.METHOD,
    remove_fpgm.METHOD,
    slimming.METHOD,
    n_m.METHOD,
    block.METHOD,
    filter_norm.METHOD,
    fpgm.METHOD,
    integer.METHOD,
    integer_percentile.METHOD,
    integer_mse.METHOD,
    aciq.METHOD,
    stochastic.METHOD,
    hqq.METHOD,
    gptq.METHOD,
    adaround.METHOD,
    awq.METHOD,
    power_of_two.METHOD,
    apot.METHOD,
    binary.METHOD,
    ternary.METHOD,
    k_means.METHOD,
    product_quantization.METHOD,
    nf4.METHOD,
    fp4.METHOD,
    fp8.METHOD,
    mx.METHOD,
    nvfp4.METHOD,
    activations.METHOD,
    activations_dynamic.METHOD,
    smoothquant.METHOD,
    cross_layer_equalization.METHOD,
    bias_correction.METHOD,
    batch_norm_recalibration.METHOD,
    fine_tune.METHOD,
    quantization_aware.METHOD,
    gradual.METHOD,
    svd.METHOD,
    activation_svd.METHOD,
    tucker.METHOD,
    huffman.METHOD,
    rans.METHOD,
    round_literal.METHOD,
    power_of_two_literal.METHOD,
    random_literal.METHOD,
    diagonal_literal.METHOD,
)


def method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UnknownNameError: when there is none; the message suggests the nearest.
    """
    for candidate in METHODS:
        if candidate.name == name:
            return candidate
    raise unknown("method", name, [candidate.name for candidate in METHODS])


def complete(step: Step) -> Step:
    """The same step with every parameter's value: the given ones validated, the others at their defaults.

    Raises:
        UnknownNameError: when the method or one of the parameters does not exist.
        ParameterError: when a value is not allowed.
    """
    entry = method(step.method)
    overrides = {
        pattern: None if pairs is None else {name: entry.parameter(name).validate(value) for name, value in pairs}
        for pattern, pairs in step.overrides
    }
    return Step(step.method, layers=step.layers, overrides=overrides, **entry.complete(dict(step.values)))


def methods_table() -> "pd.DataFrame":
    """One row a method: name, label, family, summary, parameters (ranges, defaults), formula, source."""
    return table(METHODS)
