"""Writes docs/methods.md from the catalogue: `python -m scripts.methods_page`."""

from pathlib import Path

from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.page import methods_page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"


def main() -> None:
    """Writes the page and prints its path."""
    PAGE.write_text(methods_page(METHODS), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
