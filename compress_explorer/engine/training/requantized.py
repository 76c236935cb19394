"""Weights that are quantized anew at each step of a training: the float weights behind the codes learn."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from compress_explorer.engine.training.held import Held, RelativeScale
from compress_explorer.engine.weights import Weights
from compress_explorer.methods.code import Code


class Requantized(Held):
    """Trains the weights behind the codes, which the same method quantizes after each step.

    The straight-through estimator passes the gradient of the quantized weights on to them as it is.
    """

    def __init__(self, entry: Weights, latent: Tensor) -> None:
        """Begins with `latent`, the weights before they were quantized, float32 [channels, n]."""
        super().__init__(entry)
        assert entry.quantizer is not None
        self._quantizer = entry.quantizer
        self.latent = nn.Parameter(self.masked(latent).clone())

    def code(self) -> Code:
        """The code of the weights as they are now."""
        with torch.no_grad():
            code: Code = self._quantizer.method.apply(
                self.masked(self.latent), self.entry.mask, **self._quantizer.values
            )
        return code

    def forward(self) -> Tensor:
        """The quantized weights; their gradient is that of the weights behind them."""
        through = self.latent - self.latent.detach()  # exactly 0, with a gradient
        return self.masked(self.code().decode() + through)


class LearnedStep(Held):
    """Trains the weights behind evenly spaced levels together with the distance of these levels (LSQ).

    With the scale s, q = round(clip(w/s + z, lowest, highest)) and ŵ = s (q - z):

        ∂ŵ/∂w = 1 where the clip does nothing, else 0
        ∂ŵ/∂s = q - z - w/s where the clip does nothing, else q - z

    and the gradient of s is multiplied by 1/√(N·Q_P), N the weights that share it, Q_P its largest positive level.
    Zero points stay. Esser et al. 2020 (arXiv 1902.08153) §2; there z = 0.
    """

    def __init__(self, entry: Weights, latent: Tensor) -> None:
        """Begins with `latent`, the weights before they were quantized, and with the scales of their code."""
        super().__init__(entry)
        code = entry.code
        assert code is not None
        assert code.scale is not None
        self._fixed, self._zero = code, torch.zeros((1, 1), device=latent.device)
        if code.zero_point is not None:
            self._zero = code.spread(code.zero_point.float())
        self._lowest, self._highest = code.offset, highest_level(code)
        self.latent = nn.Parameter(self.masked(latent).clone())
        self.scale = RelativeScale(code.scale)
        self._gradient_scale = (self._shared_by(code.scale) * self._largest(code)).rsqrt()

    def _shared_by(self, scale: Tensor) -> Tensor:
        """How many weights that were kept share each scale, at least 1; float32, shaped like the scales."""
        kept = self.entry.mask.float()
        counts = torch.stack([part.sum(dim=1) for part in torch.split(kept, self._fixed.group_size, dim=1)], dim=1)
        return (counts if len(scale) > 1 else counts.sum(dim=0, keepdim=True)).clamp(min=1)

    def _largest(self, code: Code) -> Tensor:
        """The largest positive level of each scale, at least 1."""
        zero = torch.zeros((1, 1)) if code.zero_point is None else code.zero_point.float()
        return (self._highest - zero.to(self.latent.device)).clamp(min=1)

    def _numbers(self, scale: Tensor) -> Tensor:
        """The levels' numbers q, with the gradients of the rule above; float32 [channels, n]."""
        number = self.masked(self.latent) / scale + self._zero
        clipped = torch.where(number <= self._lowest, float(self._lowest), number)
        clipped = torch.where(number >= self._highest, float(self._highest), clipped)
        return clipped.detach().round() + (clipped - clipped.detach())

    def forward(self) -> Tensor:
        """The quantized weights; the gradient goes to the weights behind them and to the scales."""
        scale = self.scale()
        damped = scale.detach() + (scale - scale.detach()) * self._gradient_scale
        spread = self._fixed.spread(damped)
        return self.masked((self._numbers(spread) - self._zero) * spread)

    def code(self) -> Code:
        """The code of the weights and scales as they are now."""
        with torch.no_grad():
            scale = self.scale()
            numbers = self._numbers(self._fixed.spread(scale))
            return replace(self._fixed, codes=(numbers - self._lowest).to(torch.uint8), scale=scale)

    def constrain(self) -> None:
        """Keeps the scales above zero."""
        self.scale.constrain()


def highest_level(code: Code) -> int:
    """The largest number that a code with evenly spaced levels uses: without a zero point, as many as are negative."""
    widest: int = code.offset + (1 << code.bits) - 1
    if code.zero_point is not None or code.offset >= 0:
        return widest
    return max(min(widest, -code.offset), code.offset + int(code.codes.max()))
