"""Many networks of one architecture as one: each of their tensors is stacked, and one pass runs them all."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from compress_explorer.spec.errors import ModelError


class Stack:
    """Networks of one architecture, side by side; what is trained are the stacked `parameters`.

    Attributes:
        tensors: each parameter and buffer of all networks, [networks, ...], by its name.
        parameters: those that require gradients.
    """

    def __init__(self, networks: Sequence[nn.Module], groups: int) -> None:
        """Takes the networks in groups of equal size, one after the other; those of a group are fed the same inputs.

        Raises:
            ModelError: when they drop units at random: side by side they could not draw what each draws alone.
        """
        for name, module in networks[0].named_modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
                raise ModelError(
                    f"{name} drops units at random, and networks that are trained side by side cannot draw what each "
                    "would draw alone. Set its p to 0, or train the students one by one with distill."
                )
        self._template = copy.deepcopy(networks[0])
        self._count, self._groups = len(networks), groups
        self._chain = _chain(networks[0])
        trained = {name: parameter.requires_grad for name, parameter in networks[0].named_parameters()}
        named = [dict([*network.named_parameters(), *network.named_buffers()]) for network in networks]
        self.tensors = {
            name: torch.stack([tensors[name].detach() for tensors in named]).requires_grad_(trained.get(name, False))
            for name in named[0]
        }
        self.parameters = [nn.Parameter(tensor) for tensor in self.tensors.values() if tensor.requires_grad]
        names = [name for name, tensor in self.tensors.items() if tensor.requires_grad]
        self.tensors |= dict(zip(names, self.parameters, strict=True))

    def run(self, inputs: Tensor, *, training: bool) -> Tensor:
        """The outputs of every network.

        Args:
            inputs: of each group, [groups, n, ...].
            training: whether they run in training mode.

        Returns:
            [networks, n, ...]

        Raises:
            ModelError: when the networks cannot run side by side.
        """
        if self._chain is not None:
            return self._run_chain(self._chain, inputs)
        self._template.train(training)
        members = self._count // self._groups
        shared = inputs[:, None].expand(-1, members, *inputs.shape[1:]).flatten(0, 1)

        def one(tensors: dict[str, Tensor], own: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self._template, tensors, (own,))
            return outputs

        try:
            outputs: Tensor = vmap(one)(self.tensors, shared)
        except RuntimeError as error:
            raise ModelError(
                f"{type(self._template).__name__} cannot run side by side with others (torch.func.vmap): {error}. "
                "Train the students one by one with distill."
            ) from error
        return outputs

    def _run_chain(self, chain: Sequence[tuple[str, nn.Module]], inputs: Tensor) -> Tensor:
        """Perceptrons: the first layers of a group, which have the same inputs, are one product of matrices."""
        values, split = inputs.flatten(2), False
        for name, module in chain:
            if isinstance(module, nn.ReLU):
                values = values.relu()
            elif isinstance(module, nn.Linear):
                weight = self.tensors[f"{name}.weight"]
                bias = self.tensors[f"{name}.bias"] if module.bias is not None else None
                if not split:
                    weight = weight.reshape(self._groups, -1, module.in_features)
                    bias = None if bias is None else bias.reshape(self._groups, -1)
                product = torch.bmm(values, weight.mT)
                values = product if bias is None else product + bias[:, None]
                if not split:
                    values, split = self._apart(values, module.out_features), True
        return values

    def _apart(self, values: Tensor, units: int) -> Tensor:
        """[groups, n, members · units] -> [networks, n, units]."""
        members = self._count // self._groups
        groups, count, _ = values.shape
        return values.view(groups, count, members, units).movedim(2, 1).reshape(-1, count, units)

    def network(self, place: int) -> nn.Module:
        """A copy of one of the networks, in evaluation mode."""
        copied = copy.deepcopy(self._template).eval()
        with torch.no_grad():
            for name, tensor in [*copied.named_parameters(), *copied.named_buffers()]:
                tensor.copy_(self.tensors[name][place])
        return copied


def _chain(network: nn.Module) -> list[tuple[str, nn.Module]] | None:
    """The layers of a network that is a plain perceptron, one after the other; None of any other."""
    if type(network) is not nn.Sequential:
        return None
    layers = list(network.named_children())
    kinds = [type(module) for _, module in layers]
    if nn.Linear not in kinds or len({id(module) for _, module in layers}) < len(layers):
        return None
    first = layers[0][1]
    flattens = isinstance(first, nn.Flatten) and first.start_dim == 1 and first.end_dim == -1
    flat = kinds[1:] if flattens else kinds
    hooked = any(module._forward_hooks or module._forward_pre_hooks for _, module in layers)
    return layers if set(flat) <= {nn.Linear, nn.ReLU} and not hooked else None
