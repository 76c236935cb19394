"""The experiments by name: what each is, how it is measured, and where its results are stored."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from compress_explorer.papers import deep_compression, deep_compression_tables, hinton, lottery, per_channel
from compress_explorer.papers.parts import Parts, Say
from compress_explorer.papers.record import FOLDER, Record, data_digests, now, read, versions
from compress_explorer.papers.rows import Row
from compress_explorer.spec.errors import unknown

WORK = Path("papers-work")
"""Where unfinished work lies unless another folder is named."""


@dataclass(frozen=True)
class Experiment:
    """One paper's experiment.

    Attributes:
        name: of the experiment and of its results.
        paper: what is reproduced.
        settings: every value that the results depend on.
        run: measures, and returns plain data.
        rows: the results beside the paper's.
        data: the bundled data files that are used.
        by_seed: whether each part belongs to one seed, so that more seeds leave the parts of the others valid.
    """

    name: str
    paper: str
    settings: Any
    run: Callable[[Any, Parts], Any]
    rows: Callable[[Record], Sequence[Row]]
    data: tuple[str, ...]
    by_seed: bool = False

    def measure(self, work: Path = WORK, out: Path = FOLDER, say: Say = print) -> Record:
        """Measures, or goes on where it was stopped; writes the record into `out` and returns it.

        Args:
            work: the folder of unfinished work.
            out: where the record is written.
            say: is told what is done.
        """
        of_parts = replace(self.settings, seeds=()) if self.by_seed else self.settings
        parts = Parts(work, self.name, of_parts, say)
        results = self.run(self.settings, parts)
        spent = parts.spent_in_all()
        record = Record(
            experiment=self.name,
            command=f"OMP_NUM_THREADS=1 python -m compress_explorer.papers {self.name}",
            settings=asdict(self.settings),
            finished=now(),
            seconds=round(spent.seconds, 1),
            processor_seconds=round(spent.processor, 1),
            versions=versions(),
            data=data_digests(self.data),
            results=results,
        )
        record.write(out)
        return read(self.name, out)


_MNIST = ("mnist-train", "mnist-test")

EXPERIMENTS = (
    Experiment(
        "hinton",
        "Hinton, Vinyals & Dean 2015, section 3",
        hinton.Settings(),
        hinton.run,
        hinton.rows,
        _MNIST,
        by_seed=True,
    ),
    Experiment("lottery", "Frankle & Carbin 2019, section 2", lottery.Settings(), lottery.run, lottery.rows, _MNIST),
    Experiment(
        "lenet-300-100",
        "Han, Mao & Dally 2016, Tables 1 and 2",
        deep_compression.Settings("lenet-300-100"),
        deep_compression.run,
        deep_compression_tables.rows,
        _MNIST,
        by_seed=True,
    ),
    Experiment(
        "lenet-5",
        "Han, Mao & Dally 2016, Tables 1 and 3",
        deep_compression.Settings("lenet-5", epochs=6, retraining=2, shared=1),
        deep_compression.run,
        deep_compression_tables.rows,
        _MNIST,
        by_seed=True,
    ),
    Experiment(
        "lenet-5-bundled",
        "Han, Mao & Dally 2016, Tables 1 and 3",
        deep_compression.Settings("lenet-5", start="bundled", seeds=(1,), retraining=2, shared=1, shift=2),
        deep_compression.run,
        deep_compression_tables.rows,
        _MNIST,
        by_seed=True,
    ),
    Experiment(
        "per-channel",
        "Krishnamoorthi 2018, section 3.1",
        per_channel.Settings(),
        per_channel.run,
        per_channel.rows,
        ("fashion-test",),
    ),
)


def experiment(name: str) -> Experiment:
    """The experiment of this name.

    Raises:
        UnknownNameError: when there is none.
    """
    for found in EXPERIMENTS:
        if found.name == name:
            return found
    raise unknown("experiment", name, [found.name for found in EXPERIMENTS])


def results(name: str, again: bool = False) -> tuple[Record, Sequence[Row]]:
    """The record of an experiment and its rows: as stored with the package, or measured again in this folder.

    Measured again, unfinished work and the new record lie in ``papers-work``, below the folder where Python runs; one
    that was stopped goes on.

    Args:
        name: of the experiment.
        again: whether to measure; this takes from minutes to hours.

    Raises:
        UnknownNameError: when there is no such experiment.
    """
    found = experiment(name)
    record = found.measure(WORK, WORK) if again else read(name)
    return record, found.rows(record)
