"""Random shifts and mirror images of a batch of uint8 images, drawn from a given generator."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def random_shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Shift each image by up to `pixels` in both directions; what comes in is black.

    This is the same as padding by `pixels` and cropping at random.

    Args:
        images: ``[n, channels, height, width]``.
        pixels: the largest shift, 0 or more.
        generator: where the shifts come from.
    """
    count, channels, height, width = images.shape
    padded = functional.pad(images, (pixels, pixels, pixels, pixels))
    top = torch.randint(0, 2 * pixels + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * pixels + 1, (count, 1), generator=generator)
    rows = (top + torch.arange(height))[:, None, :, None]
    columns = (left + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns]


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror each image ``[channels, height, width]`` left to right with probability one half."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(-1), images)
