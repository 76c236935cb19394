"""A ready recipe, made for one model."""

from torch import nn

from compress_explorer.engine.layers import inspect_model
from compress_explorer.engine.task import Task
from compress_explorer.methods.ready import ready
from compress_explorer.spec.recipe import Recipe


def ready_recipe(name: str, model: nn.Module, task: Task | None = None) -> Recipe:
    """The recipe called `name`, e.g. "deep-compression", with a setting for each type of layer that `model` has.

    Args:
        name: as `ce.recipes()` lists it.
        model: what will be compressed.
        task: the data; where they have a train split, recipes that train in between do so.

    Raises:
        UnknownNameError: when there is no such recipe.
        ModelError: when the model cannot be compressed.
    """
    found, layers = ready(name), {site.layer for site in inspect_model(model).sites}
    if found.make_trained is None or task is None or task.train is None:
        return found.make(layers)
    return found.make_trained(layers, len(task.train))
