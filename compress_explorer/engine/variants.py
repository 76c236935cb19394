"""Evaluates many variants of one network together; what they compute alike is computed once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compress_explorer.engine.batches import batch_in_order
from compress_explorer.engine.device import device_of
from compress_explorer.engine.evaluate import BATCH, next_bound, scores_from
from compress_explorer.engine.measuring import Measuring
from compress_explorer.engine.memory import in_parts
from compress_explorer.engine.partial_run import Program
from compress_explorer.engine.scores import Scores, joined
from compress_explorer.spec.evaluation import Evaluation

Variant = Mapping[str, nn.Module]
"""Modules that stand for those of the same name in the program's network; under "" a whole network."""


def evaluate_variants(program: Program | None, variants: Sequence[Variant], measuring: Measuring) -> list[Evaluation]:
    """The evaluation of each variant, in their order.

    Args:
        program: of the network that the variants differ from; None when all of them are whole networks.
        variants: each with at least one module.
        measuring: on what and how far.

    Raises:
        DataError: when the data do not fit.
    """
    known: list[list[Scores]] = [[] for _ in variants]
    finished: dict[int, Evaluation] = {}
    samples, done, seen = measuring.task.split(measuring.split), 0, 0
    device = device_of(next(iter(variants[0].values()))) if variants else torch.device("cpu")
    while len(finished) < len(variants):
        end = min(measuring.total, next_bound(done, BATCH))
        left = {place: variants[place] for place in range(len(variants)) if place not in finished}

        def scores(places: range, left: Mapping[int, Variant] = left) -> dict[int, Scores]:
            inputs, targets = batch_in_order(samples, places, device)
            with torch.no_grad():
                outputs = _outputs(program, left, inputs)
                return {place: scores_from(measuring.task, output, targets) for place, output in outputs}

        for part in in_parts(scores, range(done, end)):
            for place, found in part.items():
                known[place].append(found)
        done = end
        if done >= min(measuring.total, measuring.next_look(seen)):
            seen = done
            for place in left:
                known[place] = [joined(known[place])]
                evaluation = measuring.summary(known[place][0])
                if measuring.is_enough(evaluation):
                    finished[place] = evaluation
    return [finished[place] for place in range(len(variants))]


def _outputs(program: Program | None, variants: Mapping[int, Variant], inputs: Tensor) -> Iterator[tuple[int, Any]]:
    """The outputs of each variant for a batch."""
    waiting: dict[int, list[int]] = {}
    for place, variant in variants.items():
        if "" in variant:
            yield place, variant[""](inputs)
        else:
            assert program is not None
            waiting.setdefault(program.first_call(variant), []).append(place)
    if not waiting:
        return
    assert program is not None
    values = {program.nodes[0]: inputs}
    for node in range(1, max(waiting) + 1):
        for place in waiting.get(node, ()):
            yield place, program.finish(node, dict(values), variants[place])
        program.step(node, values, {})
