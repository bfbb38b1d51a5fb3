"""Calibration stands apart from ranking: recalibrated log-loss and AUC beside plain log-loss."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from scaling.figures.page import ladder_page
from scaling.law.bootstrap import Settings, day_weights
from scaling.law.effects import slope_weights
from scaling.law.judge import fit_study
from scaling.law.result import Calibration, StudyLaw
from scaling.law.table import read_tables
from scaling.law.transfer import SizeRecipe
from scaling.metrics import fit_recalibration, log_loss, weighted_aucs
from scaling.record import provenance
from tests.figures.planted_study import Page
from tests.law.worlds import BASE_RATE, SIZES, sigmoid

Array = npt.NDArray[np.float64]
Rows = tuple[pd.DataFrame, pd.DataFrame]
SETTINGS = Settings(horizon=1, delta_fraction=0.01, samples=200)
VALIDATION, DAYS, SEEDS = 400, 600, (1, 2, 3)
POSITIONS = np.array([*SIZES.values()], float)


def study(noises: tuple[float, ...], boldness: tuple[float, ...], seed: int = 0) -> Rows:
    """Networks that see the truth through noise and say its logit times their boldness."""
    rng = np.random.default_rng(seed)
    n = VALIDATION + DAYS
    truth = rng.normal(-1, 1.5, n)
    days = pd.DataFrame(
        {
            "date": pd.bdate_range("2010-01-04", periods=n),
            "split": np.repeat(["validation", "test"], [VALIDATION, DAYS]),
            "y": (rng.random(n) < sigmoid(truth)).astype(np.int8),
        }
    )
    networks = [
        days.assign(
            p=sigmoid(bold * (truth + rng.normal(0, noise, n))),
            **{"budget": budget, "parameters": parameters, "seed": seed, "weights": "mean"},
        )
        for noise, bold, (budget, parameters) in zip(noises, boldness, SIZES.items(), strict=True)
        for seed in SEEDS
    ]
    return pd.concat(networks, ignore_index=True), days.assign(model="base_rate", p=BASE_RATE)


SHARPER_BUT_BOLDER = study(noises=(1.5, 1.0, 0.5), boldness=(1.0, 2.0, 4.0))
ALL_ALIKE = study(noises=(1.0, 1.0, 1.0), boldness=(1.0, 1.0, 1.0))


def judged(rows: Rows) -> StudyLaw:
    return fit_study(read_tables(*rows), SETTINGS)


def calibration(rows: Rows) -> Calibration:
    return judged(rows).calibration


def page_of(rows: Rows) -> Page:
    return Page(ladder_page(replace(judged(rows), provenance=provenance()), *rows))


def of_test(rows: Rows) -> pd.DataFrame:
    return rows[0][rows[0]["split"] == "test"]


def test_larger_networks_that_are_sharper_and_too_bold_are_worse_and_better_at_once() -> None:
    law = judged(SHARPER_BUT_BOLDER)
    assert law.ladder.parameters.verdict == "inverse scaling"
    found = law.calibration
    assert found.recalibrated and found.auc
    assert found.recalibrated.verdict == "improves"
    assert found.auc.side == 1
    assert found.sentence.startswith(
        "Bigger networks are worse by log-loss, better by log-loss once each is recalibrated on "
        "validation and better by AUC: these contradict each other"
    )
    page = page_of(SHARPER_BUT_BOLDER)
    assert "calibration" in page.ids and found.sentence in page.text


def test_where_no_size_differs_nothing_is_said() -> None:
    assert calibration(ALL_ALIKE).sentence == ""
    page = page_of(ALL_ALIKE)
    assert "calibration" not in page.ids
    assert "slope of the AUC" in page.text, "the numbers stand there all the same"


def test_a_sign_that_is_not_certain_contradicts_nothing() -> None:
    """Log-loss is certainly worse, and the two others lean the other way without being certain."""
    found = calibration(study(noises=(1.0, 0.98, 0.96), boldness=(1.0, 2.0, 4.0)))
    assert found.recalibrated and found.auc
    assert found.recalibrated.slope.estimate < 0 < found.auc.estimate
    assert "better nor worse by AUC: these do not contradict each other" in found.sentence


def test_no_sign_counts_where_the_spread_between_seeds_is_unknown() -> None:
    networks, baselines = SHARPER_BUT_BOLDER
    assert calibration((networks[networks["seed"] == 1], baselines)).sentence == ""


def test_a_difference_that_recipes_may_have_made_still_contradicts() -> None:
    untried = SizeRecipe("2m", 1e-3, 1e-3, 1e-3, 1e-3, 3, 0.0)
    law = fit_study(read_tables(*SHARPER_BUT_BOLDER), replace(SETTINGS, recipes=(untried,)))
    assert law.ladder.parameters.verdict == "recipe-bound"
    assert ": these contradict each other" in law.calibration.sentence


def test_a_size_with_one_seed_has_no_part_in_any_of_the_slopes() -> None:
    networks, baselines = SHARPER_BUT_BOLDER
    lone = networks[(networks["budget"] != "2m") | (networks["seed"] == 1)]
    without = networks[networks["budget"] != "2m"]
    assert calibration((lone, baselines)) == calibration((without, baselines))


def test_a_network_is_recalibrated_on_its_own_validation_rows_and_judged_on_test() -> None:
    """Validation is answered by other boldness than test, so test rows would tell otherwise."""
    networks, baselines = SHARPER_BUT_BOLDER
    before = networks["split"] == "validation"
    timid = networks["p"].where(~before, sigmoid(0.3 * np.log(networks["p"] / (1 - networks["p"]))))
    networks = networks.assign(p=timid)
    found = calibration((networks, baselines)).recalibrated
    losses: dict[str, list[list[float]]] = {"validation": [], "test": []}
    for fitted_to, of_size in losses.items():
        for budget in SIZES:
            own = [
                networks[(networks["budget"] == budget) & (networks["seed"] == seed)]
                for seed in SEEDS
            ]
            of_size.append([])
            for rows in own:
                parts = {split: part for split, part in rows.groupby("split")}
                fit = fit_recalibration(parts[fitted_to]["y"], parts[fitted_to]["p"])
                of_size[-1].append(log_loss(parts["test"]["y"], fit(parts["test"]["p"])))
    right, cheated = (slope_weights(POSITIONS) @ np.mean(of, axis=1) for of in losses.values())
    assert found and found.slope.estimate == pytest.approx(right, abs=1e-12)
    assert abs(right - cheated) > 0.01


def test_without_validation_rows_nothing_is_recalibrated() -> None:
    rows = of_test(SHARPER_BUT_BOLDER), SHARPER_BUT_BOLDER[1]
    found = calibration(rows)
    assert found.recalibrated is None and found.auc
    assert "recalibrated" not in found.sentence
    assert "recalibrated on validation" not in page_of(rows).text


def test_networks_that_all_say_the_base_rate_once_recalibrated_are_no_copies_of_each_other() -> (
    None
):
    networks, baselines = ALL_ALIKE
    constants = networks.groupby(["budget", "seed"]).ngroup() / 100 + 0.2
    found = calibration((networks.assign(p=constants), baselines))
    assert found.recalibrated and found.auc
    assert found.recalibrated.slope.estimate == pytest.approx(0, abs=1e-9)
    assert found.auc.estimate == pytest.approx(0, abs=1e-9)
    assert "by AUC" not in found.sentence or found.auc.side == 0


def test_the_auc_under_weights_is_that_of_scikit_learn_ties_included() -> None:
    rng = np.random.default_rng(5)
    y, p = rng.integers(0, 2, 300), rng.normal(size=300).round(1)
    weights = rng.integers(0, 4, (20, 300)).astype(float)
    expected = [roc_auc_score(y, p, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(weighted_aucs(y, p, weights), expected, rtol=0, atol=1e-12)
    assert np.isnan(weighted_aucs(y, p, [np.where(y == 1, 1.0, 0.0)])).all()


def test_the_slope_of_the_auc_and_its_variance_over_days_are_those_of_scikit_learns_aucs() -> None:
    settings = replace(SETTINGS, samples=30)
    law = fit_study(read_tables(*SHARPER_BUT_BOLDER), settings)
    block = law.ladder.parameters.block_length
    drawn = day_weights(DAYS, block, settings.samples, settings.seed)
    of_size = [rows for _, rows in of_test(SHARPER_BUT_BOLDER).groupby("parameters")]

    def slope(weight: Array) -> float:
        aucs = [
            np.mean(
                [
                    roc_auc_score(own["y"], own["p"], sample_weight=weight)
                    for _, own in rows.groupby("seed")
                ]
            )
            for rows in of_size
        ]
        return float(slope_weights(POSITIONS) @ aucs)

    found = law.calibration.auc
    assert found
    assert found.estimate == pytest.approx(slope(np.ones(DAYS)), abs=1e-12)
    variance = np.var([slope(weight) for weight in drawn], ddof=1)
    assert found.day_variance == pytest.approx(variance, rel=1e-9)


def test_the_interval_of_the_auc_widens_with_the_spread_between_seeds() -> None:
    networks, baselines = ALL_ALIKE
    rng = np.random.default_rng(6)
    noises = {key: rng.uniform(0, 4) for key in networks.groupby(["budget", "seed"]).groups}
    noise = [noises[key] for key in zip(networks["budget"], networks["seed"], strict=True)]
    logits = np.log(networks["p"] / (1 - networks["p"])) + rng.normal(size=len(networks)) * noise
    apart = calibration((networks.assign(p=sigmoid(logits)), baselines)).auc
    alike = calibration(ALL_ALIKE).auc
    assert apart and alike and apart.seed_variance and alike.seed_variance
    assert apart.seed_variance > 10 * alike.seed_variance
    (low, high), error = apart.interval95, np.sqrt(apart.day_variance)
    assert high - low > 1.5 * 2 * 1.96 * error, "the days alone would be too narrow"
    assert apart.degrees_of_freedom < alike.degrees_of_freedom


def test_days_of_one_class_have_no_auc() -> None:
    networks, baselines = SHARPER_BUT_BOLDER
    all_rise = [
        frame.assign(y=frame["y"].where(frame["split"] != "test", 1))
        for frame in (networks, baselines)
    ]
    assert calibration((all_rise[0], all_rise[1])).auc is None


def test_each_fold_of_a_walk_is_recalibrated_and_ranked_by_itself() -> None:
    """The networks of one fold are bolder and higher than those of the other, which tells nothing
    of sizes: pooled days would be ranked by it, and validation of both folds would be a mixture.
    """
    folds = [study((1.5, 1.0, 0.5), (1.0, 1.0, 1.0), seed=number) for number in (0, 1)]
    later = pd.Timedelta(days=5 * 365)
    walk = [
        pd.concat(
            frame.assign(origin=2012 + 5 * number, date=frame["date"] + number * later)
            for number, frame in enumerate(frames)
        )
        for frames in zip(*folds, strict=True)
    ]
    networks, baselines = (frame.reset_index(drop=True) for frame in walk)
    logits = np.log(networks["p"] / (1 - networks["p"]))
    second = networks["origin"] == 2017
    other = networks.assign(p=networks["p"].where(~second, sigmoid(2 * logits + 1)))
    before, after = (judged((rows, baselines)) for rows in (networks, other))
    slopes = [law.ladder.parameters.slope.estimate for law in (before, after)]
    assert abs(slopes[0] - slopes[1]) > 0.005
    one, two = before.calibration, after.calibration
    assert one.recalibrated and two.recalibrated and one.auc and two.auc
    assert [fold.origin for fold in two.recalibrated.folds] == [2012, 2017]
    recalibrated = one.recalibrated.slope.estimate, two.recalibrated.slope.estimate
    assert recalibrated[0] == pytest.approx(recalibrated[1], abs=1e-5)
    assert one.auc.estimate == pytest.approx(two.auc.estimate, abs=1e-12)
    by_fold = [calibration(fold).auc for fold in folds]
    expected = np.mean([found.estimate for found in by_fold if found])
    assert one.auc.estimate == pytest.approx(expected, abs=1e-12)
