"""Makes the README's pictures of the Explorer in JupyterLab: `python -m scripts.screenshots`.

Writes docs/images/explorer-{light,dark}-{1280,1920}.png from the start notebook, run in a real browser.
"""

import sys
import tempfile
from pathlib import Path
from typing import get_args

from playwright.sync_api import Browser, sync_playwright

from tests.browser import lab

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
START = "notebooks/00_start_here.ipynb"
SIZES = ((1280, 1000), (1920, 1080))
"""Width and height of the windows in pixels: a laptop's and a projector's."""

SETTLED = '.ce-explorer .ce-status [data-ce-state="exact"]'

CURVE_IS_FILLED = "() => !document.querySelector('.ce-explorer .ce-status').textContent.includes('curve')"


def picture(browser: Browser, server: lab.Server, theme: lab.Theme, width: int, height: int) -> Path:
    """Opens and runs the start notebook, drags the sparsity, and writes the window when all is measured.

    Returns:
        The picture's path.
    """
    notebook = lab.open_notebook(browser, server, START, theme=theme, width=width, height=height)
    page = notebook.page
    notebook.run_all()
    page.wait_for_selector(SETTLED)
    request = page.locator(SETTLED).get_attribute("data-ce-request")
    for _ in range(30):
        page.locator(".ce-explorer .ce-param-sparsity [role=slider]").press("ArrowRight")
    page.wait_for_selector(f'{SETTLED}:not([data-ce-request="{request}"])')
    page.wait_for_function(CURVE_IS_FILLED)
    page.locator(".ce-explorer").scroll_into_view_if_needed()
    page.mouse.move(0, 0)
    path = IMAGES / f"explorer-{theme}-{width}.png"
    page.screenshot(path=path)
    page.context.close()
    server.end_kernels()
    return path


def main() -> int:
    """Makes every picture and prints its path; 1 when there is no browser."""
    browser_path = lab.find_browser()
    if browser_path is None:
        print("No Chromium or Chrome is found on this machine: install one first.", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "root"), Path(folder, "jupyter")
        root.mkdir()
        scratch.mkdir()
        with lab.serve_lab(root, scratch) as server, sync_playwright() as playwright:
            browser = lab.launch(playwright, browser_path)
            for theme in get_args(lab.Theme):
                for width, height in SIZES:
                    print(picture(browser, server, theme, width, height))
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
