"""The declaration of a compression method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compress_explorer.spec.parameter import Parameter, Value, complete, find

Result = Literal["mask", "code", "values", "factors", "channels", "inputs", "scales", "state", "coding", "trained"]
"""What a method's function returns for one tensor.

mask: bool [channels, n], the weights to keep.
code: a `methods.code.Code`, the quantized form.
values: new floating-point weights.
factors: the weights as a product of smaller tensors, `methods.factors.Factors` or `TuckerFactors`.
channels: bool [channels], the output channels to keep; the others are removed from the network.
inputs: a `methods.input_change.InputChange`: what is done to the layer's input.
scales: (rows [channels], weights [channels, n]): what each row and each weight is multiplied by.
state: new values of what is no weight: biases, running statistics.
coding: the name of the entropy coder that the file's values and gaps go through; the weights stay as they are.
trained: a `methods.training.Training`: how the engine trains the network as the steps before left it.
"""

Needs = Literal["nothing", "inputs", "gradients", "values", "before", "batches", "pairs", "scales", "window"]
"""What a method must know beside the weights, see `methods.evidence`; the last three need no data, the others do.

inputs: the second moments of what each layer is fed.
gradients: those of the loss with respect to the weights.
values: the values that each layer is fed.
before: the weights before they were rounded and pruned, and the moments of what each layer is fed.
batches: the means and variances of batches at each batch normalization.
pairs: which layers follow each other.
scales: those of the batch normalizations that each channel passes, float32 [channels, normalizations].
window: how many neighbouring columns see one input channel: the places of a convolution's kernel, else 1.
"""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One compression algorithm and its declared parameters.

    Attributes:
        name: how recipes call it, e.g. "magnitude".
        label: its name in menus.
        family: the group it stands in, e.g. "Pruning".
        summary: what it does, in one sentence.
        formula: its definition in one line of plain Unicode mathematics.
        source: the paper and equation it follows.
        parameters: its settings, in the order of their controls.
        scope: "tensor": `apply` treats one weight matrix; "model": it needs all of them at once.
        result: what `apply` returns for one tensor.
        needs: what it must know beside the weights.
        apply: the function. For scope "tensor" it takes (weight [channels, n], kept [channels, n] bool, **values);
            for scope "model", lists of these, one entry a tensor, and returns a list. Where it needs more than the
            weights, that stands third, behind `kept`. A method whose result are factors takes the weight in its
            layer's shape, [channels, inputs, *kernel]; one whose result are channels, in each row all weights that
            compute a channel, be it in several layers.
        preview: for methods that map each weight by its value alone: (one index a tensor, **values) -> one
            `ScalarMap` a tensor, so that every slider position is known without a pass over the weights; else None.
    """

    name: str
    label: str
    family: str
    summary: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    scope: Literal["tensor", "model"]
    result: Result
    needs: Needs = "nothing"
    apply: Callable[..., Any] = field(repr=False)
    preview: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def needs_data(self) -> bool:
        """Whether it looks at the train split."""
        return self.trains or self.needs not in ("nothing", "pairs", "scales", "window")

    @property
    def trains(self) -> bool:
        """Whether it trains the network, which takes so long that nobody asks for a whole curve of it."""
        return self.result == "trained"

    def parameter(self, name: str) -> Parameter:
        """The parameter called `name`.

        Raises:
            UnknownNameError: when there is none.
        """
        return find(self.parameters, name, self.name)

    def complete(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Every parameter's value: the given ones validated, the others at their defaults.

        Raises:
            UnknownNameError: when a given name is not a parameter.
            ParameterError: when a value is not allowed.
        """
        return complete(self.parameters, values, self.name)
