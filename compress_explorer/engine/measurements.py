"""Accuracy of many recipes of one model: measured as far as asked, remembered, paired with the baseline."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator

from compress_explorer.engine.bench import Bench
from compress_explorer.engine.device import Device, on_device, resolve
from compress_explorer.engine.evaluate import measure
from compress_explorer.engine.evaluation_cache import EvaluationCache
from compress_explorer.engine.fingerprint import data_fingerprint, identity, model_fingerprint
from compress_explorer.engine.growing import GrowingScores
from compress_explorer.engine.scores import NOTHING, Scores
from compress_explorer.engine.summary import summarize, summarize_look
from compress_explorer.engine.task import Task
from compress_explorer.methods import catalogue
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.recipe import Recipe

MOST_SCORES = 2**22
"""Samples whose scores are kept of evaluations that were interrupted: about 50 MB."""

UNCOMPRESSED = Recipe()


class Measurements:
    """Evaluations by recipe and split. Partial ones go on where they stopped; exact ones are never repeated."""

    def __init__(self, bench: Bench, task: Task, cache: EvaluationCache, device: Device = "auto") -> None:
        """Measures the models of `bench` on `task`.

        Args:
            bench: the model, opened.
            task: the data and the metric.
            cache: where evaluations are remembered. Of a model and data that are equal to these, whoever measured them,
                nothing is measured again.
            device: where to measure; "auto": on the GPU when there is one.
        """
        self._bench, self._task, self._cache = bench, task, cache
        self._baseline: dict[str, GrowingScores] = {}
        self._partial: OrderedDict[tuple[Recipe, str], Scores] = OrderedDict()
        self._fingerprints: dict[str, str | None] = {}
        self._token = object()
        self._device = resolve(device, bench.model)
        self._original = on_device(bench.model, self._device)

    def known(self, recipe: Recipe, split: str) -> Evaluation | None:
        """The best evaluation of a recipe so far."""
        return self._cache.get(self._key(recipe, split))

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
        model = on_device(self._bench.compressed(recipe).model, self._device)
        partial = self._partial.get((recipe, split), NOTHING)
        for scores in measure(model, self._task, split, known=partial, until=until, stop=stop):
            evaluation = summarize_look(scores, self._baseline_scores(len(scores), split), total, split)
            self._cache.put(self._key(recipe, split), evaluation)
            self._remember((recipe, split), scores, evaluation.exact)
            yield evaluation

    def _baseline_scores(self, count: int, split: str) -> Scores:
        if split not in self._baseline:
            self._baseline[split] = GrowingScores(self._original, self._task, split)
        return self._baseline[split].first(count)

    def _remember(self, key: tuple[Recipe, str], scores: Scores, done: bool) -> None:
        self._partial.pop(key, None)
        if not done:
            self._partial[key] = scores
        while len(self._partial) > 1 and sum(map(len, self._partial.values())) > MOST_SCORES:
            self._partial.popitem(last=False)

    def _key(self, recipe: Recipe, split: str) -> Hashable:
        """What decides an evaluation; where that cannot be told, it is known to this object alone."""
        parts: list[str | None] = [
            self._fingerprint("model"),
            self._fingerprint("metric"),
            self._fingerprint(split),
            str(self._device),
        ]
        if any(catalogue.method(step.method).needs_data for step in recipe):
            parts += [self._fingerprint(of) for of in ("train", "loss", "frozen")]
        return (self._token if None in parts else tuple(parts), str(self._device), recipe, split)

    def _fingerprint(self, of: str) -> str | None:
        if of not in self._fingerprints:
            self._fingerprints[of] = self._compute_fingerprint(of)
        return self._fingerprints[of]

    def _compute_fingerprint(self, of: str) -> str | None:
        if of == "model":
            return model_fingerprint(self._bench.model)
        if of == "metric":
            return identity(self._task.metric)
        if of == "loss":
            return "the usual" if self._task.loss is None else identity(self._task.loss)
        if of == "frozen":  # what computes the same may be trained otherwise
            named = self._bench.model.named_parameters()
            return " ".join(name for name, parameter in named if not parameter.requires_grad)
        return data_fingerprint(self._task.split(of))
