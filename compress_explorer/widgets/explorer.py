"""The explorer: controls, live engine and Stage, held together by one state."""

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import ipywidgets
import traitlets
from torch import nn

from compress_explorer.engine.compress import CompressedModel, compress
from compress_explorer.engine.device import Device
from compress_explorer.engine.evaluate import evaluate
from compress_explorer.engine.live import LiveEngine
from compress_explorer.engine.ready import ready_recipe
from compress_explorer.engine.task import Task
from compress_explorer.engine.training.recover import recover
from compress_explorer.engine.update import Update
from compress_explorer.figures import trade_off
from compress_explorer.methods import catalogue
from compress_explorer.spec.errors import CompressExplorerError, unknown
from compress_explorer.spec.recovery import Recovery
from compress_explorer.spec.run import Run
from compress_explorer.widgets.closing import close_tree
from compress_explorer.widgets.code import code_for
from compress_explorer.widgets.feed import StageFeed
from compress_explorer.widgets.history import History
from compress_explorer.widgets.panel import Actions, Panel
from compress_explorer.widgets.recovery_box import RecoveryBox
from compress_explorer.widgets.stage import Stage
from compress_explorer.widgets.state import ExplorerState

Source = Callable[[], tuple[nn.Module, Task]]
"""Opens a model and its task."""


class Explorer(ipywidgets.VBox):
    """Pick a model and a method, drag sliders, watch histogram, size and accuracy.

    `state` is the core: set it and the explorer follows; observe it with `observe(callback, "state")`.
    """

    state = traitlets.Instance(ExplorerState)

    def __init__(
        self,
        sources: Mapping[str, Source],
        first: ExplorerState,
        *,
        theme: Literal["auto", "light", "dark"] = "auto",
        device: Device = "auto",
        setup: str = "",
    ) -> None:
        """Opens the explorer on `first`.

        Args:
            sources: what opens each model of the model menu.
            first: the state to begin with, and to go back to on reset.
            theme: "auto" follows JupyterLab.
            device: where accuracy is measured, and trained what is brought back; "auto": on the GPU when there is one.
            setup: the code that makes `model` and `task`, for `to_code()`; "" for a bundled model.

        Raises:
            CompressExplorerError: when the model or the state is not valid.
        """
        self._sources, self._first, self._setup, self._device = dict(sources), first, setup, device
        self._lock = threading.RLock()
        self._history: History[ExplorerState] = History()
        self._engine: LiveEngine | None = None
        self._opened_model = ""
        self._request = (0, 0)
        self._failure: BaseException | None = None
        self._closed = False
        self._moved_to = first
        self._recovery = RecoveryBox(self._recover)
        self._panel = Panel(list(self._sources), self._actions(), [self._recovery])
        self._stage = Stage(theme=theme)
        self._stage.on_click(self._clicked)
        self._feed = StageFeed(self._stage)
        body = ipywidgets.Box([self._panel, self._stage])
        body.add_class("ce-body")
        super().__init__([body])
        self.add_class("ce-root").add_class("ce-explorer")
        self._move(first)

    @property
    def result(self) -> Run:
        """The present recipe with its size and its exact evaluation; waits for nothing, measures anew."""
        state, engine = self.state, self._open_engine()
        compressed = compress(engine.bench.model, state.recipe, engine.task)
        evaluation = evaluate(compressed, engine.task, state.split, device=self._device)
        return Run(state.model, state.recipe, compressed.size(), evaluation, compressed.skipped)

    def compress(self) -> CompressedModel:
        """The compressed model of the present state, to use or to save."""
        engine = self._open_engine()
        return compress(engine.bench.model, self.state.recipe, engine.task)

    def wait(self, timeout: float | None = 120) -> None:
        """Returns when the accuracy shown is exact.

        Raises:
            TimeoutError: when that takes longer than `timeout` seconds.
            Exception: whatever the explorer shows as an error.
        """
        engine = self._open_engine()
        if self._failure is not None:
            raise self._failure
        engine.wait(timeout)

    def cancel(self) -> None:
        """Stops measuring and training; what is known stays, and the next change works as usual."""
        self._open_engine().cancel()
        self._recovery.cancel()

    def undo(self) -> None:
        """Goes back to the state before; does nothing when there is none."""
        with self._lock:
            state, history = self._history.undo(self.state)
            self._move(state, history)

    def redo(self) -> None:
        """Goes forward to the state that was undone last; does nothing when there is none."""
        with self._lock:
            state, history = self._history.redo(self.state)
            self._move(state, history)

    def reset(self) -> None:
        """Goes back to the state that the explorer was opened with; that can be undone."""
        self._change("reset", lambda _: self._first)

    def to_code(self) -> str:
        """Python code that gives the present numbers without the explorer."""
        return code_for(self.state, self._setup)

    def close(self) -> None:
        """Stops the engine and frees every widget."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
            engine.join()
        for child in self.children:
            close_tree(child)
        self.layout.close()
        super().close()

    @traitlets.observe("state")
    def _state_was_set(self, change: dict[str, Any]) -> None:
        """Follows a state that was set from Python."""
        with self._lock:
            if self._engine is not None and change["new"] != self._moved_to:
                new, old = change["new"], self._moved_to
                try:
                    self._move(new, self._history.record(old))
                except BaseException:  # an interrupt, too
                    self.set_trait("state", old)
                    raise

    def _open_engine(self) -> LiveEngine:
        if self._engine is None:
            raise RuntimeError("This explorer was closed. Open a new one with ce.explore(...).")
        return self._engine

    def _recover(self, progress: Callable[[str], None], stop: Callable[[], bool]) -> Recovery:
        """What comes back of the present recipe's accuracy, and by which means."""
        state, engine = self.state, self._open_engine()
        return recover(
            engine.bench.model,
            state.recipe,
            engine.task,
            split=state.split,
            device=self._device,
            progress=progress,
            stop=stop,
        )

    def _actions(self) -> Actions:
        def change(name: str, transition: Callable[[ExplorerState, Any], ExplorerState]) -> Callable[[Any], None]:
            return lambda value: self._from_user(name, lambda state: transition(state, value))

        return Actions(
            model=change("model", self._with_model),
            step=change("step", lambda state, index: state.with_step(index)),
            ready=lambda name: self._from_user("ready", lambda state: self._with_ready(state, name)),
            add=lambda: self._from_user("add", lambda state: state.with_step_added(_next_method(state))),
            remove=lambda: self._from_user("remove", lambda state: state.with_step_removed()),
            method=change("method", lambda state, name: state.with_method(name)),
            value=lambda name, value: self._from_user(name, lambda state: state.with_value(name, value)),
            layer=change("layer", lambda state, layer: replace(state, layer=layer)),
            rule=change("rule", lambda state, rule: state.with_rule(rule)),
            split=change("split", lambda state, split: replace(state, split=split)),
            undo=lambda: self._guarded(self.undo),
            redo=lambda: self._guarded(self.redo),
            reset=lambda: self._guarded(self.reset),
            cancel=lambda: self._guarded(self.cancel),
        )

    def _clicked(self, message: dict[str, Any]) -> None:
        """A click on a point of the trade-off curve sets the slider to it."""
        on_curve = message["figure"] == "tradeoff" and message["trace"] == trade_off.CURVE
        if not on_curve or not 0 <= message["point"] < len(self._feed.values):
            return
        value = self._feed.values[message["point"]]
        self._from_user("click", lambda state: state.with_value(state.parameter, value))

    def _with_model(self, state: ExplorerState, model: str) -> ExplorerState:
        if model == state.model:
            return state
        return replace(state, model=model, layer=self._first.layer, split="test")

    def _with_ready(self, state: ExplorerState, name: str) -> ExplorerState:
        if not name:
            return state
        engine = self._open_engine()
        return state.with_recipe(ready_recipe(name, engine.bench.model, engine.task))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Runs what a control asked for; an error is shown, for in a callback it would vanish into a log."""
        try:
            action()
        except KeyboardInterrupt:
            self._show_failure(CompressExplorerError("The change was interrupted. Make it once more."))
        except Exception as error:  # noqa: BLE001 -- shown in the panel, and raised again by wait()
            self._show_failure(error)

    def _from_user(self, name: str, transition: Callable[[ExplorerState], ExplorerState]) -> None:
        self._guarded(lambda: self._change(name, transition))

    def _change(self, name: str, transition: Callable[[ExplorerState], ExplorerState]) -> None:
        with self._lock:
            if self._engine is None:
                return
            old = self.state
            new = transition(old)
            if new == old:
                return
            self._move(new, self._history.record(old, name, time.monotonic()))

    def _move(self, new: ExplorerState, history: History[ExplorerState] | None = None) -> None:
        """Changes the state. Interrupted half-way, it asks again for the state that stands then."""
        try:
            self._set(new, history)
        except KeyboardInterrupt:
            # Where the kernel's main thread handles messages, its stop button ends an action anywhere.
            if self._engine is not None and self.state is not None:
                self._set(self.state)
            raise

    def _set(self, new: ExplorerState, history: History[ExplorerState] | None = None) -> None:
        """The one place where the state changes: checks it, asks the engine, and sets every control."""
        with self._lock:
            engine = self._engine_for(new)
            opened = engine is not self._engine
            try:
                new = self._checked(engine, new)
            except BaseException:
                if opened:
                    engine.close()
                raise
            if opened:
                self._exchange(engine, new.model)
            self._history = self._history if history is None else history
            if replace(new, layer=self._moved_to.layer) != self._moved_to:
                self._recovery.forget()
            self._moved_to = new
            self._failure = None
            self._panel.show_error(None)
            if opened:
                splits = [name for name in ("test", "validation") if getattr(engine.task, name) is not None]
                self._panel.show_choices(engine.bench.layers, splits, new)
            self.state = new
            self._panel.show(new, can_undo=bool(self._history.past), can_redo=bool(self._history.future))
            count = self._request[1] + 1
            self._feed.accept(count, new.setting)
            self._request = (engine.request(new.setting), count)

    def _engine_for(self, new: ExplorerState) -> LiveEngine:
        if new.model not in self._sources:
            raise unknown("model", new.model, self._sources)
        if self._engine is not None and new.model == self._opened_model:
            return self._engine
        model, task = self._sources[new.model]()
        token = object()
        self._next_token = token
        return LiveEngine(model, task, functools.partial(self._on_update, token), device=self._device)

    def _checked(self, engine: LiveEngine, new: ExplorerState) -> ExplorerState:
        """The state with every value filled in, after all of it was found to be valid; nothing has changed yet."""
        engine.task.split(new.split)
        engine.bench.check_layer(new.layer)
        new = replace(new, recipe=engine.bench.check(new.recipe)).with_step_checked()
        catalogue.method(new.active.method).parameter(new.parameter)
        return new

    def _exchange(self, engine: LiveEngine, model: str) -> None:
        old, self._engine, self._token = self._engine, engine, self._next_token
        self._opened_model = model
        self._feed.forget()
        if old is not None:
            old.close()

    def _on_update(self, token: object, update: Update) -> None:
        """News from the worker, in its thread; what is not of the newest request is dropped."""
        with self._lock:
            if self._closed or token is not self._token or update.request != self._request[0]:
                return
            if update.error is not None:
                self._panel.show_error(update.error)
            if update.reports:
                self._panel.show_effects(update.reports)
            self._feed.show(self._open_engine(), update, self._request[1], self._panel.parameters)

    def _show_failure(self, error: BaseException) -> None:
        with self._lock:
            self._failure = error
            self._panel.show_error(error)
            self._panel.show(self.state, can_undo=bool(self._history.past), can_redo=bool(self._history.future))
            self._feed.fail(self._request[1], str(error))


def _next_method(state: ExplorerState) -> str:
    """What a further step begins with: quantization after pruning, pruning after quantization."""
    pruned = any(catalogue.method(step.method).result == "mask" for step in state.recipe)
    return "integer" if pruned else "magnitude"
