"""Settings of all tests: in continuous integration, a skipped test is a failed one."""

import os
import re
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ALLOWED_SKIPS: tuple[str, ...] = ()
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


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the cells of a notebook together, in one worker: each needs what those before it left."""
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
