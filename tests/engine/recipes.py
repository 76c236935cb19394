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
    return [Step(method.name, ("*",), None, **values) for values in combined + ends]


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
# Those whose sparsity is a fraction of the weights, not of blocks or channels.
PRUNERS = [
    method
    for method in FREE
    if method.family == "Pruning" and any(parameter.name == "sparsity" for parameter in method.parameters)
]
QUANTIZERS = [method for method in FREE if method.result == "code"]
QUANTIZER_STEPS = [step for method in QUANTIZERS for step in steps_of(method)]


def step_id(step: Step) -> str:
    """A short name for a test's parameters."""
    return "-".join(
        [step.method, *(f"{value:g}" if isinstance(value, float) else f"{value}" for _, value in step.values)]
    )
