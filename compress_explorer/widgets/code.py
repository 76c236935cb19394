"""The Python code of an explorer's state."""

from compress_explorer.widgets.state import ExplorerState


def code_for(state: ExplorerState, setup: str = "") -> str:
    """Code that gives the numbers of `state` without an explorer.

    Args:
        state: what is shown.
        setup: the lines that make `model` and `task`; "" for a bundled model.
    """
    steps = "".join(f"    ce.{step!r},\n" for step in state.recipe)
    opening = setup or f"model, task = ce.load({state.model!r})"
    return (
        "import compress_explorer as ce\n\n"
        f"{opening}\n"
        f"recipe = ce.Recipe([\n{steps}])\n"
        "compressed = ce.compress(model, recipe, task)\n"
        "print(compressed.size().file)\n"
        f"print(ce.evaluate(compressed, task, {state.split!r}))\n"
    )
