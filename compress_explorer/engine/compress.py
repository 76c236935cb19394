"""Compresses a model by a recipe. The caller's model is never touched."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from compress_explorer.engine import file as compressed_file
from compress_explorer.engine.context import Context
from compress_explorer.engine.cost import cost as count_cost
from compress_explorer.engine.cost import latency as measure_latency
from compress_explorer.engine.edits import Edit
from compress_explorer.engine.input_transform import buffers_of
from compress_explorer.engine.rebuild import network_of, stored_tensors
from compress_explorer.engine.reports import step_report
from compress_explorer.engine.size import size_report
from compress_explorer.engine.steps import apply_step, check_recipe
from compress_explorer.engine.stored import StoredTensor
from compress_explorer.engine.task import Task
from compress_explorer.engine.workpiece import Workpiece, open_model
from compress_explorer.methods.evidence import say_nothing
from compress_explorer.spec.cost import Cost, Latency
from compress_explorer.spec.inventory import Skipped
from compress_explorer.spec.recipe import Recipe, Step
from compress_explorer.spec.report import StepReport
from compress_explorer.spec.size import SizeReport


@dataclass(frozen=True, eq=False)
class CompressedModel:
    """A compressed model with everything that is stored of it.

    Attributes:
        model: a module of its own, in evaluation mode, that computes with the decoded weights.
        recipe: what was done, every value filled in.
        stored: the stored form of every tensor, once each; independent of what becomes of either module.
        skipped: the tensors that no step treated, with the reason.
        baseline: the caller's model, as it was given.
        aliases: (alias, stored name) for tensors that several layers share.
        edits: how the structure of `model` came out of the baseline's.
        steps: what each step did to the one before.
    """

    model: nn.Module
    recipe: Recipe
    stored: tuple[StoredTensor, ...]
    skipped: tuple[Skipped, ...]
    baseline: nn.Module
    aliases: tuple[tuple[str, str], ...]
    edits: tuple[Edit, ...]
    steps: tuple[StepReport, ...]

    @cached_property
    def _size(self) -> SizeReport:
        return size_report(self.stored, self.recipe, dict(self.aliases), self.baseline.state_dict(), self.edits)

    def size(self) -> SizeReport:
        """The size in every accounting, per tensor and in total."""
        return self._size

    def cost(self, example: Task | Tensor) -> Cost:
        """Counts the multiply-accumulates of the compressed network, by layer, and its parameters.

        Unstructured zeros make no dense kernel faster and are counted like all weights; removed channels and factored
        layers do save work. Compare with `cost(baseline, example)`.

        Args:
            example: a task, whose first test sample is run, or a batch of inputs.

        Raises:
            DataError: when the model cannot take the example.
        """
        return count_cost(self.model, example)

    def latency(self, example: Task | Tensor, *, batch: int = 64, repeats: int = 20) -> Latency:
        """Measures how long a batch takes, in turn with the uncompressed model; medians in milliseconds.

        Both compute with plain floating-point weights: zeros and codes save bytes, not time.

        Args:
            example: a task, whose first test samples are taken, or a batch of inputs.
            batch: how many samples of a task to run at once.
            repeats: how many runs of each model are timed.

        Raises:
            DataError: when a model cannot take the example.
            ParameterError: when `batch` or `repeats` is not positive.
        """
        return measure_latency(self.model, self.baseline, example, batch=batch, repeats=repeats)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the compressed file; `size().file` is its exact length in bytes.

        The file is safetensors: packed or coded values, positions, scales and codebooks, and the recipe. Nothing in it
        is ever executed. `load_compressed(path, model)` reads it back.

        Raises:
            OSError: when the file cannot be written; nothing is left behind then.
        """
        return compressed_file.save(path, self.stored, self.recipe, dict(self.aliases), self.edits)


def compress(
    model: nn.Module,
    recipe: Recipe | Step,
    task: Task | None = None,
    *,
    progress: Callable[[str], None] = say_nothing,
) -> CompressedModel:
    """Applies `recipe` to a copy of `model`.

    Args:
        model: any module; it is not changed.
        recipe: the steps, first to last; a single step will do.
        task: where methods that need data take it from: its train split. The others need none.
        progress: called with progress in words by steps that take long, such as trainings; it may raise to stop them.

    Raises:
        ModelError: when the model cannot be compressed (no weights, NaN, scripted, quantized).
        CompressExplorerError: when the recipe is not valid for it.
    """
    work, context = open_model(model), Context(task=task, tell=progress)
    recipe = check_recipe(recipe if isinstance(recipe, Recipe) else Recipe(recipe), work.inventory, context)
    reports = []
    for step in recipe:
        before, work = work, apply_step(work, step, context)
        reports.append(step_report(step, before, work))
    return assemble(model, recipe, work, tuple(reports))


def assemble(baseline: nn.Module, recipe: Recipe, work: Workpiece, steps: tuple[StepReport, ...]) -> CompressedModel:
    """The module that computes with what `recipe` made of `baseline`, and its stored form."""
    return CompressedModel(
        model=network_of(work),
        recipe=recipe,
        stored=stored_tensors(work),
        skipped=skipped_tensors(work),
        baseline=baseline,
        aliases=work.inventory.aliases,
        edits=work.edits,
        steps=steps,
    )


def skipped_tensors(work: Workpiece) -> tuple[Skipped, ...]:
    """All tensors that no step treated, with the reason."""
    untouched = tuple(
        Skipped(site.name, work.refused.get(site.name, "no step of the recipe names this layer"))
        for site in work.inventory.sites
        if site.name not in work.treated
    )
    # The scales of a layer's input are what a step made, and were not left alone.
    made = buffers_of(work.model)
    return untouched + tuple(entry for entry in work.inventory.skipped if entry.name not in made)
