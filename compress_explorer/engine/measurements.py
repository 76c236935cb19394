"""Accuracy of many recipes of one model: measured as far as asked, remembered, paired with the baseline."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.scores import NOTHING, Scores
from compress_explorer.engine.summary import summarize, summarize_look
from compress_explorer.engine.task import Task
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.recipe import Recipe

MOST_REMEMBERED = 4096
UNCOMPRESSED = Recipe()


class Measurements:
    """Evaluations by recipe and split. Partial ones go on where they stopped; exact ones are never repeated."""

    def __init__(self, bench: Bench, task: Task) -> None:
        """Measures the models of `bench` on `task`."""
        self._bench, self._task = bench, task
        self._baseline: dict[str, Scores] = {}
        self._partial: OrderedDict[tuple[Recipe, str], Scores] = OrderedDict()
        self._known: OrderedDict[tuple[Recipe, str], Evaluation] = OrderedDict()

    def known(self, recipe: Recipe, split: str) -> Evaluation | None:
        """The best evaluation of a recipe so far."""
        return self._known.get((recipe, split))

    def baseline(self, split: str) -> Evaluation:
        """The uncompressed model's evaluation on the whole split."""
        total = len(self._task.split(split))
        return summarize(self._baseline_scores(total, split), None, total, split)

    def evaluate(self, recipe: Recipe, split: str, until: int | None, stop: Callable[[], bool]) -> Iterator[Evaluation]:
        """Yields ever better evaluations of a recipe, going on from what is known.

        Args:
            recipe: checked and complete.
            split: "train", "validation" or "test".
            until: enough samples; None: all of the split.
            stop: asked between batches; when true, the iteration ends early and what is known stays.
        """
        total = len(self._task.split(split))
        known = self.known(recipe, split)
        if known is not None and (known.exact or (until is not None and known.count >= until)):
            yield known
            return
        model = self._bench.compressed(recipe).model
        partial = self._partial.get((recipe, split), NOTHING)
        for scores in measure(model, self._task, split, known=partial, until=until, stop=stop):
            evaluation = summarize_look(scores, self._baseline_scores(len(scores), split), total, split)
            self._remember(recipe, split, evaluation, scores)
            yield evaluation

    def _baseline_scores(self, count: int, split: str) -> Scores:
        known = self._baseline.get(split, NOTHING)
        for scores in measure(self._bench.model, self._task, split, known=known, until=count):
            self._baseline[split] = scores
        return self._baseline.get(split, NOTHING).first(count)

    def _remember(self, recipe: Recipe, split: str, evaluation: Evaluation, scores: Scores) -> None:
        key = (recipe, split)
        self._known[key] = evaluation
        self._known.move_to_end(key)
        self._partial[key] = scores
        if evaluation.exact:
            del self._partial[key]
        for store in (self._known, self._partial):
            while len(store) > MOST_REMEMBERED:
                store.popitem(last=False)
