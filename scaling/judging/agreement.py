"""The numbers of one study, computed again from its predictions: every file must say the same.

An evaluation, a baseline or a law that does not follow from the predictions is stale, was changed
by hand, or was made by other code. None of them may reach the page.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import pandas as pd

from scaling.config import EarningsConfig, TaskConfig
from scaling.errors import UserError
from scaling.judging.run_files import name_in
from scaling.judging.study_files import StudyFiles
from scaling.law.beyond_volatility import with_what_is_beyond_volatility
from scaling.law.cells import Cell
from scaling.law.direction import Direction
from scaling.law.earnings import Earnings
from scaling.law.judge import fit_study
from scaling.law.result import StudyLaw
from scaling.law.runs import BASE_RATE, words_of
from scaling.law.table import read_tables
from scaling.metrics import Recalibration, score
from scaling.run import BASELINES, Run, RunName, Values

# The same sum differs by 1e-15 between machines, and JSON keeps every digit.
ROUNDING = 1e-9
# Measures over bins are not compared: a forecast on the edge of a bin may fall to either side.
MEASURES = (
    *("n", "positives", "log_loss", "log_loss_skill", "d2_log_loss", "brier", "brier_skill"),
    *("auc", "average_precision"),
)
SCORED = ("validation", "test", "test_recalibrated")

Numbers = dict[str, float | None]
Rates = dict[int | None, float]  # by fold; of a study that does not walk, the only one


def require_agreement(study: StudyFiles) -> None:
    """Refuse a study whose numbers do not follow from its predictions and from one base rate.

    Raises `UserError` naming the file, the number, what it should be, and what makes it again.
    """
    first = reversed(study.records)  # of each fold the first one stays
    rates = {name_in(record).origin: record["train_base_rate"] for record in first}
    _require_one_base_rate(study, rates)
    for file, made, models, column, rows in _judged(study):
        rate = rates[name_in(made).origin]
        own = _rows_of(rows, name_in(made))
        for name, said in models.items():
            found = _scores(own[own[column] == name], said["recalibration"], rate)
            _require_equal(study, file, _measures(said), found)
    _require_equal(study, "scaling_law.json", _law_says(study.law), _law_should_say(study))


def _rows_of(rows: pd.DataFrame, run: RunName) -> pd.DataFrame:
    """The prediction rows of one run, or of the baselines on its training days."""
    said = run.columns()
    said["markets"] = run.markets or 0
    asked = [key for key in said if run.budget != BASELINES or key not in ("budget", "seed")]
    return rows[(rows[asked] == [said[key] for key in asked]).all(axis=1)]


def _judged(study: StudyFiles) -> Iterator[tuple[str, Values, Values, str, pd.DataFrame]]:
    """Each evaluation, and each record of baselines: its file, its content and its models.

    The last two are the column that names the models in the predictions, and the predictions.
    """
    for made in study.evaluations:
        yield f"{made['run']}.eval.json", made, made["metrics"], "weights", study.predictions
    for made in study.baselines:
        yield f"{made['run']}.json", made, made["models"], "model", study.baseline_predictions


# --- one base rate ---------------------------------------------------------------------------


def _require_one_base_rate(study: StudyFiles, rates: Rates) -> None:
    """All skill is over the share of positives in the training block, as the trainings found it.

    Each fold of a walk has its own. The law has their mean.
    """
    of_law = ("scaling_law.json", fmean(rates.values()), study.law.base_rate)
    for file, rate, said in (*_base_rates(study, rates), of_law):
        if not math.isclose(said, rate, rel_tol=ROUNDING):
            raise UserError(
                f"{file}: its base rate is {said:.6f}, but networks were trained on {rate:.6f}, "
                "and skill has one base rate, that of the training block; make it again: snakemake "
                f"--force {_path(study, file)}"
            )


def _base_rates(study: StudyFiles, rates: Rates) -> Iterator[tuple[str, float, float]]:
    """Each file, the base rate of its fold, and each that it states or was computed with."""
    for record in study.records:
        yield f"{record['run']}.ckpt", rates[name_in(record).origin], record["train_base_rate"]
    for file, made, models, *_ in _judged(study):
        rate = rates[name_in(made).origin]
        yield file, rate, made["train_base_rate"]
        for model in models.values():
            for block in SCORED:
                yield file, rate, model[block]["base_rate"]
    for made in study.ladder.baselines:
        rows = _rows_of(study.baseline_predictions, name_in(made))
        for p in rows.loc[rows["model"] == BASE_RATE, "p"].unique():
            yield f"{made['run']}.predictions.parquet", rates[name_in(made).origin], p


# --- losses and skill ------------------------------------------------------------------------


def _measures(scores: Mapping[str, Any]) -> Numbers:
    """The compared measures of one model, as `test log_loss`."""
    return {
        f"{block} {measure}": scores[block][measure] for block in SCORED for measure in MEASURES
    }


def _scores(rows: pd.DataFrame, recalibration: Mapping[str, float], base_rate: float) -> Numbers:
    """The compared measures of one model's prediction rows; none where a block has no rows."""
    validation, test = (rows[rows["split"] == block] for block in ("validation", "test"))
    if validation.empty or test.empty:
        return {}
    recalibrated = Recalibration(**recalibration)(test["p"])
    return _measures(
        {
            "validation": score(validation["y"], validation["p"], base_rate),
            "test": score(test["y"], test["p"], base_rate),
            "test_recalibrated": score(test["y"], recalibrated, base_rate),
        }
    )


def _law_says(law: StudyLaw) -> Numbers:
    """The test losses and skills in the law's file, of the ladder and of each surface."""
    said = _cells_say(law.ladder.cells, "") | _beyond_volatility(law)
    if law.calibration.recalibrated:
        said["slope of recalibrated log-loss"] = law.calibration.recalibrated.slope.estimate
    if law.calibration.auc:
        said["slope of the AUC"] = law.calibration.auc.estimate
    for name, row in law.best_network.against.items():
        said |= {f"log_loss of {name}": row.log_loss, f"skill of {name}": row.skill}
    for draw, surface in law.surfaces.items():
        said |= _cells_say(surface.cells, draw)
        for name, baseline in surface.baselines.items():
            for cell in baseline.cells:
                said[f"log_loss of {_where(name, cell.train_days, draw)}"] = cell.log_loss
    return said


def _beyond_volatility(law: StudyLaw) -> Numbers:
    """The numbers of the ladder that are held against the volatility model's."""
    said: Numbers = {}
    if isinstance(law.direction, Direction):
        said["skill of volatility alone"] = law.direction.volatility_skill
        for name, ranking in law.direction.rankings.items():
            said[f"AUC of {name}"] = ranking.auc.value
        for size, added in law.direction.additions.items():
            said[f"gain of {size} over volatility"] = added.gain.value
    if isinstance(law.earnings, Earnings):
        for at in law.earnings.costs:
            for name, result in at.results.items():
                said[f"Sharpe ratio of {name} at {at.cost_bp:g} bp"] = result.sharpe
    return said


def _cells_say(cells: Sequence[Cell], draw: str) -> Numbers:
    said: Numbers = {}
    for cell in cells:
        where = _where(cell.budget, cell.train_days, draw)
        together = cell.ensemble.log_loss if cell.ensemble else None
        said |= {f"skill of {where}": cell.skill, f"ensemble of {where}": together}
        for seed, loss in zip(cell.seeds, cell.seed_log_losses, strict=True):
            said[f"log_loss of {where} seed {seed}"] = loss
    return said


def _where(name: str, asked: str, draw: str) -> str:
    """A cell of a surface, or of the ladder, which has no draw."""
    return f"{name} on {words_of((asked, draw))}" if draw else name


def _law_should_say(study: StudyFiles) -> Numbers:
    """The same of the law that is fitted again. No interval is compared, so few draws are made."""
    rows = (study.predictions, study.baseline_predictions)
    again = fit_study(read_tables(*rows), replace(study.law.settings, samples=50))
    task = TaskConfig(**Run(**study.law.runs[0]).settings["task"])
    rules = EarningsConfig(**study.law.made_by["earnings"])
    return _law_says(with_what_is_beyond_volatility(again, *rows, task, rules))


def _require_equal(study: StudyFiles, file: str, said: Numbers, found: Numbers) -> None:
    for name in {**said, **found}:
        stated, computed = said.get(name), found.get(name)
        if not _equal(stated, computed):
            raise UserError(
                f"{file}: says {name} {stated}, its predictions give {computed}; make it again: "
                f"snakemake --force {_path(study, file)}"
            )


def _equal(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _path(study: StudyFiles, file: str) -> str:
    return f"results/{study.law.experiment}/{file}"
