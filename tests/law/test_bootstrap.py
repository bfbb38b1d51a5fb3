"""Resamples of days keep their number and their neighbourhood."""

import numpy as np
import pytest

from scaling.law import bootstrap


def test_blocks_are_no_shorter_than_the_horizon_and_grow_with_memory():
    rng = np.random.default_rng(6)
    white = rng.normal(size=(1, 1000))
    slow = np.cumsum(white, axis=1) - 0.97 * np.r_[0, np.cumsum(white)[:-1]]
    for t in range(1, 1000):
        slow[0, t] = 0.95 * slow[0, t - 1] + white[0, t]
    assert bootstrap.block_length(white, horizon=1) == 10
    assert bootstrap.block_length(white, horizon=40) == 40
    assert bootstrap.block_length(slow, horizon=1) > 20
    assert bootstrap.block_length(np.zeros((1, 1000)), horizon=1) == 10


def test_each_resample_of_days_keeps_the_number_of_days_and_their_neighbourhood():
    weights = bootstrap.day_weights(500, block=20, samples=50, seed=1)
    assert weights.sum(axis=1) == pytest.approx(np.ones(50))
    drawn = weights > 0
    together = (drawn[:, 1:] & drawn[:, :-1]).sum() / drawn[:, :-1].sum()
    assert together > 0.9
