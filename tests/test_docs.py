"""What the documents show is run."""

import re
import textwrap
from pathlib import Path

import torch

import compress_explorer as ce
from compress_explorer.methods.catalogue import METHODS
from compress_explorer.methods.page import methods_page
from compress_explorer.spec.method import Method

ROOT = Path(__file__).parents[1]


def test_the_method_of_the_contributing_page_works():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (source,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(source, names)
    method = names["METHOD"]
    assert isinstance(method, Method)
    assert method.name not in {entry.name for entry in METHODS}
    weight, kept = torch.tensor([[-0.3, -0.1], [0.0, 0.4]]), torch.tensor([[True, True], [True, False]])
    for threshold, expected in ((0.0, [[1, 1], [0, 0]]), (0.02, [[1, 1], [0, 0]]), (0.2, [[1, 0], [0, 0]])):
        mask = method.apply(weight, kept, **method.complete({"threshold": threshold}))
        assert torch.equal(mask, torch.tensor(expected).bool())
    assert not method.apply(weight, kept, threshold=0.5).any()


def test_the_page_of_methods_is_that_of_the_catalogue():
    """`make docs` renews it."""
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == methods_page(METHODS)


def test_the_calls_of_the_readme_work():
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"^    model, task = ce\.load.*?(?=\n\n)", readme, flags=re.DOTALL | re.MULTILINE)
    assert block is not None
    names: dict = {"ce": ce}
    exec(textwrap.dedent(block[0]), names)
    assert isinstance(names["compressed"], ce.CompressedModel)


def test_the_links_of_the_documents_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)]+)\)|(?:src|srcset)=\"([^\"]+)\"", page.read_text())
        local = [link for pair in links for link in pair if link and not link.startswith("http")]
        assert local
        assert [link for link in local if not (page.parent / link).exists()] == []
