"""Brings the live engine's news to the Stage: a film when the sweep is new, else the one position that changed."""

import time
from collections.abc import Mapping

import ipywidgets

from compress_explorer.engine.bench import WHOLE_MODEL
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.setting import Setting
from compress_explorer.engine.update import Update
from compress_explorer.spec.parameter import Value
from compress_explorer.spec.sweep import Sweep
from compress_explorer.widgets import film as films
from compress_explorer.widgets.stage import Stage

PATCH_INTERVAL = 0.06
"""Seconds between two batches of patches of the curve; faster ones would hold up what the user sends."""


class StageFeed:
    """What of the engine's news the Stage has been told. Used under the explorer's lock.

    Attributes:
        values: the positions of the film that the Stage plays.
    """

    def __init__(self, stage: Stage) -> None:
        """Feeds `stage`."""
        self._stage = stage
        self._shown: Setting | None = None
        self.values: tuple[Value, ...] = ()
        self._figures_of: tuple[object, ...] | None = None
        self._films = 0
        self._waiting: set[int] = set()
        self._last_patch = 0.0

    def accept(self, request: int, setting: Setting) -> None:
        """A change was accepted. The Stage is told at once when it can show it from its film.

        Otherwise it goes on showing the older request, as "estimating", until the new film comes.
        """
        film = self._stage.film
        if self._shown is not None and setting.family == self._shown.family and film:
            position = _position(film, setting)
            if position is not None:
                self._status(request, "estimating", position, "")
                return
        older = self._stage.status.get("request", 0)
        self._status(older, "estimating", None, "preparing")

    def show(self, engine: LiveEngine, update: Update, request: int, controls: Mapping[str, ipywidgets.Widget]) -> None:
        """Shows an update of the engine's newest request.

        Args:
            engine: whose update it is.
            update: the news.
            request: the number of the accepted change that it belongs to.
            controls: the controls of the parameters now on the screen.
        """
        state = "estimating" if update.state == "cancelled" else update.state
        if update.sweep is None:
            # While a method is at work, what is on the screen is still of the older request.
            answered = self._stage.status.get("request", 0) if update.state == "estimating" else request
            self._status(answered, state, self._stage.status.get("position"), update.text)
            return
        if self._plays(update.setting, update.sweep):
            # Before the status: "exact" stands beside exact numbers only.
            self._patch(engine, update, update.sweep)
            self._status(request, state, update.own, update.text, _measured(update.sweep, update.own))
            return
        with self._stage.hold_sync():
            self._show_film(engine, update.setting, update.sweep, controls)
            self._status(request, state, update.own, update.text, _measured(update.sweep, update.own))

    def forget(self) -> None:
        """Another model was opened: nothing of the film shown is true of it."""
        self._shown = None

    def fail(self, request: int, message: str) -> None:
        """Shows that a change was refused; the numbers stay those of the state before."""
        self._status(request, "error", self._stage.status.get("position"), message)

    def _plays(self, setting: Setting, sweep: Sweep) -> bool:
        """Whether the film on the Stage is this sweep's, so that only changed points need to be sent."""
        return self._shown is not None and setting.family == self._shown.family and sweep.values == self.values

    def _show_film(
        self, engine: LiveEngine, setting: Setting, sweep: Sweep, controls: Mapping[str, ipywidgets.Widget]
    ) -> None:
        declaration = setting.declaration
        layer = None if setting.layer == WHOLE_MODEL else setting.layer
        figures_of = (setting.active.method, setting.parameter, setting.layer, tuple(engine.before.items()))
        if self._stage.controls != dict(controls):
            self._stage.controls = dict(controls)
        if figures_of != self._figures_of:
            self._stage.figures = films.figures(sweep, declaration, engine.before, layer)
            self._figures_of = figures_of
        self._films += 1
        self._stage.film = films.film(sweep, str(self._films), declaration, engine.before)
        self._shown, self.values = setting, sweep.values
        self._waiting.clear()

    def _patch(self, engine: LiveEngine, update: Update, sweep: Sweep) -> None:
        """Sends the points that changed: the setting's own at once, the curve's a few at a time."""
        if update.kind == "point":
            self._waiting.add(update.index)
        now = time.monotonic()
        due = update.kind == "status" or update.index == update.own or now - self._last_patch > PATCH_INTERVAL
        if not due:
            return
        for index in sorted(self._waiting):
            self._stage.patch(films.patch(self._stage.film, sweep, index, engine.before))
        self._waiting.clear()
        self._last_patch = now

    def _status(self, request: int, state: str, position: int | None, text: str, progress: float | None = None) -> None:
        status = {"request": request, "state": state, "position": position, "text": text, "progress": progress}
        if status != self._stage.status:
            self._stage.status = status


def _measured(sweep: Sweep, own: int) -> float | None:
    """The share of the samples on which the accuracy shown was measured; None before the first and when it is exact."""
    evaluation = sweep.evaluations[own]
    return None if evaluation is None or evaluation.exact else evaluation.count / evaluation.total


def _position(film: Mapping[str, list[float]], setting: Setting) -> int | None:
    """Where the film shows the setting's value; None when it does not."""
    if isinstance(setting.value, str):
        return None
    positions = film["positions"]
    return positions.index(float(setting.value)) if float(setting.value) in positions else None
