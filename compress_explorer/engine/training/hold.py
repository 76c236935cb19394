"""Decides what is trained behind each weight tensor, or says why it stays as it is."""

from compress_explorer.engine.layers import WeightSite
from compress_explorer.engine.matrix import as_float32_matrix
from compress_explorer.engine.training.held import Held, shares
from compress_explorer.engine.training.requantized import LearnedStep, Requantized
from compress_explorer.engine.weights import Weights
from compress_explorer.engine.workpiece import Workpiece
from compress_explorer.methods.training import Training

FROZEN = "it is frozen: its requires_grad is False"
CODES_STAY = "its codes and their 8-bit scales stay: 'quantization-aware' trains the weights behind them"
NOT_EVEN = "a scale can be learned for evenly spaced levels with float32 scales: choose scale='recomputed'"
ONLY_PLAIN = "it is quantized: pruning while training comes before quantization"


def hold(work: Workpiece, site: WeightSite, training: Training) -> Held | str | None:
    """What is trained behind a site's weights; None: the weights themselves; or in words why nothing is."""
    if not work.model.get_parameter(site.name).requires_grad:
        return FROZEN
    entry = work.weights[site.name]
    if entry.code is None:
        return None
    if training.growth is not None:
        return ONLY_PLAIN
    if training.quantized == "shared":
        kind = shares(entry.code)
        return CODES_STAY if kind is None else kind(entry)
    reason = _cannot_requantize(entry, training)
    if reason is not None:
        return reason
    latent = as_float32_matrix(work.state[site.name], site.layout)
    if entry.quantizer is not None and entry.quantizer.method.needs_data:
        latent = entry.matrix  # it did not round to the nearest: to begin before would undo what it found
    return (Requantized if training.quantized == "recomputed" else LearnedStep)(entry, latent)


def _cannot_requantize(entry: Weights, training: Training) -> str | None:
    if training.quantized == "learned":
        code = entry.code
        assert code is not None
        even = code.grid == "integer" and code.scale is not None and code.coded_scale is None
        return None if even else NOT_EVEN
    if entry.quantizer is None:
        return "nothing is known of what quantized it"
    method = entry.quantizer.method
    if method.needs != "nothing" or method.scope != "tensor":
        return (
            f"{method.label} looks at data, and cannot quantize anew after each step of a training: choose "
            "scale='learned', or quantize by a method that looks at the weights alone"
        )
    return None
