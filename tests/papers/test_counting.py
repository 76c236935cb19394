"""The statistics of published results, against scipy and statsmodels."""

import numpy as np
import pytest
import torch
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from torch import nn

from compress_explorer.engine.task import Split
from compress_explorer.papers.counting import Pair, right
from compress_explorer.papers.rows import errors_of_one, of_one, of_pair, over_seeds, table
from tests.case import case


def test_pairs_are_tested_as_statsmodels_does():
    for gained, lost in ((0, 0), (5, 5), (1, 9), (44, 53), (80, 8), (245, 753)):
        with case(gained, lost):
            expected = mcnemar([[9000, lost], [gained, 100]], exact=True).pvalue
            assert Pair(gained, lost, 10_000).p_value == pytest.approx(min(1.0, expected))


def test_pairs_count_images():
    before = torch.tensor([True, True, False, False, True])
    after = torch.tensor([True, False, True, False, False])
    pair = Pair.of(before, after)
    assert (pair.gained, pair.lost, pair.images) == (1, 2, 5)
    assert pair.change == pytest.approx(1 / 5)
    assert pair.interval.low < pair.change < pair.interval.high


def test_a_network_is_right_where_its_largest_answer_is_the_label():
    inputs = torch.randn(1200, 4, generator=torch.Generator().manual_seed(0))
    targets = inputs.argmax(1)
    targets[::3] = (targets[::3] + 1) % 4
    expected = torch.ones(1200, dtype=torch.bool)
    expected[::3] = False
    assert torch.equal(right(nn.Identity(), Split(inputs, targets)), expected)


def test_rows_have_the_intervals_of_scipy_and_statsmodels():
    values = [74.0, 81.0, 79.0]
    row = over_seeds("", "", values, "errors")
    one, counted = of_one("", "", 74, 10_000), errors_of_one("", "", 74, 10_000)
    pair = of_pair("", "", Pair(44, 53, 10_000))
    assert row.interval
    assert one.interval
    assert counted.interval
    assert pair.interval
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (row.measured, row.interval.low, row.interval.high) == pytest.approx((78.0, low, high))
    assert over_seeds("", "", [3.0], "errors").interval is None
    low, high = proportion_confint(74, 10_000, method="wilson")
    assert (one.interval.low, one.interval.high) == pytest.approx((100 * low, 100 * high))
    assert (counted.interval.low, counted.interval.high) == pytest.approx((10_000 * low, 10_000 * high))
    assert pair.measured == pytest.approx(0.09)
    assert pair.interval.low < -0.06 < 0.09 < pair.interval.high
    shown = table([row, one, pair])
    assert list(shown["measured"]) == ["78.00", "0.74", "0.09"]
    assert shown["95 % interval"].iloc[1] == f"{100 * low:.2f} … {100 * high:.2f}"
