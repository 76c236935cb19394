"""`python -m benchmarks` measures and writes benchmarks/RESULTS.md."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

from benchmarks import slider_to_paint

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("torch", "plotly", "anywidget", "ipywidgets", "ipykernel", "jupyterlab")


def processor() -> str:
    """The processor's name; on Linux the model, elsewhere what Python knows."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    """Runs every benchmark and writes the table."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    text = f"""# Measured

{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()},
{versions}, headless Chromium. Each table was made in one run by `make bench`.

## Slider to pixels, in JupyterLab

LeNet-300-100 on the 10,000 test images of MNIST; magnitude pruning, {slider_to_paint.PRESSES} key presses on each
slider in turn, all in one page. After each press the accuracy that both notebooks show is checked to be equal.

{slider_to_paint.table(slider_to_paint.run())}

"Today's notebook" is a FigureWidget with a histogram, `copy.deepcopy`, `torch.nn.utils.prune`, `numpy.histogram` and a
full evaluation with a DataLoader (`benchmarks/contenders.py`). The Explorer had filled its curve before the first
press, as it does when nothing moves: its exact accuracy is remembered then ("foreseen"), while today's notebook
measures after every press. "Painted" is the animation frame after the figure was drawn, or after the text was set.
"""
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
