"""What may be claimed of a slope, and what a study could have seen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from scaling.law.effects import Components, Effect
from scaling.law.table import Axis
from scaling.law.verdict import contrast_rows, sensitivity, verdict
from tests.law.worlds import DELTA, FIVE, axis_of, fitted, world

Z = {95: 1.959964, 90: 1.644854}
TIGHT = {"day": 1e-4, "seed": 1e-4, "both": 1e-3}


def test_a_clear_fall_improves_and_a_clear_rise_is_inverse_scaling():
    rng = np.random.default_rng(7)
    assert fitted(world(rng, slope=-0.02)).parameters.verdict == "improves"
    assert fitted(world(rng, slope=+0.02)).parameters.verdict == "inverse scaling"


def test_a_precise_nothing_is_equivalent_and_a_vague_one_is_inconclusive():
    precise = fitted(world(8, day=1e-3, seed=1e-4, both=1e-3)).parameters
    vague = fitted(world(8, day=0.1, seed=0.02))
    assert precise.verdict == "equivalent to no effect"
    assert precise.sensitivity.smallest_detectable_effect < DELTA
    assert vague.parameters.verdict == "inconclusive"
    assert vague.parameters.sensitivity.smallest_detectable_effect > DELTA
    assert (
        "would have been seen in four of five such studies, and seeing 0.0061 as often takes"
        in vague.sentence
    )


def test_five_losses_with_an_optimum_inside_are_not_equivalent_however_flat_their_slope():
    planted = [0.300, 0.289, 0.283, 0.286, 0.301]
    noise = world(1, parameters=FIVE, **TIGHT)
    losses = [size - size.mean() + mean for size, mean in zip(noise, planted, strict=True)]
    result = fitted(losses, FIVE)
    axis = result.parameters
    assert axis.slope.inside(DELTA), "the slope alone would call it nothing"
    assert axis.verdict == "inconclusive"
    assert [contrast.equivalent for contrast in axis.contrasts].count(False) >= 3
    assert "inside the range" in result.sentence


def precisely(estimate, error=1e-4, day_variance=0.0, seed_variance=0.0):
    """An effect of many days and seeds, whose intervals are those of a normal distribution."""
    ends = {level: (estimate - z * error, estimate + z * error) for level, z in Z.items()}
    return Effect(
        estimate=estimate,
        **{f"{kind}interval{level}": ends[level] for kind in ("", "t_") for level in Z},
        p_value=0.5,
        standard_error=error,
        day_variance=day_variance,
        seed_variance=seed_variance,
        degrees_of_freedom=1e9,
        components=Components(day_variance, seed_variance, 0.0, 1e9, 1e9, per_cell=3),
    )


def judged(slope, difference, decades=1.0, one_direction=True):
    axis = Axis(["a", "b"], np.array([1.0, 10.0**decades]))
    (contrast,) = contrast_rows(axis, {(0, 1): difference}, 0.01)
    return verdict(
        slope,
        0.01,
        equivalent=contrast.equivalent,
        replicated=True,
        one_direction=one_direction,
    )


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
    assert judged(precisely(0.0), precisely(difference), decades) == word


def test_a_difference_that_might_be_beyond_its_bound_is_not_equivalent():
    assert judged(precisely(0.0), precisely(0.0, error=0.02)) == "inconclusive"


def test_a_slope_over_a_turning_point_is_neither_better_nor_worse():
    for estimate in (-0.05, 0.05):
        found = judged(precisely(estimate), precisely(0.0), one_direction=False)
        assert found == "inconclusive"


def test_equivalence_is_a_pair_of_one_sided_tests_at_five_percent_and_no_weaker_one():
    """A slope at the very edge of what matters is called nothing in one world of twenty.

    Nothing but chance separates these worlds, so a weaker level shows: at 60 % it would be four.
    """
    called = []
    for number in range(30):
        noise = np.random.default_rng(number)
        losses = world(noise, slope=DELTA, day=1e-3, seed=1e-3, seeds=5, both=1e-3, days=200)
        slope = axis_of(losses).slope
        called.append(slope.inside(DELTA))
        wide, wider = (t.ppf(p, slope.degrees_of_freedom) for p in (0.95, 0.975))
        assert np.ptp(slope.t_interval90) == pytest.approx(2 * wide * slope.standard_error)
        assert np.ptp(slope.interval90) == pytest.approx(
            np.ptp(slope.interval95) * wide / wider, rel=0.15
        )
    assert np.mean(called) <= 0.10


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [FIVE[:3], FIVE], ids=["three sizes", "five sizes"])
def test_without_an_effect_neither_a_trend_nor_a_turning_point_is_invented(parameters):
    claimed, turning = [], []
    for number in range(200):
        losses = world(3000 + number, parameters=parameters)
        axis = axis_of(losses, parameters)
        claimed.append(axis.verdict in ("improves", "inverse scaling"))
        turning.append(axis.turning_point.kind is not None)
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
        found.append(axis_of(losses, parameters).verdict)
    assert "equivalent to no effect" not in found
    assert np.mean([word != "inconclusive" for word in found]) <= 0.05


def test_twice_the_days_are_asked_for_when_the_days_variance_is_twice_what_delta_allows():
    allowed = (0.006 / 2.8016) ** 2

    def needed(slope, replicated=True):
        return sensitivity(slope, 0.006, 1000, replicated=replicated)

    needs = needed(precisely(0.0, day_variance=2 * allowed))
    assert needs.days_needed == pytest.approx(2000, abs=8)
    assert needs.seeds_needed is None
    slope = precisely(0.0, day_variance=allowed / 2, seed_variance=1.0001 * allowed)
    needs = needed(slope)
    assert (needs.days_needed, needs.seeds_needed) == (None, 7)
    assert "spread between seeds" in needs.days_needed_note
    uneven = replace(slope, components=replace(slope.components, per_cell=2.2))
    assert needed(uneven).seeds_needed == 5
    assert needed(slope, replicated=False).seeds_needed_note == "unknown: too few replicates"
