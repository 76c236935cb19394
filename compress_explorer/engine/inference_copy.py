"""The copy of a network that is evaluated: the same function, in the form that a CPU is fast in."""

import copy

import torch
from torch import Tensor, fx, nn

from compress_explorer.engine.folding import Pairs, fold, foldable_pairs
from compress_explorer.engine.follow import followed
from compress_explorer.engine.in_place import with_activations_in_place

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
"""Whose kernels have four axes."""

CLOSE = 1e-4
"""How far outputs of float32 may be apart, beside the largest, when sums are taken in another order."""


def inference_copy(model: nn.Module, folded: Pairs = ()) -> nn.Module:
    """A copy of `model` in evaluation mode that shares its tensors, but for the kernels of convolutions.

    Those lie "channels last" in it, and so do all activations then; sums are taken in another order, so that outputs
    differ in the last bits. A model on another device keeps its layout. A model that cannot be copied is given
    back itself, as it is, and so is one in evaluation mode that has no such kernels.

    Args:
        model: it is not changed.
        folded: convolutions and the normalizations to fold into them, see `safe_folds`.
    """
    modules = list(model.modules())
    if not any(module.training or isinstance(module, CONVOLUTIONS) for module in modules):
        return model
    copied = _copy(model)
    if copied is not model:
        fold(copied, folded)
    return copied


def fast_form(model: nn.Module, example: Tensor) -> nn.Module:
    """The same function in the form that a CPU is fast in.

    That is its `inference_copy` with its normalizations folded and its activations computed in place, where the
    network can be followed and both forms agree.

    Args:
        model: in evaluation mode; it is not changed.
        example: a few inputs, on which both forms are compared: what was followed need not be what is computed.
    """
    copied, graph = _followed_copy(model)
    if graph is None:
        return copied
    fold(copied, foldable_pairs(copied, graph))
    fast = with_activations_in_place(copied, graph)
    return fast if _agree(model, fast, example) else inference_copy(model)


def safe_folds(model: nn.Module, example: Tensor) -> Pairs:
    """The normalizations that can be folded; none where the outputs would differ, or on another device than a CPU.

    Args:
        model: in evaluation mode; it is not changed.
        example: a few inputs, on which both forms are compared.
    """
    copied, graph = _followed_copy(model)
    if graph is None:
        return ()
    pairs = foldable_pairs(copied, graph)
    fold(copied, pairs)
    return pairs if _agree(model, copied, example) else ()


def _followed_copy(model: nn.Module) -> tuple[nn.Module, fx.Graph | None]:
    """The `inference_copy`, and its graph; None where it is no copy, cannot be followed or is on another device."""
    copied = inference_copy(model)
    is_followed = copied is not model and all(_on_cpu(parameter) for parameter in model.parameters())
    return copied, followed(copied) if is_followed else None


def _copy(model: nn.Module) -> nn.Module:
    shared = [*model.parameters(), *model.buffers()]
    memo: dict[int, object] = {id(tensor): tensor for tensor in shared}
    kernels = [module.weight for module in model.modules() if isinstance(module, CONVOLUTIONS)]
    # A kernel that is computed, by a parametrization, is no tensor of the model: it stays as it comes.
    memo |= {id(kernel): _channels_last(kernel) for kernel in kernels if id(kernel) in memo}
    try:
        return copy.deepcopy(model, memo).eval()
    except Exception:  # noqa: BLE001 -- attributes of any kind can refuse; the model itself computes the same
        return model


def _agree(network: nn.Module, fast: nn.Module, example: Tensor) -> bool:
    """Whether both give the same outputs."""
    with torch.no_grad():
        try:
            expected, found = network(example), fast(example)
        except Exception:  # noqa: BLE001 -- whatever it is, measuring will meet it and say so
            return False
    if not isinstance(expected, Tensor) or not isinstance(found, Tensor) or expected.shape != found.shape:
        return False
    return bool((found - expected).abs().max() <= CLOSE * expected.abs().max())


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _channels_last(kernel: Tensor) -> Tensor:
    if not _on_cpu(kernel):
        return kernel
    laid_out = kernel.detach().to(memory_format=torch.channels_last)
    return nn.Parameter(laid_out, requires_grad=False) if isinstance(kernel, nn.Parameter) else laid_out
