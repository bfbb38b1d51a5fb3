"""The sentence and the warnings say what weakens a finding."""

import numpy as np

from tests.law.worlds import fitted, world


def test_a_real_effect_smaller_than_delta_is_said_to_be_small():
    result = fitted(world(np.random.default_rng(8), slope=-0.002, day=1e-3, seed=1e-4, both=1e-3))
    assert result["verdict"] == "improves"
    assert "though by less than the 0.0061 set in advance" in result["sentence"]
    assert "falls by 0.002" in result["sentence"]


def test_one_seed_in_any_size_is_a_warning_and_never_more_than_inconclusive():
    losses = world(np.random.default_rng(9), slope=-0.05)
    result = fitted([losses[0], losses[1], losses[2][:1]])
    assert result["verdict"] == "inconclusive"
    assert "one seed only for 2e+06" in result["warnings"][0]
    assert result["seeds_needed"] is None
    assert "a size has one seed only" in result["sentence"]
    assert result["best_network"]["against"]["base_rate"]["verdict"] == "cannot be told apart"


def test_a_slope_among_models_worse_than_the_base_rate_is_not_sold_as_predictive_power():
    losses = [loss + 0.5 for loss in world(np.random.default_rng(11), slope=-0.03)]
    result = fitted(losses)
    assert any("no size beats" in warning for warning in result["warnings"])
    assert "no size beats the base rate" in result["sentence"]


def test_few_independent_blocks_are_said():
    result = fitted(world(np.random.default_rng(12), days=120))
    assert any("12 independent blocks of 10" in warning for warning in result["warnings"])


def test_a_finding_that_many_experiments_would_give_by_chance_is_said_to_be_one_of_them():
    losses = world(np.random.default_rng(7), slope=-0.004)
    result = fitted(losses, experiments=50)
    assert result["verdict"] == "improves"
    assert any("one of 50 experiments of a grid" in warning for warning in result["warnings"])
    assert not any("experiments" in warning for warning in fitted(losses)["warnings"])
