"""The frames and measurements of every position of the parameter in hand, filled as they become known."""

from collections.abc import Callable, Mapping

from compress_explorer.engine.bench import Bench, View, positions
from compress_explorer.engine.measurements import Measurements
from compress_explorer.engine.preview import largest_level, preview_frames, preview_maps, preview_view, with_before
from compress_explorer.engine.preview_size import preview_header
from compress_explorer.engine.setting import Setting
from compress_explorer.methods.scalar_map import ScalarMap
from compress_explorer.spec.evaluation import Evaluation
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.recipe import Recipe
from compress_explorer.spec.sweep import Frame, Sweep


class Film:
    """What is known of a setting's family: one entry a slider position. Used by one thread only.

    Attributes:
        values: the parameter's values, one a position.
        evaluations: the best measurement of each position so far.
        untold: positions that changed since they were told to whoever shows the film; emptied by who tells.
    """

    def __init__(self, bench: Bench, measurements: Measurements, setting: Setting, baseline_file: int) -> None:
        """Previews every position that the index can tell: beyond building it, no weight is looked at."""
        self._bench, self._measurements, self._setting = bench, measurements, setting
        self._baseline_file = baseline_file
        self._baseline: Evaluation | None = None
        self.untold: set[int] = set()
        self.values = positions(setting.declaration.positions(), setting.value)
        self._recipes = [setting.at(value).recipe for value in self.values]
        maps = [preview_maps(bench, recipe) for recipe in self._recipes]
        self._largest = largest_level(maps)
        self._view: View | None = None
        found = self._previews({value: entry for value, entry in zip(self.values, maps, strict=True) if entry})
        self._frames: list[Frame | None] = [found.get(value) for value in self.values]
        self.evaluations: list[Evaluation | None] = [
            measurements.known(recipe, setting.split) for recipe in self._recipes
        ]

    def shows(self, setting: Setting) -> bool:
        """Whether `setting` is one of this film's positions."""
        return setting.family == self._setting.family and setting.value in self.values

    def recipe(self, index: int) -> Recipe:
        """The recipe of a position."""
        return self._recipes[index]

    def settle(self, index: int) -> None:
        """Makes the frame of a position exact, telling how far it is; what is done is kept when that raises."""
        if self.is_settled(index):
            return
        recipe, tell = self.recipe(index), self._bench.context.tell
        self._bench.apply(recipe)
        tell("measuring the size")
        self._bench.size(recipe)
        tell("counting the weights")
        view = self._exact_view()
        self.untold.add(index)
        self._frames[index] = self._bench.frame(recipe, self.values[index], view)

    def _previews(self, maps: Mapping[Value, dict[str, ScalarMap]]) -> dict[Value, Frame]:
        """The frames of the positions that have maps."""
        if not maps:
            return {}
        view = preview_view(self._bench, self._setting.layer, self._largest)
        treated = {name for entry in maps.values() for name in entry}
        header = preview_header(self._bench.original, self._setting.recipe, treated)
        frames = preview_frames(self._bench, list(maps), list(maps.values()), view, header)
        return dict(zip(maps, frames, strict=True))

    def _exact_view(self) -> View:
        """The weights before, counted when they are first needed; the previews are set beside them."""
        if self._view is None:
            self._view = self._bench.view(self._setting.layer, self._largest)
            before = self._view.before.tolist()
            self._frames = [None if frame is None else with_before(frame, before) for frame in self._frames]
        return self._view

    def has_frame(self, index: int) -> bool:
        """Whether the position can be shown, by a preview or exactly."""
        return self._frames[index] is not None

    def is_settled(self, index: int) -> bool:
        """Whether the frame of a position is exact."""
        frame = self._frames[index]
        return frame is not None and frame.exact

    def is_exact(self, index: int) -> bool:
        """Whether both the frame and the evaluation of a position are exact."""
        return self.is_settled(index) and self.is_measured(index)

    def is_measured(self, index: int) -> bool:
        """Whether the evaluation of a position is exact."""
        evaluation = self.evaluations[index]
        return evaluation is not None and evaluation.exact

    def measure(self, index: int, until: int | None, stop: Callable[[], bool], news: Callable[[], None]) -> None:
        """Measures the accuracy of a position on `until` samples (None: all), calling `news` after each batch."""
        split = self._setting.split
        for evaluation in self._measurements.evaluate(self.recipe(index), split, until, stop):
            self.evaluations[index] = evaluation
            self.untold.add(index)
            news()

    def measure_baseline(self) -> bool:
        """Measures the uncompressed model, for the line that the curve is compared with; whether that is news."""
        known = self._baseline
        self._baseline = self._measurements.baseline(self._setting.split)
        return known is None

    @property
    def measured(self) -> int:
        """How many positions are exact."""
        return sum(self.is_measured(index) for index in range(len(self.values)))

    def sweep(self) -> Sweep:
        """Everything known, as frozen data."""
        return Sweep(
            recipe=self._setting.recipe,
            step=self._setting.step,
            parameter=self._setting.parameter,
            values=self.values,
            frames=tuple(self._frames),
            evaluations=tuple(self.evaluations),
            baseline_file=self._baseline_file,
            baseline=self._baseline,
        )


def curve_order(count: int, own: int, direction: int = 1) -> list[int]:
    """The positions but `own`: its neighbours, in the drag's direction first, then ever finer grids.

    Args:
        count: how many positions there are.
        own: the position in hand.
        direction: +1 or -1, where the slider was last moving.
    """
    near = [own + direction * offset for offset in (1, 2, -1, -2)]
    order = [index for index in near if 0 <= index < count]
    stride = 1 << max(count - 1, 1).bit_length()
    while stride >= 1:
        order += [index for index in [*range(0, count, stride), count - 1] if index != own]
        stride //= 2
    return list(dict.fromkeys(order))
