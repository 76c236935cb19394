"""Settings of all tests: in continuous integration, a skipped test is a failed one."""

import os
import re
import sys
from collections.abc import Generator
from typing import TypeVar

import pytest
from xdist.scheduler import LoadScopeScheduling

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ALLOWED_SKIPS: tuple[str, ...] = (
    "there is no CUDA device here",  # what a GPU computes can only be tested on one
)
"""Regular expressions for the reasons that may skip a test even with CI=true. Each with a comment saying why."""


def is_allowed(reason: str) -> bool:
    """Whether a test may be skipped for `reason` in continuous integration."""
    return any(re.search(pattern, reason) for pattern in ALLOWED_SKIPS)


def refuse_skip(report: Report) -> Report:
    """With CI=true turns a skip into a failure that names its reason, unless the reason is allowed."""
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected_failure:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not is_allowed(reason):
            report.outcome = "failed"
            report.longrepr = f"Skipped, which CI=true forbids: {reason}"
    return report


# Outermost, so that pytest has already turned marks (skipif, xfail) into the report's outcome.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield))


@pytest.fixture(autouse=True)
def _nothing_measured_before() -> None:
    """What one test measured must not be what another one finds."""
    loaded = sys.modules.get("compress_explorer.engine.evaluation_cache")
    if loaded is not None:
        loaded.SHARED.clear()


class ByNeed(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist is not typed
    """Spreads tests over the workers, but keeps together what cannot be apart."""

    def _split_scope(self, nodeid: str) -> str:
        """A notebook's cells need what those before them left; two browsers at once would slow each other down."""
        path = nodeid.partition("::")[0]
        if path.startswith("tests/browser/"):
            return "tests/browser"
        return path if path.endswith(".ipynb") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByNeed:
    return ByNeed(config, log)
