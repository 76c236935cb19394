"""A network under training whose zeros and codes are kept, and the workpiece that comes out of it."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.copying import tensors_of
from compress_explorer.engine.matrix import Layout, as_float32_matrix
from compress_explorer.engine.rebuild import network_of
from compress_explorer.engine.training.held import Held
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods import magnitude
from compress_explorer.spec.errors import TrainingError


class Trainee(nn.Module):
    """A private network whose weights, biases and all else that requires a gradient can be trained.

    Attributes:
        network: it computes with the weights as they are now.
        held: what is trained behind weights that are quantized.
    """

    def __init__(self, work: Workpiece, free: Mapping[str, Held | None]) -> None:
        """Takes a copy of the network.

        Args:
            work: the model as the steps before left it.
            free: the sites whose weights are trained, and what is trained behind each; None: the weight itself. The
                weights of other sites stay.
        """
        super().__init__()
        self.network = network_of(work)
        self._sites = {site.name: site for site in work.inventory.sites}
        self._behind = {name: held for name, held in free.items() if held is not None}
        self.held = nn.ModuleList(self._behind.values())
        self._plain = [name for name, held in free.items() if held is None]
        for name in self._sites.keys() - free.keys():
            self._weight(name).requires_grad_(False)
        self._masks = {name: self._masked(name, work.weights[name]) for name in self._plain}
        self._shown: list[tuple[Tensor, Layout, Tensor]] = []

    def _masked(self, name: str, entry: Weights) -> str:
        """Registers where the weight was pruned, in its own shape; returns the buffer's name."""
        gone = None if entry.kept is None else self._sites[name].layout.from_matrix(~entry.kept)
        buffer = f"gone_{len([key for key in self._buffers if key.startswith('gone_')])}"
        self.register_buffer(buffer, gone)
        return buffer

    def _weight(self, name: str) -> nn.Parameter:
        return self.network.get_parameter(name)

    def gone(self, name: str) -> Tensor | None:
        """Where the plain weight `name` was pruned, bool in its own shape; None where nothing was."""
        return getattr(self, self._masks[name])  # type: ignore[no-any-return]

    def forward(self, *inputs: Any) -> Any:
        """What the network computes with the weights as they are now."""
        self._show()
        return self.network(*inputs)

    def _show(self) -> None:
        """Gives the network the weights that it holds, and remembers how they came about."""
        self._shown = []
        for name, held in self._behind.items():
            matrix, weight, layout = held(), self._weight(name), self._sites[name].layout
            with torch.no_grad():
                weight.copy_(layout.from_matrix(matrix))
            self._shown.append((weight, layout, matrix))

    def before_step(self) -> None:
        """Passes gradients on to what stands behind quantized weights, and takes those of pruned weights away."""
        for weight, layout, matrix in self._shown:
            if weight.grad is not None:
                matrix.backward(layout.to_matrix(weight.grad).to(matrix.dtype))  # type: ignore[no-untyped-call]
                weight.grad = None  # the optimiser leaves it alone
        self._shown = []
        for name in self._plain:
            gone, weight = self.gone(name), self._weight(name)
            if gone is not None and weight.grad is not None:
                weight.grad.masked_fill_(gone, 0.0)

    def after_step(self) -> None:
        """Makes sure of the zeros, which no optimiser with momentum or weight decay may move."""
        for held in self._behind.values():
            held.constrain()
        with torch.no_grad():
            for name in self._plain:
                gone = self.gone(name)
                if gone is not None:
                    self._weight(name).masked_fill_(gone, 0.0)

    def prune(self, sparsity: float) -> None:
        """Drops the smallest of the plain weights, so many of each tensor that this fraction of it is zero."""
        for name in self._plain:
            layout, gone, weight = self._sites[name].layout, self.gone(name), self._weight(name)
            matrix = as_float32_matrix(weight, layout)
            before = torch.ones_like(matrix, dtype=torch.bool) if gone is None else layout.to_matrix(~gone)
            kept = magnitude.apply(matrix, before, sparsity=sparsity)
            if not bool(kept.all()):
                setattr(self, self._masks[name], layout.from_matrix(~kept))

    def finished(self, work: Workpiece, named: Collection[str]) -> Workpiece:
        """The workpiece with what was trained.

        Args:
            work: the model that the training began with.
            named: the sites that the step names: of these the state holds what the network computes with from now on,
                be it that their codes stayed, for their biases were trained beside these.

        Raises:
            TrainingError: when the last step left numbers that are not finite.
        """
        changed = {name: held.finished() for name, held in self._behind.items()}
        with torch.no_grad():
            for name, entry in changed.items():
                self._weight(name).copy_(self._sites[name].layout.from_matrix(entry.matrix))
        state = self._new_state(work, named)
        for name in self._plain:
            gone, layout = self.gone(name), self._sites[name].layout
            entry = replace(work.weights[name], matrix=as_float32_matrix(state.get(name, work.state[name]), layout))
            changed[name] = entry if gone is None else replace(entry, kept=layout.to_matrix(~gone))
        return work.with_weights(changed, state)

    def _new_state(self, work: Workpiece, named: Collection[str]) -> dict[str, Tensor]:
        """Every tensor that differs from that of `work`, but for the weights that the step does not name."""
        aliases = dict(work.inventory.aliases)
        state = {
            name: tensor.clone()
            for name, tensor in tensors_of(self.network).items()
            if aliases.get(name, name) not in self._sites.keys() - named and not torch.equal(tensor, work.state[name])
        }
        for name, tensor in state.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise TrainingError(
                    f"{name} is NaN or infinite after the last step of the training. Lower the learning_rate."
                )
        return state
