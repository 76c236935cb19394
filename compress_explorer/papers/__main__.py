"""Measures published results again: ``python -m compress_explorer.papers NAME ...``, or ``all``.

What is bundled with the package is all that it needs. A run that was stopped goes on where it was.
"""

import argparse
import sys
from pathlib import Path

import torch

from compress_explorer.papers.experiments import EXPERIMENTS, WORK, experiment
from compress_explorer.papers.record import FOLDER
from compress_explorer.papers.rows import table


def main(words: list[str]) -> None:
    """Runs the command line."""
    names = [entry.name for entry in EXPERIMENTS]
    parser = argparse.ArgumentParser(prog="python -m compress_explorer.papers", description=__doc__)
    parser.add_argument("names", nargs="+", choices=["all", *names], metavar="NAME", help=f"all, {', '.join(names)}")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of unfinished work")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder that the results are written to")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    for name in names if "all" in chosen.names else chosen.names:
        found = experiment(name)
        record = found.measure(chosen.work, chosen.out, lambda text: print(text, flush=True))
        print(f"{found.paper}: {record.processor_seconds:.0f} s of computing")
        print(table(found.rows(record)).to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
