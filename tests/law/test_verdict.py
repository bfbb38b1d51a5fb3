"""What may be claimed of a slope, and what a study could have seen."""

import numpy as np
import pytest

from scaling.law.effects import Effect
from scaling.law.verdict import Contrast, sensitivity, verdict
from tests.law.worlds import FIVE, fitted, world

TIGHT = {"day": 1e-4, "seed": 1e-4, "both": 1e-3}


def test_a_clear_fall_improves_and_a_clear_rise_is_inverse_scaling():
    rng = np.random.default_rng(7)
    assert fitted(world(rng, slope=-0.02))["verdict"] == "improves"
    assert fitted(world(rng, slope=+0.02))["verdict"] == "inverse scaling"


def test_a_precise_nothing_is_equivalent_and_a_vague_one_is_inconclusive():
    precise = fitted(world(np.random.default_rng(8), day=1e-3, seed=1e-4, both=1e-3))
    vague = fitted(world(np.random.default_rng(8), day=0.1, seed=0.02))
    assert precise["verdict"] == "equivalent to no effect"
    assert precise["smallest_detectable_effect"] < precise["delta"]
    assert vague["verdict"] == "inconclusive"
    assert vague["smallest_detectable_effect"] > vague["delta"]
    assert "would probably have been missed, and seeing 0.0061 takes" in vague["sentence"]


def test_five_losses_with_an_optimum_inside_are_not_equivalent_however_flat_their_slope():
    planted = [0.300, 0.289, 0.283, 0.286, 0.301]
    noise = world(np.random.default_rng(1), parameters=FIVE, **TIGHT)
    losses = [size - size.mean() + mean for size, mean in zip(noise, planted, strict=True)]
    result = fitted(losses, FIVE)
    low, high = result["slope"]["interval90"]
    assert -result["delta"] < low < high < result["delta"], "the slope alone would call it nothing"
    assert result["verdict"] == "inconclusive"
    assert [c["equivalent"] for c in result["contrasts"]].count(False) >= 3
    assert "inside the ladder" in result["sentence"]


def precisely(estimate, error=1e-4):
    draws = estimate + error * np.random.default_rng(0).normal(size=4000)
    return Effect(estimate, draws, error**2, 0.0, freedom=1e9)


@pytest.mark.parametrize(
    ("difference", "decades", "word"),
    [
        (0.009, 1.0, "equivalent to no effect"),
        (0.011, 1.0, "inconclusive"),
        (-0.011, 1.0, "inconclusive"),
        (0.019, 2.0, "equivalent to no effect"),
        (0.021, 2.0, "inconclusive"),
        (0.009, 0.3, "equivalent to no effect"),
        (0.011, 0.3, "inconclusive"),
    ],
)
def test_two_sizes_may_differ_by_delta_for_each_decade_between_them_and_by_delta_within_one(
    difference, decades, word
):
    slope, contrast = precisely(0.0), Contrast(precisely(difference), decades)
    assert verdict(slope, 0.01, contrasts=[contrast], replicated=True) == word


def test_a_difference_that_might_be_beyond_its_bound_is_not_equivalent():
    slope, vague = precisely(0.0), Contrast(precisely(0.0, error=0.02), 1.0)
    assert verdict(slope, 0.01, contrasts=[vague], replicated=True) == "inconclusive"


def test_a_slope_over_a_turning_point_is_neither_better_nor_worse():
    for estimate in (-0.05, 0.05):
        found = verdict(
            precisely(estimate), 0.01, contrasts=[], replicated=True, one_direction=False
        )
        assert found == "inconclusive"


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [FIVE[:3], FIVE], ids=["three sizes", "five sizes"])
def test_without_an_effect_neither_a_trend_nor_a_turning_point_is_invented(parameters):
    claimed, turning = [], []
    for number in range(200):
        result = fitted(
            world(np.random.default_rng(3000 + number), parameters=parameters), parameters
        )
        claimed.append(result["verdict"] in ("improves", "inverse scaling"))
        turning.append(result["turning_point"]["kind"] is not None)
    assert np.mean(claimed) <= 0.05
    assert np.mean(turning) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("error", [1.0, 0.3, 0.1, 0.03], ids="{} of the usual noise".format)
def test_a_curve_with_an_optimum_inside_is_not_called_equivalent(error):
    noise = {"day": 0.02 * error, "seed": 0.003 * error, "both": 0.02 * error}
    parameters, found = np.geomspace(2e5, 2e8, 5), []
    for number in range(60):
        # The ends lie 2.25 times as far above the middle as their bound allows.
        rng = np.random.default_rng(number)
        losses = world(rng, bend=0.0092, parameters=parameters, **noise)
        found.append(fitted(losses, parameters)["verdict"])
    assert "equivalent to no effect" not in found
    assert np.mean([word != "inconclusive" for word in found]) <= 0.05


def effect_with(day_variance, seed_variance):
    return Effect(0.0, np.zeros(1), day_variance, seed_variance, freedom=1e9)


def test_twice_the_days_are_asked_for_when_the_days_variance_is_twice_what_delta_allows():
    allowed = (0.006 / 2.8016) ** 2

    def needed(slope, replicated=True):
        return sensitivity(slope, 0.006, days=1000, seeds=3, replicated=replicated)

    needs = needed(effect_with(2 * allowed, 0.0))
    assert needs["days_needed"] == pytest.approx(2000, abs=2)
    assert needs["seeds_needed"] is None
    slope = effect_with(allowed / 2, 1.0001 * allowed)
    needs = needed(slope)
    assert (needs["days_needed"], needs["seeds_needed"]) == (None, 7)
    assert "spread between seeds" in needs["days_needed_note"]
    assert needed(slope, replicated=False)["seeds_needed_note"] == "unknown: too few replicates"
