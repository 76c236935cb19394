"""The bundled networks' architectures: plain modules with named layers, one entry each in `ARCHITECTURES`.

All of them take normalised float32 images (``[n, 1, 28, 28]``; ``[n, 3, 32, 32]`` for CIFAR-10; ``[n, 64]``
for digits) and return logits ``[n, 10]``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class DigitsMLP(nn.Module):
    """A 64-32-32-10 perceptron for scikit-learn's 8x8 digits."""

    def __init__(self) -> None:
        """Build the three layers."""
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc2 = nn.Linear(32, 32)
        self.fc3 = nn.Linear(32, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of inputs ``[n, 64]``."""
        hidden = functional.relu(self.fc1(inputs))
        logits: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return logits


class LeNet300100(nn.Module):
    """The 784-300-100-10 perceptron of the pruning literature (266,610 parameters).

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86(11), 1998;
    with ReLU as in Han et al., "Learning both Weights and Connections", NeurIPS 2015.
    """

    def __init__(self) -> None:
        """Build the three layers."""
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of images ``[n, 1, 28, 28]``."""
        hidden = functional.relu(self.fc1(inputs.flatten(1)))
        logits: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return logits


class LeNet5(nn.Module):
    """LeNet-5 in Caffe's variant (431,080 parameters), the one that Deep Compression compresses.

    There is no non-linearity after the convolutions but the max pooling, as in Caffe's example.
    Source: Han, Mao and Dally, "Deep Compression", ICLR 2016, table 3; layer names are Caffe's.
    """

    def __init__(self) -> None:
        """Build two convolutions and two inner products."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool = nn.MaxPool2d(2)
        self.ip1 = nn.Linear(800, 500)
        self.ip2 = nn.Linear(500, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of images ``[n, 1, 28, 28]``."""
        maps = self.pool(self.conv2(self.pool(self.conv1(inputs))))
        logits: Tensor = self.ip2(functional.relu(self.ip1(maps.flatten(1))))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut; a 1x1 convolution where the shape changes.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, figure 2 and option B.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        """Build the block; `stride` is the first convolution's."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``[n, channels_out, h / stride, w / stride]`` of ``[n, channels_in, h, w]``."""
        hidden = functional.relu(self.bn1(self.conv1(maps)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(maps))


class ResNet(nn.Module):
    """A residual network for small images: stem, three stages of blocks, average pooling, linear layer.

    Source: He et al. (above), section 4.2.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int], blocks: int, stem_stride: int = 1) -> None:
        """Build `blocks` blocks in each stage; the second and third stage halve the resolution."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stage1 = _stage(widths[0], widths[0], 1, blocks)
        self.stage2 = _stage(widths[0], widths[1], 2, blocks)
        self.stage3 = _stage(widths[1], widths[2], 2, blocks)
        self.fc = nn.Linear(widths[2], 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of images ``[n, channels, h, w]``."""
        maps = functional.relu(self.bn1(self.conv1(inputs)))
        maps = self.stage3(self.stage2(self.stage1(maps)))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


def _stage(channels_in: int, channels_out: int, stride: int, blocks: int) -> nn.Sequential:
    first = ResidualBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(ResidualBlock(channels_out, channels_out, 1) for _ in range(blocks - 1)))


class SeparableBlock(nn.Module):
    """A depthwise 3x3 and a pointwise 1x1 convolution, each with batch norm and ReLU.

    Source: Howard et al., "MobileNets", arXiv:1704.04861, figure 3.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        """Build the block; `stride` is the depthwise convolution's."""
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``[n, channels_out, h / stride, w / stride]`` of ``[n, channels_in, h, w]``."""
        hidden = functional.relu(self.bn1(self.depthwise(maps)))
        return functional.relu(self.bn2(self.pointwise(hidden)))


class DepthwiseNet(nn.Module):
    """A small MobileNet for 28x28 images: a strided stem and five depthwise-separable blocks."""

    def __init__(self) -> None:
        """Build the stem, the blocks and the classifier."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 24, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.blocks = nn.Sequential(
            SeparableBlock(24, 48, 1),
            SeparableBlock(48, 96, 2),
            SeparableBlock(96, 96, 1),
            SeparableBlock(96, 192, 2),
            SeparableBlock(192, 192, 1),
        )
        self.fc = nn.Linear(192, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of images ``[n, 1, 28, 28]``."""
        maps = self.blocks(functional.relu(self.bn1(self.conv1(inputs))))
        logits: Tensor = self.fc(maps.mean((2, 3)))
        return logits


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and a two-layer perceptron, each with a residual connection.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, equations 2 and 3.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        """Build the block; `heads` must divide `width`."""
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape ``[n, tokens, width]``."""
        tokens = tokens + self._attend(self.norm1(tokens))
        change: Tensor = self.fc2(functional.gelu(self.fc1(self.norm2(tokens))))
        return tokens + change

    def _attend(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        qkv = self.qkv(tokens).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, length, width))
        return projected


class VisionTransformer(nn.Module):
    """A tiny vision transformer for 28x28 images: 7x7 patches (16 tokens), learned positions, mean pooling.

    Source: Dosovitskiy et al. (above), section 3.1; appendix D.3 for pooling in place of the class token.
    """

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 4, hidden: int = 128) -> None:
        """Build the patch embedding, `depth` blocks and the classifier."""
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, 7)
        self.positions = nn.Parameter(torch.empty(1, 16, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[n, 10]`` of images ``[n, 1, 28, 28]``."""
        tokens = self.patches(inputs).flatten(2).transpose(1, 2) + self.positions
        logits: Tensor = self.fc(self.norm(self.blocks(tokens)).mean(1))
        return logits


def _resnet_fashion() -> nn.Module:
    return ResNet(channels=1, widths=(24, 48, 96), blocks=1, stem_stride=2)


def _resnet20_cifar10() -> nn.Module:
    return ResNet(channels=3, widths=(16, 32, 64), blocks=3)


#: What a card's `architecture` may name, and the function that builds it with fresh random weights.
ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "digits-mlp": DigitsMLP,
    "lenet-300-100": LeNet300100,
    "lenet-5": LeNet5,
    "resnet-8": _resnet_fashion,
    "depthwise": DepthwiseNet,
    "vision-transformer": VisionTransformer,
    "resnet-20": _resnet20_cifar10,
}
