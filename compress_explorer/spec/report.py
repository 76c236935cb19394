"""What one step of a recipe did to what the steps before it had left."""

from dataclasses import dataclass

from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Step


@dataclass(frozen=True)
class StepReport:
    """One step's effect, counted in weights of the original model.

    Attributes:
        step: the step, every value filled in.
        treated: the original weight tensors that it changed.
        left_alone: those that it names and did not change, with the reason.
        weights: the number of weights in the treated tensors.
        zeros_before: how many of these were zero before the step.
        zeros_kept: how many of those still are.
        zeros_after: how many are zero after it.
        codes_kept: tensors that were quantized before, and still have the same codes.
        codes_replaced: tensors that were quantized before, and have other codes now.
        codes_lost: tensors that were quantized before, and are plain numbers now.
        beside: what it changed that is no weight: biases, running statistics, inputs of layers.
    """

    step: Step
    treated: tuple[str, ...]
    left_alone: tuple[Skipped, ...]
    weights: int
    zeros_before: int
    zeros_kept: int
    zeros_after: int
    codes_kept: tuple[str, ...]
    codes_replaced: tuple[str, ...]
    codes_lost: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The effect in words, e.g. "3 tensors · all 239,580 zeros stay zero"."""
        parts = [_count(len(self.treated), "tensor")]
        if self.zeros_after != self.zeros_before or not self.zeros_before:
            parts.append(f"zeros {self.zeros_before:,} → {self.zeros_after:,}")
        if self.zeros_before:
            kept = self.zeros_kept == self.zeros_before
            parts.append(
                f"all {self.zeros_before:,} zeros stay zero"
                if kept
                else f"{self.zeros_before - self.zeros_kept:,} of {self.zeros_before:,} zeros are lost"
            )
        for names, what in (
            (self.codes_kept, "keeps its codes"),
            (self.codes_replaced, "gets new codes in place of the old"),
            (self.codes_lost, "gives up its codes"),
        ):
            if names:
                parts.append(f"{_count(len(names), 'tensor')} {what if len(names) == 1 else _plural(what)}")
        if self.beside:
            parts.append(f"{_count(len(self.beside), 'tensor')} beside the weights changed")
        if self.left_alone:
            parts.append(f"{_count(len(self.left_alone), 'tensor')} left alone")
        return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _plural(phrase: str) -> str:
    verb, _, rest = phrase.partition(" ")
    return f"{verb.removesuffix('s')} {rest.replace('its', 'their', 1)}"
