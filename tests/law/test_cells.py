"""Losses and skills of cells, and those of the mean probability over a cell's seeds."""

import numpy as np
import pytest

from scaling.law.table import ensemble
from scaling.metrics import log_losses
from tests.law.worlds import FIVE, fitted, sigmoid, world


def forecasts(seeds=4, days=300, spread=0.8):
    rng = np.random.default_rng(0)
    truth = rng.normal(-1, 1, days)
    y = (rng.random(days) < sigmoid(truth)).astype(np.int64)
    p = sigmoid(truth + rng.normal(0, spread, (seeds, days)))
    return y, p, np.stack([log_losses(y, row) for row in p])


def test_the_ensemble_s_loss_is_that_of_the_mean_probability():
    y, p, losses = forecasts()
    assert ensemble(losses)[0] == pytest.approx(log_losses(y, p.mean(axis=0)))


def test_a_cell_pairs_its_ensemble_with_its_single_networks():
    y, _, losses = forecasts()
    cell = fitted([losses, losses + 0.1], FIVE[:2], y=y).cells[0]
    together = cell.ensemble
    assert together.members == 4
    assert together.gain == pytest.approx(together.log_loss - cell.log_loss)
    assert together.gain_interval95[1] < 0
    assert together.skill > cell.skill
    low, high = together.interval95
    assert low < together.log_loss < high


def test_one_network_is_no_ensemble():
    losses = world(2, seeds=1)
    assert [cell.ensemble for cell in fitted(losses).cells] == [None] * 3


def test_an_ensemble_s_interval_is_over_days_and_not_over_seeds_that_disagree():
    losses = world(2, seed=0)
    apart = [loss + np.array([[-0.05], [0.0], [0.05]]) for loss in losses]
    together, spread = fitted(losses).cells[0], fitted(apart).cells[0]
    assert np.ptp(spread.interval95) > 1.5 * np.ptp(together.interval95)
    assert np.ptp(spread.ensemble.interval95) == pytest.approx(
        np.ptp(together.ensemble.interval95), rel=0.05
    )
