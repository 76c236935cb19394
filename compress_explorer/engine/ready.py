"""A ready recipe, made for one model."""

from torch import nn

from compress_explorer.engine.layers import inspect_model
from compress_explorer.methods.ready import ready
from compress_explorer.spec.recipe import Recipe


def ready_recipe(name: str, model: nn.Module) -> Recipe:
    """The recipe called `name`, e.g. "deep-compression", with a setting for each type of layer that `model` has.

    Raises:
        UnknownNameError: when there is no such recipe.
        ModelError: when the model cannot be compressed.
    """
    return ready(name).make({site.layer for site in inspect_model(model).sites})
