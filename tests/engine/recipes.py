"""A step of every method in every choice of its parameters, made from the declarations."""

from itertools import product

from compress_explorer.methods.catalogue import METHODS
from compress_explorer.spec.method import Method
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Step


def steps_of(method: Method) -> list[Step]:
    """One step for every combination of the method's choices, and one at the smallest and largest numbers."""
    choices = [[(entry.name, choice) for choice in entry.choices] for entry in method.parameters if entry.choices]
    combined: list[dict[str, Value]] = [dict(values) for values in product(*choices)]
    ends: list[dict[str, Value]] = [
        {entry.name: entry.positions()[end] for entry in method.parameters if entry.kind != "choice"} for end in (0, -1)
    ]
    return [Step(method.name, ("*",), **values) for values in combined + ends]


STEPS = [step for method in METHODS if method.result != "coding" for step in steps_of(method)]
PRUNERS = [method for method in METHODS if method.result == "mask"]
QUANTIZERS = [method for method in METHODS if method.result == "code"]
QUANTIZER_STEPS = [step for method in QUANTIZERS for step in steps_of(method)]


def step_id(step: Step) -> str:
    """A short name for a test's parameters."""
    return "-".join(
        [step.method, *(f"{value:g}" if isinstance(value, float) else f"{value}" for _, value in step.values)]
    )
