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
    return [Step(method.name, ("*",), None, **values) for values in [*combined, *ends_of(method)]]


def few_steps_of(method: Method) -> list[Step]:
    """Steps in which every choice of every parameter comes up, and one at the smallest and largest numbers."""
    choices = [[(entry.name, choice) for choice in entry.choices] for entry in method.parameters if entry.choices]
    turns = range(max(map(len, choices), default=1))
    each: list[dict[str, Value]] = [dict(choice[turn % len(choice)] for choice in choices) for turn in turns]
    return [Step(method.name, ("*",), None, **values) for values in [*each, *ends_of(method)]]


def ends_of(method: Method) -> list[dict[str, Value]]:
    """The smallest and the largest values of a method's numbers."""
    numbers = [entry for entry in method.parameters if entry.kind != "choice"]
    return [{entry.name: entry.positions()[end] for entry in numbers} for end in (0, -1)]


STRUCTURE_METHODS = [method for method in METHODS if method.result in ("factors", "channels")]
STRUCTURE_STEPS = [step for method in STRUCTURE_METHODS for step in steps_of(method)]
"""Steps that change the network's structure; they may need a task with a train split."""
BESIDE_METHODS = [method for method in METHODS if method.result in ("inputs", "scales", "state")]
BESIDE_STEPS = [step for method in BESIDE_METHODS for step in steps_of(method)]
"""Steps that change what stands beside the weights; most need a task with a train split."""
# The others take data, which most of these tests have not: test_calibrated.py goes through all of them.
WEIGHT_METHODS = [method for method in METHODS if method.result in ("mask", "code", "values")]
FREE = [method for method in WEIGHT_METHODS if not method.needs_data]
CALIBRATED = [method for method in WEIGHT_METHODS if method.needs_data]
STEPS = [step for method in FREE for step in steps_of(method)]
FEW_STEPS = [step for method in FREE for step in few_steps_of(method)]
"""For tests that go through many models or layers too."""
# Those whose sparsity is a fraction of the weights, not of blocks or channels.
PRUNERS = [
    method
    for method in FREE
    if method.family == "Pruning" and any(parameter.name == "sparsity" for parameter in method.parameters)
]
QUANTIZERS = [method for method in FREE if method.result == "code"]
QUANTIZER_STEPS = [step for method in QUANTIZERS for step in few_steps_of(method)]


def step_id(step: Step) -> str:
    """A short name for a test's parameters."""
    return "-".join(
        [step.method, *(f"{value:g}" if isinstance(value, float) else f"{value}" for _, value in step.values)]
    )
