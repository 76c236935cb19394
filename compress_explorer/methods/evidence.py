"""What methods may know beside the weights: what layers are fed, and how the loss feels their weights."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from compress_explorer.spec.parameter import Parameter


def say_nothing(_text: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InputStatistics:
    """What a layer is fed on the calibration samples.

    The layer computes weight @ x for many input vectors x: rows of the input for a linear layer, patches for a
    convolution. With g groups the rows (output channels) fall into g equal blocks in order, and each block sees
    input vectors of its own.

    Attributes:
        moment: float64 [g, n, n], the mean of x xᵀ.
        mean: float64 [g, n], the mean of x.
        peak: float32 [g, n], the largest |x| of each feature.
        vectors: how many input vectors were seen.
        samples: on how many samples.
        mean_magnitude: float64 [g, n], the mean of |x|.
        window: how many neighbouring columns see one input channel at different places: the places of a
            convolution's kernel, 1 for a linear layer.
        tell: called in the course of long work with how far it is, e.g. "300 of 1,000 iterations"; it may raise to stop
            the work.
    """

    moment: Tensor
    mean: Tensor
    peak: Tensor
    vectors: int
    samples: int
    mean_magnitude: Tensor | None = None
    window: int = 1
    tell: Callable[[str], None] = say_nothing

    @property
    def groups(self) -> int:
        """The number of groups."""
        return self.moment.shape[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class InputValues:
    """The values of which a layer's input consists on the calibration samples, its features not told apart.

    Attributes:
        low: float32 [rows], the smallest value of each row of the input (its first axis: samples), in their order.
        high: float32 [rows], the largest.
        values: float32 [m], the values themselves in ascending order; of very many, some evenly spaced in the input.
    """

    low: Tensor
    high: Tensor
    values: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerBefore:
    """A layer as it was before its weights were rounded and pruned, and what it is fed.

    Attributes:
        weight: float32 [channels, n], its weights then.
        inputs: what it is fed now.
    """

    weight: Tensor
    inputs: InputStatistics


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchMoments:
    """What a batch normalization computes over each batch.

    Attributes:
        mean: float64 [batches, features].
        variance: float64 [batches, features], unbiased.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Pair:
    """Two layers of which the second is fed the first's output through a function f with f(c x) = c f(x) for c > 0.

    Attributes:
        first: its place among the weight matrices.
        second: its place.
        groups: of the second: its rows fall into so many equal blocks, each of which sees outputs of its own.
        window: how many neighbouring columns of the second see one output channel of the first.
    """

    first: int
    second: int
    groups: int = 1
    window: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientStatistics:
    """The gradient of the loss with respect to a layer's weights on the calibration samples.

    Attributes:
        mean: float32 [channels, n], the gradient of the mean loss.
        mean_square: float32 [channels, n], the mean of the squared gradients of each sample's loss: the diagonal of
            the empirical Fisher information.
        samples: on how many samples.
    """

    mean: Tensor
    mean_square: Tensor
    samples: int


def by_groups(weight: Tensor, statistics: InputStatistics) -> Tensor:
    """The rows of a weight matrix [channels, n] by the group whose inputs they see: [g, channels / g, n]."""
    return weight.reshape(statistics.groups, -1, weight.shape[1])


def samples_parameter(default: int = 128) -> Parameter:
    """The declaration of how many samples of the train split are looked at; the engine reads it, no method does."""
    return Parameter(
        name="samples",
        label="Samples",
        kind="integer",
        default=default,
        minimum=1,
        maximum=65536,
        soft_minimum=32,
        soft_maximum=1024,
        scale="log2",
        unit="samples",
        help="How many samples of the train split the method looks at; all of them where it has fewer.",
    )
