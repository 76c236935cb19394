"""What a network costs to run: multiplications, parameters, measured time."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The work of one network on one sample.

    Attributes:
        layers: (layer, multiply-accumulates for one sample), of each layer that has any, in the order of the model.
            Products that a module computes outside of its layers, as attention does, stand under its own name.
        parameters: the number of parameters; a tied one counts once.
        uncounted: the layers with weights that were run and whose work could not be counted.
    """

    layers: tuple[tuple[str, int], ...]
    parameters: int
    uncounted: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, of all layers."""
        return sum(count for _, count in self.layers)


@dataclass(frozen=True)
class Latency:
    """The measured time of a batch.

    Attributes:
        milliseconds: the median of the runs of the model.
        baseline: the median of the runs of the model that it is compared with.
        batch: how many samples a run computed.
        repeats: how many runs of each there were.
    """

    milliseconds: float
    baseline: float
    batch: int
    repeats: int

    @property
    def speedup(self) -> float:
        """How many times faster than the baseline."""
        return self.baseline / self.milliseconds
