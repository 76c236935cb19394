"""The parts of a long experiment, kept in a folder: what is finished is not done again, what was begun goes on."""

import hashlib
import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import nn

from compress_explorer.engine.distillation.beginnings import seeded
from compress_explorer.engine.training.loop import Loss, Progress, do_nothing, train
from compress_explorer.engine.training.plan import Plan
from compress_explorer.engine.whole_file import write_whole

Say = Callable[[str], None]
"""Takes a line for whoever waits."""


@dataclass
class Spent:
    """Seconds that a part took, over all the times that it was gone on with.

    Attributes:
        seconds: by the clock on the wall.
        processor: of this process's computing, on all its threads.
    """

    seconds: float = 0.0
    processor: float = 0.0


class Parts:
    """The parts of one experiment with one set of settings; each has a name of its own.

    A value lies in ``NAME.json``, a trained network's weights in ``NAME.safetensors``, one still in training in
    ``NAME.checkpoint``; the seconds each took in ``NAME.spent.json``.
    """

    def __init__(self, work: Path, experiment: str, settings: object, say: Say = print) -> None:
        """Opens the folder of these settings below `work`, and makes it where it is missing.

        Args:
            work: the folder of all experiments' unfinished work.
            experiment: its name.
            settings: whose ``repr`` names every value that the results depend on. Others have another folder.
            say: is told what is done.
        """
        digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
        self.folder = work / f"{experiment}-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._say = say

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns: plain data for JSON, made once and then read."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            self._say(f"{name} …")
            began = _now()
            made = make()
            self._spend(name, began)
            _write(path, made)
            self._say(f"{name}: {self.spent(name).seconds:.0f} s")
        return json.loads(path.read_text())

    def train(
        self,
        name: str,
        model: nn.Module,
        loss: Loss,
        plan: Plan,
        samples: int,
        after_step: Callable[[], None] = do_nothing,
    ) -> nn.Module:
        """Returns `model`, trained in place by the one training loop: once, then read; in evaluation mode.

        A training that was interrupted goes on from its last whole epoch.
        """
        path, checkpoint = self.folder / f"{name}.safetensors", self.folder / f"{name}.checkpoint"
        if path.exists():
            model.load_state_dict(load_file(path))
            return model.eval()
        steps = train(model, loss, plan, samples, after_step=after_step, checkpoint=checkpoint)
        self._follow(name, steps, plan.steps_per_epoch(samples))
        self.keep(name, model)
        checkpoint.unlink(missing_ok=True)
        return model.eval()

    def _follow(self, name: str, steps: Generator[Progress, None, None], per_epoch: int) -> None:
        began, total = _now(), 0.0
        with closing(steps):
            for progress in steps:
                total += progress.loss
                if progress.step % per_epoch == 0:
                    self._spend(name, began)
                    self._say(f"{name}: epoch {progress.epoch}, loss {total / per_epoch:.4f}")
                    began, total = _now(), 0.0

    def made(self, name: str, model: nn.Module, make: Callable[[], nn.Module]) -> nn.Module:
        """Returns `model` with the weights of what `make` returns: made once, then read; in evaluation mode."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            self._say(f"{name} …")
            began = _now()
            made = make()
            self._spend(name, began)
            self.keep(name, made)
            self._say(f"{name}: {self.spent(name).seconds:.0f} s")
        model.load_state_dict(load_file(path))
        return model.eval()

    def keep(self, name: str, model: nn.Module) -> None:
        """Writes the network's weights; a program that is ended meanwhile leaves none."""
        data = save({key: value.contiguous() for key, value in model.state_dict().items()})
        write_whole(self.folder / f"{name}.safetensors", data)

    def spent(self, name: str) -> Spent:
        """The seconds that a part took so far."""
        path = self.folder / f"{name}.spent.json"
        return Spent(**json.loads(path.read_text())) if path.exists() else Spent()

    def spent_in_all(self) -> Spent:
        """The seconds of all parts."""
        found = [self.spent(path.name.removesuffix(".spent.json")) for path in self.folder.glob("*.spent.json")]
        return Spent(sum(part.seconds for part in found), sum(part.processor for part in found))

    def _spend(self, name: str, began: tuple[float, float]) -> None:
        before, now = self.spent(name), _now()
        seconds, processor = before.seconds + now[0] - began[0], before.processor + now[1] - began[1]
        _write(self.folder / f"{name}.spent.json", {"seconds": seconds, "processor": processor})


def fresh(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network with the random weights of this seed; the caller's random state stays as it was."""
    with seeded(seed):
        return build()


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _write(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content).encode())
