"""No page is made of numbers that disagree: each mistake is planted in a sound study and caught."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from scaling import report
from scaling.errors import UserError
from scaling.metrics import log_loss_skill, score
from scaling.record import file_md5, read_json, write_json
from tests.figures.planted_study import (
    BASE_RATE,
    RUNS,
    Market,
    change,
    flags_of,
    nudge,
    put,
    read_page,
    remake,
    reported,
    rewrite,
    spoil,
    write_law,
    write_run,
)

AGAIN = "snakemake --force results/daily/planted"


def refused(study: Path, message: str, makes_it_again: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        report.main(flags_of(study))
    assert f"{AGAIN}/{makes_it_again}" in str(caught.value)


def swap(a: Path, b: Path) -> None:
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


# --- files of two trainings ------------------------------------------------------------------


def test_an_evaluation_from_before_the_run_was_trained_again_is_refused(study: Path) -> None:
    remake(study / "2m.seed43.json", "settings.optimiser.epochs", 9)
    message = "2m.seed43.eval.json: optimiser.epochs is 5, not 9; the run was trained again"
    refused(study, message, "2m.seed43.eval.json")


def test_a_law_of_a_training_before_the_last_one_is_refused(study: Path) -> None:
    for suffix in ("json", "eval.json"):
        remake(study / f"2m.{suffix}", "settings.optimiser.epochs", 9)
    message = "scaling_law.json: optimiser.epochs is 5, not 9"
    refused(study, message, "scaling_law.json")


@pytest.mark.parametrize("digest", ["initial_weights", "sample_order"])
def test_two_seeds_of_a_budget_that_share_a_digest_are_no_replicates(
    study: Path, digest: str
) -> None:
    shared = read_json(study / "2m.json")[digest]
    change(study / "2m.seed43.json", **{digest: shared})
    refused(study, f"2m and 2m.seed43 .*{digest}.*no replicates", "2m.seed43.ckpt")


def test_two_swapped_checkpoints_are_refused(study: Path) -> None:
    swap(study / "2m.ckpt", study / "2m.seed43.ckpt")
    refused(study, "2m.ckpt is not the file that was evaluated", "2m.eval.json")


@pytest.mark.parametrize("suffix", ["json", "eval.json"])
def test_two_swapped_records_or_evaluations_are_refused(study: Path, suffix: str) -> None:
    swap(study / f"2m.{suffix}", study / f"2m.seed43.{suffix}")
    with pytest.raises(UserError, match=f"2m.{suffix}: holds the run 2m.seed43, not 2m;"):
        report.main(flags_of(study))


def test_a_page_can_be_made_where_the_checkpoints_are_not(study: Path) -> None:
    for run in RUNS:
        (study / f"{run}.ckpt").unlink()
    report.main(flags_of(study))


def test_predictions_that_were_written_anew_without_an_evaluation_are_refused(study: Path) -> None:
    path = study / "2m.predictions.parquet"
    rewrite(path, pd.read_parquet(path).iloc[::-1])
    write_law(study)
    refused(study, "2m: its predictions are not those that the evaluation wrote", "2m.eval.json")


def test_an_evaluation_that_names_no_predictions_is_refused(study: Path) -> None:
    path = study / "2m.eval.json"
    write_json(path, {k: v for k, v in read_json(path).items() if k != "predictions_md5"})
    refused(study, "2m: its predictions are not those that the evaluation wrote", "2m.eval.json")


def test_a_law_from_before_the_last_evaluation_is_refused(study: Path) -> None:
    evaluation = read_json(study / "2m.eval.json")
    write_run(study, "2m", 42, Market().forecast(0.9), evaluation["drift"])
    refused(study, "the law was not fitted to this file", "scaling_law.json")


# --- predictions that are not what was measured ----------------------------------------------


def rolled(p: pd.Series) -> np.ndarray:
    return np.roll(p, 1)


def platt_scaled(p: pd.Series) -> np.ndarray:
    return np.asarray(expit(1.2 * logit(p) + 0.1))


def shuffled(p: pd.Series) -> np.ndarray:
    return np.random.default_rng(0).permutation(p)


MISTAKES = [rolled, platt_scaled, shuffled]


@pytest.mark.parametrize(
    ("mistake", "split", "weights"),
    [
        *((mistake, "test", "mean") for mistake in MISTAKES),
        *((rolled, *rows) for rows in (("validation", "mean"), ("validation", "last"))),
        (rolled, "test", "last"),
    ],
)
def test_predictions_that_were_changed_before_they_were_written_are_refused(
    study: Path, mistake: Callable[[pd.Series], np.ndarray], split: str, weights: str
) -> None:
    path = study / "2m.predictions.parquet"
    rows = pd.read_parquet(path)
    spoilt = (rows["split"] == split) & (rows["weights"] == weights)
    rows.loc[spoilt, "p"] = mistake(rows.loc[spoilt, "p"])
    rewrite(path, rows)
    change(study / "2m.eval.json", predictions_md5=file_md5(path))
    write_law(study)
    refused(study, f"2m.eval.json: says {split}.*its predictions give", "2m.eval.json")


def test_a_baseline_that_was_changed_after_it_was_measured_is_refused(study: Path) -> None:
    path = study / "baselines.predictions.parquet"
    rows = pd.read_parquet(path)
    spoilt = (rows["split"] == "test") & (rows["model"] == "logistic_regression")
    rows.loc[spoilt, "p"] = rolled(rows.loc[spoilt, "p"])
    rewrite(path, rows)
    write_law(study)
    refused(study, "baselines.json: says test.*its predictions give", "baselines.json")


def test_predictions_without_the_rows_of_the_run_are_refused(study: Path) -> None:
    path = study / "2m.predictions.parquet"
    rows = pd.read_parquet(path)
    rewrite(path, rows[rows["weights"] == "mean"])
    change(study / "2m.eval.json", predictions_md5=file_md5(path))
    write_law(study)
    refused(study, "2m.eval.json: says .*its predictions give None", "2m.eval.json")


# --- one base rate ---------------------------------------------------------------------------


def with_skill_over(study: Path, base_rate: float, stated: float) -> None:
    """Write the evaluation of 2m with the skill over one base rate, and state another or none."""
    rows = pd.read_parquet(study / "2m.predictions.parquet")
    rows = rows[(rows["split"] == "test") & (rows["weights"] == "mean")]
    metrics = read_json(study / "2m.eval.json")["metrics"]
    metrics["mean"]["test"] = {
        **score(rows["y"], rows["p"], stated),
        "log_loss_skill": log_loss_skill(rows["y"], rows["p"], base_rate),
    }
    change(study / "2m.eval.json", metrics=metrics)


def test_skill_over_the_base_rate_of_the_test_days_is_refused(study: Path) -> None:
    of_test = read_json(study / "2m.eval.json")["metrics"]["mean"]["test"]["prevalence"]
    with_skill_over(study, of_test, stated=of_test)
    refused(study, "2m.eval.json: its base rate is 0.134.* trained on 0.150000", "2m.eval.json")


def test_skill_over_another_base_rate_than_the_one_stated_is_refused(study: Path) -> None:
    of_test = read_json(study / "2m.eval.json")["metrics"]["mean"]["test"]["prevalence"]
    with_skill_over(study, of_test, stated=BASE_RATE)
    refused(study, "2m.eval.json: says test log_loss_skill", "2m.eval.json")


@pytest.mark.parametrize(
    ("file", "key", "named"),
    [
        ("2m.json", "train_base_rate", "2m.ckpt"),
        ("baselines.json", "train_base_rate", "baselines.json"),
        ("scaling_law.json", "base_rate", "scaling_law.json"),
    ],
)
def test_a_run_of_another_base_rate_is_refused(
    study: Path, file: str, key: str, named: str
) -> None:
    change(study / file, **{key: 0.16})
    refused(study, f"{named}: its base rate is 0.160000, but networks were trained on", named)


def test_baselines_that_predict_another_base_rate_are_refused(study: Path) -> None:
    path = study / "baselines.predictions.parquet"
    rows = pd.read_parquet(path)
    rows.loc[rows["model"] == "base_rate", "p"] = 0.16
    rewrite(path, rows)
    write_law(study)
    refused(study, "its base rate is 0.160000", "baselines.predictions.parquet")


# --- the law ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("direction.rankings.2m.auc.value", "AUC of 2m"),
        ("direction.additions.200k.gain.value", "gain of 200k over volatility"),
        ("earnings.costs.1.results.garch.sharpe", "Sharpe ratio of garch at 5 bp"),
        ("calibration.recalibrated.slope.estimate", "slope of recalibrated log-loss"),
        ("calibration.auc.estimate", "slope of the AUC"),
        ("ladder.cells.0.seed_log_losses.1", "log_loss of 200k seed 43"),
        ("ladder.cells.2.skill", "skill of 2m"),
        (
            "ladder.best_network.against.logistic_regression.log_loss",
            "log_loss of logistic_regression",
        ),
    ],
)
def test_a_law_that_does_not_follow_from_the_predictions_is_refused(
    study: Path, number: str, name: str
) -> None:
    spoil(study / "scaling_law.json", lambda law: nudge(law, number))
    refused(study, f"scaling_law.json: says {name}", "scaling_law.json")


@pytest.mark.parametrize(
    ("part", "instead", "name"),
    [
        ("direction", {"reason": "it did not look good"}, "skill of volatility alone"),
        ("calibration.recalibrated", None, "slope of recalibrated log-loss"),
    ],
)
def test_a_law_without_an_answer_that_its_predictions_give_is_refused(
    study: Path, part: str, instead: Any, name: str
) -> None:
    spoil(study / "scaling_law.json", lambda law: put(law, part, instead))
    refused(study, f"scaling_law.json: says {name} None", "scaling_law.json")


# --- another recipe --------------------------------------------------------------------------


def test_another_recipe_at_another_size_stands_beside_the_verdict(
    made: Path, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "differences" not in read_page(made).ids
    law = read_json(study / "scaling_law.json")
    for run in ("2m", "2m.seed43"):
        for suffix in ("json", "eval.json"):
            made_with = read_json(study / f"{run}.{suffix}")["identity"]
            changed = {**made_with, "precision": "bf16", "micro_batch": 8}
            change(study / f"{run}.{suffix}", identity=changed)
        law["runs"][law["runs"].index(made_with)] = changed
    write_json(study / "scaling_law.json", law)
    page, printed = reported(study), capsys.readouterr().out
    assert page.ids.index("verdict") < page.ids.index("differences") < page.ids.index("ladder")
    for line in ("precision: fp32 for 200k, 600k; bf16 for 2m", "micro_batch: 32 for 200k, 600k"):
        assert line in page.text
        assert f"besides size, the runs differ in {line}" in printed
