"""Two axes: planted slopes come back on either, and what the days or the sizes hide is said."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.law.cells import paired_intervals
from scaling.law.judge import fit_law, fit_study
from scaling.law.sentence import warnings
from scaling.law.table import read_tables
from tests.law.worlds import DAYS, FIVE, SETTINGS, TIGHT, axis_of, study, surface_world


def law_of(mean, number=1, **options):
    return fit_law(surface_world(number, mean=mean, **options), SETTINGS)


def verdicts(result):
    return result.parameters.verdict, result.samples.verdict


# --- estimates


def test_slopes_and_interaction_are_those_of_least_squares_over_all_cells():
    result = law_of(lambda x, z: -0.02 * x - 0.01 * z + 0.005 * x * z)
    n, d, loss = (
        np.array([getattr(cell, key) for cell in result.cells])
        for key in ("parameters", "counted_days", "log_loss")
    )
    x, z = (np.log10(axis) - np.log10(axis).mean() for axis in (n, d))
    design = np.stack([np.ones_like(x), x, z, x * z], axis=1)
    (_, *expected), *_ = np.linalg.lstsq(design, loss, rcond=None)
    rows = (result.parameters.slope, result.samples.slope, result.interaction)
    assert [row.estimate for row in rows] == pytest.approx(expected)


def test_the_slope_at_each_point_of_the_other_axis_is_that_of_its_cells_alone():
    result = law_of(lambda x, z: -0.02 * x * (1 + z))
    at_each = result.parameters.at_each
    for each in at_each:
        cells = [cell for cell in result.cells if cell.train_days == each.at]
        x = np.log10([cell.parameters for cell in cells])
        slope, _ = np.polyfit(x, [cell.log_loss for cell in cells], 1)
        assert each.slope.estimate == pytest.approx(slope)
    assert [each.at for each in at_each] == ["500", "1000", "2000", "all"]
    assert len(result.samples.at_each) == 3


# --- verdicts


@pytest.mark.parametrize(
    ("mean", "found"),
    [
        (lambda x, z: -0.02 * x - 0.02 * z, ("improves", "improves")),
        (lambda x, z: -0.02 * x + 0.02 * z, ("improves", "inverse scaling")),
        (lambda x, z: +0.02 * x, ("inverse scaling", "inconclusive")),
        (lambda x, z: -0.02 * z, ("inconclusive", "improves")),
    ],
    ids=["both help", "history hurts", "size hurts", "days alone"],
)
def test_each_axis_has_a_verdict_of_its_own(mean, found):
    assert verdicts(law_of(mean)) == found


def test_a_precise_nothing_is_equivalent_on_both_axes():
    result = law_of(lambda x, z: 0 * x * z, **TIGHT)
    assert verdicts(result) == ("equivalent to no effect", "equivalent to no effect")
    assert "Size makes no difference that matters" in result.sentence


def test_effects_that_cancel_over_the_other_axis_are_not_equivalent():
    result = law_of(lambda x, z: 0.05 * x * z, **TIGHT)
    assert result.parameters.slope.inside(0.0061)
    assert verdicts(result) == ("inconclusive", "inconclusive")
    assert result.parameters.crosses and result.samples.crosses
    assert "helps on 500 days" in result.sentence
    assert "and hurts on 2,000 days and on 4,000 days" in result.sentence


def test_a_slope_that_reverses_along_the_other_axis_is_no_finding_even_if_its_mean_is_clear():
    result = law_of(lambda x, z: -0.01 * x + 0.1 * x * z, **TIGHT)
    assert result.parameters.slope.interval95[1] < 0
    assert result.parameters.verdict == "inconclusive"


def test_a_u_in_days_is_found_and_said_and_the_slope_over_it_is_no_finding():
    result = law_of(lambda x, z: 0.2 * z**2 + 0.05 * z, **TIGHT)
    turning = result.samples.turning_point
    assert result.samples.slope.interval95[0] > 0
    assert result.samples.verdict == "inconclusive"
    assert turning.kind == "lowest"
    assert turning.at == pytest.approx(10 ** (np.log10(DAYS).mean() - 0.125), rel=0.05)
    said = result.sentence
    assert "the loss is non-monotone in days, lowest near 1,100 training days" in said
    assert "so no slope is claimed" in said
    for claim in ("help", "hurt", "gain", "for ten times the training days"):
        assert claim not in said
    assert any("lowest near 1,100 training days" in warning for warning in result.warnings)


def test_a_u_at_one_size_alone_is_found_even_where_the_mean_over_sizes_falls():
    result = law_of(lambda x, z: 0.4 * z**2 if x < -0.4 else -0.2 * z, **TIGHT)
    assert result.samples.turning_point.kind is None
    assert [each.turns for each in result.samples.at_each] == [True, False, False]
    assert result.samples.verdict == "inconclusive"
    assert "the loss at 200000 is non-monotone in days, lowest near" in result.sentence


def test_larger_networks_that_gain_more_from_more_days_are_said_to():
    more = law_of(lambda x, z: -0.02 * x - 0.02 * z - 0.04 * x * z)
    less = law_of(lambda x, z: -0.02 * x - 0.02 * z + 0.02 * x * z, **TIGHT)
    neither = law_of(lambda x, z: -0.02 * x - 0.02 * z)
    assert "bigger networks gain more from more days" in more.sentence
    assert "bigger networks gain less from more days" in less.sentence
    assert "gain more from more days is not settled (" in neither.sentence


def test_one_seed_in_one_cell_allows_no_claim_on_either_axis():
    surface = surface_world(1, mean=lambda x, z: -0.05 * x - 0.05 * z)
    surface.losses[3], surface.seeds[3] = surface.losses[3][:1], [0]
    result = fit_law(surface, SETTINGS)
    assert verdicts(result) == ("inconclusive", "inconclusive")
    assert "one seed only for 200000 on 4,000 days" in result.warnings[0]
    assert result.sentence.count("a cell has one seed only") == 2


def test_two_points_of_an_axis_are_said_to_have_no_inside():
    result = law_of(lambda x, z: -0.02 * x, parameters=FIVE[:2], train_days=DAYS[:2])
    assert [warning[:10] for warning in result.warnings[:2]] == ["two values", "two values"]


def test_a_slope_that_only_one_of_its_intervals_sets_apart_from_zero_is_warned_of():
    result = law_of(lambda x, z: -0.02 * x)
    slope = replace(result.samples.slope, interval95=(-0.02, -0.001), t_interval95=(-0.02, 0.001))
    odd = replace(result, axes={**result.axes, "train_days": replace(result.samples, slope=slope)})
    line = "disagree on whether the slope over training days is 0"
    days = fit_study(read_tables(*study()), SETTINGS).test_days
    for law, said in ((result, False), (odd, True)):
        assert any(line in warning for warning in warnings(law, days, 0.006, SETTINGS)) is said


def test_one_sentence_answers_both_questions_and_says_how_sure():
    result = law_of(lambda x, z: -0.02 * x)
    parameters, days = result.sentence.split(", and ")
    assert parameters.startswith("Bigger networks predict better (-0.02")
    assert "95 % interval" in parameters and "95 % interval" in days
    assert days.startswith("whether more training days help is not settled (")
    assert "would have been seen in four of five such studies" in days
    trained = "; trained with the same number of passes over the most recent days"
    assert result.sentence.endswith(f"{trained}, judged on 400 test days.")


# --- cells, ensembles, baselines


def test_a_baseline_that_long_history_hurts_is_said_to_turn():
    surface = surface_world(1)
    wobble = np.random.default_rng(2).normal(0, 0.01, (4, 400))
    curve = np.array([0.66, 0.60, 0.60, 0.65])
    surface.baselines["logistic_regression"] = list(curve[:, None] + wobble)
    found = fit_law(surface, SETTINGS).baselines["logistic_regression"]
    assert found.turning_point.kind == "lowest"
    assert [row.log_loss for row in found.cells] == pytest.approx(curve, abs=2e-3)
    assert found.slope.seed_variance == 0


def test_every_cell_has_its_loss_interval_and_ensemble():
    surface = surface_world(1)
    cells = fit_law(surface, SETTINGS).cells
    assert [(cell.budget, cell.train_days) for cell in cells[3:5]] == [
        ("200000", "all"),
        ("600000", "500"),
    ]
    for cell, losses in zip(cells, surface.losses, strict=True):
        low, high = cell.interval95
        assert low < losses.mean() == pytest.approx(cell.log_loss) and losses.mean() < high
        assert cell.ensemble.gain < 0


def test_skill_of_all_cells_has_the_one_base_rate_of_the_whole_block():
    surface = surface_world(1)
    reference = -np.mean(np.where(surface.y == 1, np.log(0.3), np.log(0.7)))
    for cell in fit_law(surface, SETTINGS).cells:
        assert cell.skill == pytest.approx(1 - cell.log_loss / reference)


def test_weather_that_all_models_share_widens_the_levels_and_not_the_paired_intervals():
    surface = surface_world(1)
    surface.baselines["logistic_regression"] = [loss[0] for loss in surface.losses[:4]]
    weather = np.random.default_rng(2).normal(0, 0.3, 400)
    stormy = replace(
        surface,
        losses=[loss + weather for loss in surface.losses],
        ensembles=[loss + weather for loss in surface.ensembles],
        baselines={
            name: [loss + weather for loss in losses] for name, losses in surface.baselines.items()
        },
    )
    calm, storm = fit_law(surface, SETTINGS), fit_law(stormy, SETTINGS)
    for before, after in zip(calm.cells, storm.cells, strict=True):
        assert np.ptp(after.paired_interval95) == pytest.approx(np.ptp(before.paired_interval95))
        low, high = after.paired_interval95
        assert low < after.log_loss < high
        assert np.ptp(after.paired_interval95) < np.ptp(after.interval95) / 2
        assert np.ptp(after.ensemble.paired_interval95) < np.ptp(after.interval95) / 2
    for level in storm.baselines["logistic_regression"].cells:
        low, high = level.paired_interval95
        assert low < level.log_loss < high and high - low < np.ptp(level.interval95) / 2


def test_each_cell_is_compared_with_the_baseline_on_its_own_number_of_days():
    surface = surface_world(1)
    wobble = np.random.default_rng(2).normal(0, 0.01, (4, 400))
    curve = np.array([0.66, 0.62, 0.60, 0.58])
    surface.baselines["logistic_regression"] = list(curve[:, None] + wobble)
    result = fit_law(surface, SETTINGS)
    levels = result.baselines["logistic_regression"].cells
    for index, cell in enumerate(result.cells):
        row, level = cell.against["logistic_regression"], levels[index % 4]
        assert row.difference == pytest.approx(cell.log_loss - level.log_loss)
        assert row.interval95[0] < row.difference < row.interval95[1]


# --- coverage by simulation

WORLDS = {
    "no effect": (lambda x, z: 0 * x * z, 0.0, 0.0),
    "parameters": (lambda x, z: -0.01 * x, -0.01, 0.0),
    "days": (lambda x, z: -0.01 * z, 0.0, -0.01),
    "both": (lambda x, z: -0.01 * x - 0.01 * z, -0.01, -0.01),
    "a U in days": (lambda x, z: 0.15 * z**2, 0.0, 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "noise",
    [{}, {"seed": 0.01, "both": 0.0, "day": 0.005}],
    ids=["noise of all kinds", "seeds are nearly all of the noise"],
)
def test_intervals_cover_both_slopes_and_no_effect_is_invented(noise):
    covered, invented, mistaken, turned = [], [], [], {name: [] for name in WORLDS}
    for place, (name, (mean, *truths)) in enumerate(WORLDS.items()):
        for number in range(60):
            surface = surface_world([number, place], mean=mean, **noise)
            both = [axis_of(surface, name=axis) for axis in ("parameters", "train_days")]
            for axis, truth in zip(both, truths, strict=True):
                low, high = axis.slope.interval95
                covered.append(low < truth < high)
                if truth == 0:
                    invented.append(axis.verdict in ("improves", "inverse scaling"))
                else:
                    mistaken.append(axis.verdict not in ("improves", "inconclusive"))
            turned[name].append(both[1].bent)
    assert 0.90 <= np.mean(covered) <= 0.98
    assert np.mean(invented) <= 0.05
    assert np.mean(mistaken) <= 0.01
    assert np.mean(turned.pop("a U in days")) >= 0.95
    assert np.mean(list(turned.values())) <= 0.05


@pytest.mark.slow
def test_paired_intervals_cover_the_distance_of_each_cell_from_the_mean_of_all():
    covered = []
    for number in range(40):
        surface = surface_world(number, mean=lambda x, z: -0.01 * x + 0 * z)
        paired = paired_intervals(surface, SETTINGS)
        centre = np.mean([loss.mean() for loss in surface.losses])
        x = np.log10(FIVE[:3]) - np.log10(FIVE[:3]).mean()
        truths = np.repeat(-0.01 * x, 4)
        for (low, high), truth in zip(paired.cells, truths, strict=True):
            covered.append(low < centre + truth < high)
    assert 0.90 <= np.mean(covered) <= 0.98
