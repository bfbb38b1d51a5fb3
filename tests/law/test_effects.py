"""Effects: planted slopes come back, and their intervals cover days and seeds."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.law.effects import Components, estimate_effects, holm, slope_weights
from tests.law.worlds import FIVE, SETTINGS, axis_of, fitted, world


def slope_of(losses, samples=500):
    settings = replace(SETTINGS, samples=samples)
    found = estimate_effects(losses, slope_weights(FIVE[:3])[None], settings)
    return found.effects[0], found.draws[0]


def test_a_planted_slope_is_recovered_within_its_interval():
    effect, _ = slope_of(world(1, slope=-0.01, days=1500))
    low, high = effect.interval95
    assert low < -0.01 < high < 0
    assert effect.estimate == pytest.approx(-0.01, abs=0.005)


def test_slope_weights_are_least_squares_per_decade():
    loss = np.array([0.7, 0.66, 0.61, 0.6, 0.55])
    expected = np.polyfit(np.log10(FIVE), loss, 1)[0]
    assert slope_weights(FIVE) @ loss == pytest.approx(expected)


def test_noise_of_days_that_all_models_share_does_not_widen_the_slope():
    losses = world(2)
    storm = np.random.default_rng(9).normal(0, 5, losses[0].shape[1])
    calm, stormy = slope_of(losses)[0], slope_of([loss + storm for loss in losses])[0]
    assert stormy.interval95 == pytest.approx(calm.interval95, abs=1e-9)


def test_seeds_that_disagree_widen_the_interval_and_the_days_alone_do_not_show_it():
    losses = world(2, seed=0)
    apart = [loss + np.array([[-0.05], [0.0], [0.05]]) for loss in losses]
    together, spread = slope_of(losses)[0], slope_of(apart)[0]
    assert np.ptp(spread.interval95) > 5 * np.ptp(together.interval95)
    assert spread.day_variance == pytest.approx(together.day_variance)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_resampled_seeds_spread_as_far_as_seeds_do_and_not_less_by_the_one_that_is_the_mean(seeds):
    """K seeds drawn from K have (K-1)/K of the variance, which the draws must make up for."""
    noise = np.random.default_rng(seeds).normal(0, 0.01, (3, seeds, 1))
    steady = [0.6 + own + np.zeros((1, 300)) for own in noise]
    effect, draws = slope_of(steady, samples=4000)
    assert effect.day_variance == pytest.approx(0, abs=1e-20)
    assert draws.std() == pytest.approx(effect.standard_error, rel=0.05)


def test_the_draws_agree_with_the_sum_of_variances_when_both_sources_matter():
    effect, draws = slope_of(world(4, seeds=5), samples=2000)
    assert draws.std() == pytest.approx(effect.standard_error, rel=0.25)


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
def test_in_a_world_without_effect_the_interval_covers_and_no_shape_is_invented():
    covered, by_days_alone, bent = [], [], []
    for number in range(250):
        law = fitted(world(1000 + number))
        effect = law.parameters.slope
        low, high = effect.interval95
        covered.append(low < 0 < high)
        half = 1.96 * np.sqrt(effect.day_variance)
        by_days_alone.append(abs(effect.estimate) < half)
        bent.append(law.shapes.preferred != "constant")
    assert 0.90 <= np.mean(covered) <= 0.98
    assert np.mean(bent) < 0.10
    assert np.mean(by_days_alone) < 0.85, "the simulation must be able to fail an interval"


@pytest.mark.slow
def test_the_interval_covers_when_three_seeds_are_nearly_all_of_the_noise():
    covered = []
    for number in range(250):
        noisy = world(number, seed=0.01, both=0.0, day=0.005, days=300)
        low, high = slope_of(noisy)[0].interval95
        covered.append(low < 0 < high)
    assert 0.90 <= np.mean(covered) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0.003, 0.01], ids=["as shipped", "seeds nearly all of the noise"])
def test_the_interval_covers_when_the_largest_of_five_sizes_has_two_seeds_and_the_others_three(
    seed,
):
    covered, claimed = [], []
    for number in range(250):
        noise = {"seed": seed, "day": 0.005, "both": 0.005}
        *smaller, largest = world(number, parameters=FIVE, days=400, **noise)
        law = axis_of([*smaller, largest[:2]], FIVE)
        low, high = law.slope.interval95
        covered.append(low < 0 < high)
        claimed.append(law.slope.side != 0)
    assert 0.90 <= np.mean(covered) <= 0.98
    assert np.mean(claimed) < 0.08


def test_the_variance_of_a_slope_is_split_into_days_seeds_and_what_is_of_both():
    """The noise of the shipped runs: 0.05 to 0.09 nats a day for one seed on one day."""
    days, weights, found = 1500, slope_weights(FIVE[:3]), []
    for number in range(40):
        rng = np.random.default_rng(number)
        losses = world(rng, days=days, day=0.0, seed=0.004, both=0.07)
        found.append(slope_of(losses, samples=200)[0].components)
    of_one = (weights**2).sum() / 3
    assert np.mean([c.both for c in found]) == pytest.approx(of_one * 0.07**2 / days, rel=0.03)
    assert np.mean([c.seeds for c in found]) == pytest.approx(of_one * 0.004**2, rel=0.25)
    # None of it is of the days. What the day variance holds is that of both.
    assert np.mean([c.days for c in found]) < 0.3 * of_one * 0.07**2 / days


def test_of_unequal_numbers_of_seeds_more_for_all_leave_what_the_seeds_themselves_tell():
    *smaller, largest = world(1, parameters=FIVE, day=0.0, both=0.0, seed=0.004)
    weights = slope_weights(FIVE)
    found = estimate_effects([*smaller, largest[:2]], weights[None], SETTINGS).effects[0].components
    spread = [loss.mean(axis=1).var(ddof=1) for loss in (*smaller, largest[:2])]
    assert found.seeds * found.per_cell / 8 == pytest.approx((weights**2 * spread).sum() / 8)
    assert 2 < found.per_cell < 3


def test_what_a_larger_study_would_see_is_what_it_does_see():
    """Four times the days and twice the seeds, foretold from the small study and then made."""
    noise = {"day": 0.03, "seed": 0.004, "both": 0.07}
    foretold, seen = [], []
    for number in range(40):
        small = world(number, days=500, seeds=4, **noise)
        large = world(100 + number, days=2000, seeds=8, **noise)
        foretold.append(slope_of(small, 200)[0].components.smallest_detectable(4, 2))
        seen.append(slope_of(large, 200)[0].components.smallest_detectable(1, 1))
    assert np.median(foretold) == pytest.approx(np.median(seen), rel=0.1)


def test_more_seeds_never_help_against_the_days_but_do_against_what_is_of_both():
    steady = Components(1e-6, 0.0, 0.0, 100.0, 4.0, per_cell=3)
    mixed = replace(steady, days=0.0, both=1e-6)
    assert steady.smallest_detectable(1, 100) == pytest.approx(steady.smallest_detectable(1, 1))
    assert mixed.smallest_detectable(1, 4) < 0.6 * mixed.smallest_detectable(1, 1)
    assert mixed.smallest_detectable(4, 1) < 0.6 * mixed.smallest_detectable(1, 1)
