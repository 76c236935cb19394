"""`python -m benchmarks` measures and writes benchmarks/RESULTS.md."""

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    arithmetic,
    budgets,
    curves,
    distillation,
    in_page,
    methods,
    page_budgets,
    peers,
    slider_to_paint,
)
from benchmarks.duel import Row, table

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = (
    "torch",
    "numpy",
    "scikit-learn",
    "torchao",
    "optimum-quanto",
    "torch-pruning",
    "lobotomizer",
    "bitsandbytes",
    "plotly",
    "anywidget",
    "ipywidgets",
    "ipykernel",
    "jupyterlab",
)
REASONS = {
    "torchao, 8 bits a channel": "ours also decodes the weights, checks the network and reports what the step did; "
    "the quantization itself is faster, see the methods.",
    "optimum-quanto, 8 bits a channel": "as beside torchao.",
    "torch-pruning, 30 % of the channels": "ours builds on it, and first tries every group of channels: the network "
    "without half of them must give the outputs that it gives when nobody reads them.",
    "svd": "ours decomposes in float64, for the energy of small singular values; scipy's run here in float32.",
    "rans": "ours is written in Python and numpy, constriction is compiled; sizes are counted without encoding.",
    "21 sparsities": "where a forward pass takes less than three milliseconds, a position's histogram and its "
    "size in every accounting, which the loop does not give, take most of the time.",
}
"""Why we lose, by the beginning of the row's name."""


def processor() -> str:
    """The processor's name; on Linux the model, elsewhere what Python knows."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def lost(rows: list[Row]) -> str:
    """The rows in which ours is the slower, each with the reason."""
    lines = []
    for row in rows:
        if row.ours > row.other:
            reasons = [reason for name, reason in REASONS.items() if row.name.startswith(name)]
            lines.append(f"- {row.name}, {row.setting}: {reasons[0] if reasons else 'no reason is known yet.'}")
    return "Where ours is slower:\n\n" + "\n".join(lines) if lines else "Ours is slower nowhere."


def section(rows: list[Row], names: str) -> str:
    """A table and what it says of lost rows."""
    return f"{table(rows, names)}\n\n{lost(rows)}"


def with_echo(rows: list[in_page.Row]) -> str:
    """The rows of a page, the first of which is its bare kernel echo."""
    return in_page.table(rows, next(row for row in rows if row.name.startswith("bare kernel echo")))


def slider() -> str:
    """The Explorer in JupyterLab."""
    return f"""\
LeNet-300-100 on the 10,000 test images of MNIST; magnitude pruning, {slider_to_paint.PRESSES} key presses on each
slider in turn, all in one page. After each press the accuracy that both notebooks show is checked to be equal.

{with_echo(slider_to_paint.run())}

"Today's notebook" is a FigureWidget with a histogram, `copy.deepcopy`, `torch.nn.utils.prune`, `numpy.histogram` and a
full evaluation with a DataLoader (`benchmarks/contenders.py`). The Explorer had filled its curve before the first
press, as it does when nothing moves: its exact accuracy is remembered then ("foreseen"), while today's notebook
measures after every press. "Painted" is the animation frame after the figure was drawn, or after the text was set.
"""


def page() -> str:
    """Budgets that only a page can show."""
    measured, estimates = page_budgets.heavy()
    trained = page_budgets.trained()
    return f"""\
A network of a hundred million weights, {page_budgets.LARGE_PRESSES} key presses, the worker stopped before each echo.
Budget: half of a bare echo in the median, three quarters at the 95th percentile.

{with_echo(page_budgets.large())}

Echoes while the worker measures resnet-fashion on all 10,000 test images, in turn with echoes while it is at rest.
Budget: at the 95th percentile twice that at rest. Then another method chosen from the menu,
{len(estimates.times)} of them. Budget of the first estimate: 300 ms.

{with_echo([measured.idle, measured.busy, estimates])}

{lag(measured, "measured")}

The same while the distillation lab trains students of LeNet-300-100 on 55,000 images.

{with_echo([trained.idle, trained.busy])}

{lag(trained, "trained")}
"""


def lag(found: page_budgets.Beside, worked: str) -> str:
    """The message loop's longest absence in words."""
    return f"""\
The longest time for which the kernel's message loop was not called: {1000 * found.idle_lag:.0f} ms at rest,
{1000 * found.busy_lag:.0f} ms while the worker {worked}. Budget: 50 ms."""


def whole_curves() -> str:
    """Sweeps and sensitivity."""
    return f"""\
Magnitude pruning, accuracy on all test images. The loop: `copy.deepcopy`, `torch.nn.utils.prune`, a DataLoader over the
test tensors in batches of 256 (`benchmarks/curves.py`). Ours also gives histogram, error and every size. Each run once,
after a warm-up.

{section(curves.run(), "what")}

Multiply-accumulates bound what an exact curve can gain: a pass takes at least as long as they do at the speed of the
machine's matrix products (`benchmarks/arithmetic.py`; each the best of a few runs).

{arithmetic.table(*arithmetic.run())}
"""


def engine() -> str:
    """What the engine costs by itself."""
    return f"""\
A plain pass is a loop over batches of 256 images.

{budgets.table(budgets.run())}
"""


def libraries() -> str:
    """Other libraries."""
    return f"""\
{section(peers.run(), "library and task")}
"""


def surfaces() -> str:
    """The surface of temperatures and alphas."""
    return f"""\
A grid of {len(distillation.TEMPERATURES)} temperatures, {len(distillation.ALPHAS)} alphas and \
{len(distillation.SEEDS)} seeds, {distillation.PLAN.epochs} epochs, accuracy on the validation split after each. The
loop trains one student after the other with the teacher's logits computed once (`benchmarks/distillation.py`). Ours
begins from the same weights and takes the same batches. Each run once, after a warm-up.

{section(distillation.run(), "what")}
"""


def single_methods() -> str:
    """Methods beside their oracles."""
    return f"""\
On normally distributed weights of a square layer. Answers: the share of equal results, unless said otherwise; for
sweeps the largest relative difference of the figures. A sweep counts the building of the index, once.

{section(methods.run(), "method / oracle")}
"""


SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "slider": ("Slider to pixels, in JupyterLab", slider),
    "page": ("Budgets in the page", page),
    "curves": ("Curves and layers, beside the loop that one writes today", whole_curves),
    "engine": ("The engine by itself", engine),
    "libraries": ("Other libraries", libraries),
    "distillation": ("Distillation: a surface of temperatures and alphas", surfaces),
    "methods": ("Methods beside their oracles", single_methods),
}


def known_sections() -> dict[str, str]:
    """The page's sections as they are, by their headings."""
    page = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    parts = [part.partition("\n\n") for part in page.split("\n## ")[1:]]
    return {heading: text.rstrip() + "\n" for heading, _, text in parts}


def write(sections: dict[str, str]) -> None:
    """The page, of the sections that there are."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    head = f"""# Measured

{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()},
{versions}, headless Chromium. Each table was made in one run by `make bench`.
"""
    texts = [f"## {heading}\n\n{sections[heading]}" for heading, _ in SECTIONS.values() if heading in sections]
    RESULTS.write_text("\n".join([head, *texts]), encoding="utf-8")


def main(names: list[str]) -> None:
    """Runs every benchmark, or those named, and renews their sections of the page."""
    sections = known_sections()
    for name in names or SECTIONS:
        heading, measure = SECTIONS[name]
        sections[heading] = measure()
        print(f"## {heading}\n\n{sections[heading]}", flush=True)
        write(sections)


if __name__ == "__main__":
    main(sys.argv[1:])
