"""The page of the docs that describes every method, written from the declarations."""

from collections.abc import Iterable

from compress_explorer.spec.method import Method, Needs, Result
from compress_explorer.spec.parameter import Parameter

RESULTS: dict[Result, str] = {
    "mask": "zeros, and where they are",
    "code": "small whole numbers with their scales or codebook",
    "values": "new weights",
    "factors": "a product of smaller layers",
    "channels": "a smaller network: channels are removed",
    "inputs": "layers whose inputs are scaled or quantized",
    "scales": "rescaled weights of layers that follow each other",
    "coding": "the same weights, in a file whose values and gaps are coded",
    "state": "new biases or running statistics",
    "trained": "the same zeros and the same form of every weight, with values that were trained",
}
"""What a method leaves, in words."""

NEEDS: dict[Needs, str] = {
    "nothing": "nothing but the weights",
    "inputs": "what the layers are fed on the train split",
    "gradients": "gradients of the loss on the train split",
    "values": "the values that the layers are fed on the train split",
    "before": "the weights before they were rounded and pruned, and what the layers are fed on the train split",
    "batches": "means and variances of batches of the train split",
    "pairs": "the order of the layers",
    "scales": "the scales of the batch normalizations",
    "window": "the weights, and which of them see the same input channel",
}
"""What a method looks at, in words."""

_HEAD = """# The methods

Every compression method of the catalogue, as `ce.methods()` lists them. This page is written from their declarations
with `make docs`; the tests compare it with them.

"""


def methods_page(methods: Iterable[Method]) -> str:
    """The whole page, Markdown."""
    families: dict[str, list[Method]] = {}
    for method in methods:
        families.setdefault(method.family, []).append(method)
    contents = "".join(f"- {family}: {', '.join(map(_link, members))}\n" for family, members in families.items())
    parts = [_HEAD, contents]
    for family, members in families.items():
        parts.append(f"\n## {family}\n")
        parts += [_section(method) for method in members]
    return "".join(parts)


def _link(method: Method) -> str:
    return f"[{method.name}](#{method.name})"


def _section(method: Method) -> str:
    lines = [
        f"\n### {method.name}\n",
        f"\n**{_escaped(method.label)}.** {_escaped(method.summary)}\n",
        f"\n    {method.formula}\n",
        f"\n- Source: {_escaped(method.source)}\n",
        f"- Looks at: {NEEDS[method.needs]}{'' if method.scope == 'tensor' else ', of all its layers together'}\n",
        f"- Leaves: {RESULTS[method.result]}\n",
    ]
    if method.parameters:
        lines.append("\n| parameter | values | default | |\n|---|---|---|---|\n")
        lines += [_row(parameter) for parameter in method.parameters]
    return "".join(lines)


def _row(parameter: Parameter) -> str:
    note = parameter.help
    if parameter.when is not None:
        other, values = parameter.when
        note += f" Only where {other} is {' or '.join(values)}."
    cells = map(_escaped, [parameter.bounds(), str(parameter.default), note])
    return f"| `{parameter.name}` | {' | '.join(cells)} |\n"


def _escaped(text: str) -> str:
    """The text with what Markdown would take for marks, tables or emphasis, made harmless."""
    return "".join(f"\\{character}" if character in "|<>*_" else character for character in text)
