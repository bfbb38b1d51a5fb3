"""Effects: planted slopes come back, and their intervals cover days and seeds."""

import numpy as np
import pytest

from scaling.law import shapes
from scaling.law.effects import effects, holm, slope_weights
from scaling.law.verdict import verdict
from tests.law.worlds import FIVE, world


def slope_of(losses, parameters=FIVE[:3], samples=500, horizon=1):
    weights = slope_weights(parameters)[None]
    (effect,), _, means = effects(losses, weights, horizon=horizon, samples=samples)
    return effect, means


def test_a_planted_slope_is_recovered_within_its_interval():
    effect, _ = slope_of(world(np.random.default_rng(1), slope=-0.01, days=1500))
    low, high = effect.interval(0.95)
    assert low < -0.01 < high < 0
    assert effect.estimate == pytest.approx(-0.01, abs=0.005)


def test_slope_weights_are_least_squares_per_decade():
    loss = np.array([0.7, 0.66, 0.61, 0.6, 0.55])
    expected = np.polyfit(np.log10(FIVE), loss, 1)[0]
    assert slope_weights(FIVE) @ loss == pytest.approx(expected)


def test_noise_of_days_that_all_models_share_does_not_widen_the_slope():
    losses = world(np.random.default_rng(2))
    storm = np.random.default_rng(9).normal(0, 5, losses[0].shape[1])
    calm, stormy = slope_of(losses)[0], slope_of([loss + storm for loss in losses])[0]
    assert stormy.interval(0.95) == pytest.approx(calm.interval(0.95), abs=1e-9)


def test_seeds_that_disagree_widen_the_interval_and_the_days_alone_do_not_show_it():
    losses = world(np.random.default_rng(2), seed=0)
    apart = [loss + np.array([[-0.05], [0.0], [0.05]]) for loss in losses]
    together, spread = slope_of(losses)[0], slope_of(apart)[0]
    assert np.ptp(spread.interval(0.95)) > 5 * np.ptp(together.interval(0.95))
    assert spread.day_variance == pytest.approx(together.day_variance)


def test_the_draws_agree_with_the_sum_of_variances_when_both_sources_matter():
    effect, _ = slope_of(world(np.random.default_rng(4), seeds=5, seed=0.003), samples=2000)
    assert effect.draws.std() == pytest.approx(effect.error, rel=0.25)


def test_the_same_rows_give_the_same_interval_twice():
    losses = world(np.random.default_rng(5))
    assert slope_of(losses)[0].interval(0.95) == slope_of(losses)[0].interval(0.95)


def test_part_of_a_family_is_never_rejected_more_often_than_holm_on_the_whole_family_would():
    rng = np.random.default_rng(5)
    for _ in range(300):
        whole = rng.beta(0.2, 2, size=12)
        own = holm(whole[:4], comparisons=12)
        for adjusted, pooled in zip(own, holm(whole)[:4], strict=True):
            assert not (adjusted < 0.05 <= pooled)
    assert holm([0.01, 0.02], comparisons=6) == pytest.approx([0.06, 0.10])


def test_holm_steps_down_and_never_reorders():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.slow
def test_in_a_world_without_effect_the_interval_covers_and_improvement_is_not_invented():
    covered, by_days_alone, improves, bent = [], [], [], []
    for number in range(250):
        losses = world(np.random.default_rng(1000 + number))
        effect, means = slope_of(losses)
        low, high = effect.interval(0.95)
        covered.append(low < 0 < high)
        half = 1.96 * np.sqrt(effect.day_variance)
        by_days_alone.append(abs(effect.estimate) < half)
        improves.append(verdict(effect, 0.006, contrasts=[], replicated=True) == "improves")
        loss = np.array([size.mean() for size in losses])
        compared = shapes.compare_shapes(FIVE[:3], loss, np.cov(means), effect.freedom, False)
        bent.append(compared["preferred"] != "constant")
    assert 0.90 <= np.mean(covered) <= 0.98
    assert np.mean(improves) < 0.05
    assert np.mean(bent) < 0.10
    assert np.mean(by_days_alone) < 0.85, "the simulation must be able to fail an interval"


@pytest.mark.slow
def test_the_interval_covers_when_three_seeds_are_nearly_all_of_the_noise():
    covered = []
    for number in range(250):
        noisy = world(np.random.default_rng(number), seed=0.01, both=0.0, day=0.005, days=300)
        low, high = slope_of(noisy)[0].interval(0.95)
        covered.append(low < 0 < high)
    assert 0.90 <= np.mean(covered) <= 0.98
