"""A notebook in JupyterLab in Chromium, and rows of times taken in it."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from tests.browser import lab


@dataclass(frozen=True)
class Row:
    """One line of the table: milliseconds of every press."""

    name: str
    times: list[float]

    @property
    def median(self) -> float:
        """The median in milliseconds."""
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """The 95th percentile in milliseconds."""
        return statistics.quantiles(self.times, n=20)[-1]


@contextmanager
def notebook(cells: Sequence[str]) -> Iterator[Page]:
    """The page of a notebook whose cells have been run; afterwards there must have been no error in it."""
    path = lab.find_browser()
    if path is None:
        raise SystemExit("No Chromium or Chrome is found. Run `make test` once, which installs one.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root, scratch = Path(folder, "root"), Path(folder, "scratch")
        root.mkdir()
        scratch.mkdir()
        with lab.serve_lab(root, scratch) as server:
            name = server.write_notebook("bench.ipynb", cells)
            browser = lab.launch(playwright, path)
            opened = lab.open_notebook(browser, server, name, height=4000)
            opened.run_all()
            yield opened.page
            assert opened.problems == [], opened.problems
            browser.close()


def slider(page: Page, selector: str) -> Locator:
    """The handle of a slider."""
    return page.locator(f"{selector} [role=slider]").first


def table(rows: Sequence[Row], floor: Row) -> str:
    """The rows as Markdown, with each one's ratio to that of `floor`."""
    lines = ["| from key press to | median ms | p95 ms | median / echo | p95 / echo |", "|---|---|---|---|---|"]
    for row in rows:
        ratios = f"{row.median / floor.median:.2f} | {row.p95 / floor.p95:.2f}"
        lines.append(f"| {row.name} | {row.median:.0f} | {row.p95:.0f} | {ratios} |")
    return "\n".join(lines)
