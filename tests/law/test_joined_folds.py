"""A walk forward: the folds of a study are joined, and each trained its own networks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling.errors import UserError
from scaling.law import direction
from scaling.law.direction import forecasts_of
from scaling.law.effects import Components, estimate_effects, groups_of_folds, slope_weights
from scaling.law.judge import fit_law, fit_study
from scaling.law.result import JudgedDays
from scaling.law.sentence import warnings
from scaling.law.table import read_tables
from scaling.metrics import weighted_aucs
from tests.law.worlds import FIVE, SETTINGS, study, table_of, world

FOLDS = {1996 + 2 * number: 500 for number in range(14)}
WALK = replace(SETTINGS, folds=tuple(FOLDS.values()))
SLOPE = slope_weights(FIVE[:3])


def walk(rng, slopes=(0.0,) * 14, **noise):
    """A world of 14 folds of two years, each with its own networks and its own slope."""
    rng = np.random.default_rng(rng)
    parts = [world(rng, slope, days=500, **noise) for slope in slopes]
    return [np.hstack(sizes) for sizes in zip(*parts, strict=True)]


def slope_of(losses, settings=WALK):
    return estimate_effects(losses, SLOPE[None], settings).effects[0]


def two_folds(frame):
    """The rows of a study whose first 130 test days are a fold, with a validation year of each."""
    cut = frame.loc[frame["split"] == "test", "date"].sort_values().unique()[130]
    late = frame["date"] >= cut
    between = (frame["split"] == "test") & ~late
    again = frame[between].assign(split="validation", origin=2016)
    own = frame.assign(origin=np.where((frame["split"] == "test") & late, 2016, 2014))
    return pd.concat([own, again], ignore_index=True)


def both(frames):
    return tuple(two_folds(frame) for frame in frames)


def test_the_test_days_of_the_folds_are_joined_and_no_estimate_changes_by_the_cut():
    frames = study()
    once, walked = (fit_study(read_tables(*own), SETTINGS) for own in (frames, both(frames)))
    assert walked.test_days == replace(once.test_days, origins=[2014, 2016])
    assert walked.settings.folds == (130, 130)
    slopes = [law.ladder.parameters.slope for law in (once, walked)]
    assert slopes[1].estimate == pytest.approx(slopes[0].estimate, rel=1e-12)
    assert "in 2 folds that were each trained on the years before" in walked.ladder.sentence


def test_the_validation_years_of_later_folds_choose_nothing_as_they_are_test_years_of_earlier():
    networks, baselines = both(study())
    ladder = read_tables(networks, baselines).ladder
    late = (networks["split"] == "validation") & (networks["origin"] == 2016)
    assert late.any()
    spoilt = networks.assign(p=networks["p"].mask(late & (networks["budget"] == "2m"), 0.999))
    assert read_tables(spoilt, baselines).ladder.validation == ladder.validation


def test_what_is_added_to_volatility_is_fitted_in_each_fold_alone():
    networks, baselines = both(study())
    baselines = baselines.assign(rises=0, falls=0, next_return=0.0)
    late = (networks["split"] == "validation") & (networks["origin"] == 2016)
    spoilt = networks.assign(p=networks["p"].mask(late, 1 - networks["p"]))
    once, again = (forecasts_of(frame, baselines) for frame in (networks, spoilt))
    first, second = (
        direction._together(own.of("validation"), own.of("test"), ["2m"]) for own in (once, again)
    )
    np.testing.assert_array_equal(first[:130], second[:130])
    assert (first[130:] != second[130:]).all()


def test_a_base_rate_is_that_of_the_years_before_each_fold():
    networks, baselines = both(study())
    rate = baselines["origin"].map({2014: 0.2, 2016: 0.4})
    of_fold = baselines["p"].mask(baselines["model"] == "base_rate", rate)
    ladder = read_tables(networks, baselines.assign(p=of_fold)).ladder
    assert ladder.base_rate == pytest.approx(0.3)
    hit = ladder.y == 1
    assert ladder.base[:130][hit[:130]] == pytest.approx(-np.log(0.2))
    assert ladder.base[130:][hit[130:]] == pytest.approx(-np.log(0.4))


def test_a_fold_that_one_network_was_not_judged_in_is_refused():
    networks, baselines = both(study())
    gone = (networks["origin"] == 2016) & (networks["budget"] == "2m") & (networks["seed"] == 43)
    with pytest.raises(UserError, match="2m seed 43 was judged on 130 test days and .* on 260"):
        read_tables(networks[~gone], baselines)


def test_folds_that_lie_among_one_another_are_refused():
    networks, baselines = (
        frame.assign(origin=2014 + frame["date"].dt.month % 2) for frame in study()
    )
    with pytest.raises(UserError, match="2014 and 2015 lie among one another"):
        read_tables(networks, baselines)


def test_each_fold_has_seeds_of_its_own_so_that_many_folds_tell_much_of_their_spread():
    losses = walk(0, seed=0.02, both=0.0, day=0.0)
    once = [loss[:, :500] for loss in losses]
    one, many = slope_of(once, SETTINGS), slope_of(losses)
    assert many.degrees_of_freedom > 5 * one.degrees_of_freedom
    # Each of three sizes has three seeds, and their mean is over 14 independent folds.
    expected = (SLOPE**2).sum() * 0.02**2 / 3 / 14
    assert many.seed_variance == pytest.approx(expected, rel=0.6)
    # One network for all years would be three seeds and no more, whatever the days.
    assert slope_of(losses, SETTINGS).degrees_of_freedom < many.degrees_of_freedom / 3


def test_the_folds_slopes_are_those_of_least_squares_in_each_fold():
    losses = walk(1, slopes=np.linspace(-0.01, 0.01, 14))
    law = fit_law(table_of(losses, FIVE[:3], folds=FOLDS), WALK)
    for fold, start in zip(law.parameters.folds, range(0, 7000, 500), strict=True):
        means = [loss[:, start : start + 500].mean() for loss in losses]
        assert fold.slope == pytest.approx(np.polyfit(np.log10(FIVE[:3]), means, 1)[0])
        assert (fold.origin, fold.days) == (1996 + start // 250, 500)


def test_groups_of_folds_have_four_years_or_more_and_every_day_is_in_one():
    groups = groups_of_folds(WALK.by_fold(7000))
    assert [own.stop - own.start for own in groups] == [1000] * 7
    odd = replace(SETTINGS, folds=(250, 250, 250, 250, 250, 30)).by_fold(1280)
    assert groups_of_folds(odd) == [slice(0, 1280)]
    assert groups_of_folds(SETTINGS.by_fold(300)) == [slice(0, 300)]


def test_years_that_are_cut_once_have_no_interval_over_folds():
    effect = slope_of(world(1), SETTINGS)
    assert effect.folds_interval95 is None
    assert len(effect.all95) == 2


def test_one_wild_fold_is_no_finding_and_one_that_carries_a_finding_is_named():
    rng = np.random.default_rng(2)
    calm = {"seed": 0.0005, "both": 0.005, "day": 0.002}
    wild = fit_law(
        table_of(walk(rng, np.r_[np.zeros(13), 0.2], **calm), FIVE[:3], folds=FOLDS), WALK
    )
    assert wild.parameters.slope.interval95[0] > 0, "bootstrap alone would call it a finding"
    assert wild.parameters.verdict == "inconclusive"
    assert any("t over the folds" in line for line in wild.warnings)


def test_a_fold_without_which_nothing_would_be_claimed_is_named():
    steady = walk(2, np.full(14, -0.01), seed=0.0005, both=0.005)
    law = fit_law(table_of(steady, FIVE[:3], folds=FOLDS), WALK)
    axis = law.parameters
    assert axis.verdict == "improves"
    assert axis.carried_by == []
    first, *others = axis.folds
    carried = replace(axis, folds=[replace(first, claimed_without=False), *others])
    assert carried.carried_by == [1996]
    days = JudgedDays(7000, "1996-01-02", "2022-12-30", 2000, [*FOLDS])
    lines = warnings(replace(law, axes={"parameters": carried}), days, 0.006, WALK)
    assert "without the test years from 1996 the slope over parameters could be 0" in str(lines)


@pytest.mark.slow
@pytest.mark.parametrize("wander", [0.0, 0.01], ids=["no effect", "an effect that comes and goes"])
def test_worlds_without_effect_are_covered_and_their_effects_seldom_invented(wander):
    """The noise is that of the shipped runs: 0.05 to 0.09 nats of replicate and day together."""
    claimed, covered = [], []
    for number in range(120):
        rng = np.random.default_rng(number)
        effect = slope_of(walk(rng, rng.normal(0, wander, 14), seed=0.003, both=0.07))
        claimed.append(effect.side != 0)
        low, high = effect.interval95
        covered.append(low < 0 < high)
    assert np.mean(claimed) <= 0.05
    if wander:
        assert np.mean(covered) < 0.85, "days and seeds alone would invent an effect"
    else:
        assert 0.93 <= np.mean(covered) <= 0.99


def test_more_folds_are_more_networks_so_that_days_help_against_seeds_as_well():
    parts = Components(0.0, 1e-6, 0.0, 100.0, 56.0, per_cell=3, by_fold=True)
    assert parts.smallest_detectable(4, 1) < 0.6 * parts.smallest_detectable(1, 1)
    once = replace(parts, by_fold=False)
    assert once.smallest_detectable(4, 1) == pytest.approx(once.smallest_detectable(1, 1))
    assert slope_of(walk(1)).components.by_fold


def test_a_single_fold_does_not_carry_itself_and_is_too_short_to_show_what_comes_and_goes():
    losses = [loss[:, :500] for loss in walk(1, [-0.05] * 14, both=0.0)]
    settings = replace(SETTINGS, folds=(500,))
    law = fit_law(table_of(losses, FIVE[:3], folds={1996: 500}), settings)
    assert law.parameters.carried_by == []
    assert "comes and goes over the years would not be noticed" in str(law.warnings)


def test_large_moves_of_different_folds_are_no_pair():
    """The networks of two folds rank nothing; one forecasts more, in years of more rises."""
    rng = np.random.default_rng(1)
    y = (rng.random(400) < np.repeat([0.2, 0.8], 200)).astype(int)
    p = pd.Series(np.repeat([0.1, 0.9], 200) + rng.normal(0, 0.01, 400))
    p.index = pd.MultiIndex.from_arrays([np.repeat([1996, 1998], 200)], names=["origin"])
    (by_fold,) = direction._by_fold(y, p, np.ones((1, 400)))
    (pooled,) = weighted_aucs(y, p, np.ones((1, 400)))
    assert pooled > 0.75
    assert 0.4 < by_fold < 0.6


def test_what_the_seeds_of_a_fold_do_to_all_sizes_alike_does_not_widen_the_slope():
    """One seed shares its order of days with all sizes, and in a crash much hangs on that order."""
    calm = walk(4, seed=0.002, both=0.0, day=0.0)
    rng = np.random.default_rng(5)
    shared = np.repeat(rng.normal(0, 0.05, (3, 14)), 500, axis=1)
    moved = [loss + shared for loss in calm]
    assert slope_of(moved).interval95 == pytest.approx(slope_of(calm).interval95, abs=1e-9)
    assert slope_of(moved).t_interval95 == pytest.approx(slope_of(calm).t_interval95, abs=1e-9)
    level = [estimate_effects(own, np.eye(3)[:1], WALK).effects[0] for own in (calm, moved)]
    assert level[1].seed_variance > 20 * level[0].seed_variance


def test_sizes_of_other_seeds_cannot_count_together_in_a_walk_and_are_refused():
    networks, baselines = study()
    other = networks["seed"].mask(networks["budget"] == "2m", networks["seed"] + 10)
    odd = networks.assign(seed=other)
    assert fit_study(read_tables(odd, baselines), SETTINGS).ladder.sentence
    with pytest.raises(UserError, match="42 and 43 in one cell and 52 and 53 in another"):
        fit_study(read_tables(*both((odd, baselines))), SETTINGS)
