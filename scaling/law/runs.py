"""The forecasts of a study, run by run; models that cannot be compared are refused."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling import metrics
from scaling.errors import UserError
from scaling.metrics import Array
from scaling.run import WHOLE_BLOCK, Draw

NETWORK_COLUMNS = ("budget", "parameters", "seed", "date", "split", "y", "p")
BASELINE_COLUMNS = ("model", "date", "split", "y", "p")
DRAWS = get_args(Draw)
MARKETS = "markets"
BASE_RATE = "base_rate"  # the baseline that every study has
# Two runs whose probabilities differ by less on every day are one run. Another device changes the
# probabilities of the same weights by 1e-6, another seed by 1e-2.
SAME_FORECAST = 1e-5


# How many training days or markets were asked for, and how they were drawn. Replicates share both.
Sample = tuple[str, str]


class TrainDays(NamedTuple):
    """Which training days a model saw, or of which markets it saw all of them."""

    asked: str
    """How many were asked for: a number, or WHOLE_BLOCK."""
    draw: str
    """"recent" for the last days of the block, "blocks" for random calendar quarters of it, and
    MARKETS for all days of random markets."""
    counted: float
    """How many days there were; NaN if the predictions do not say, as a plain ladder's may."""
    markets: float
    """How many markets there were, or NaN."""

    @property
    def sample(self) -> Sample:
        """What replicates share; their counts may differ."""
        return self.asked, self.draw

    def __str__(self) -> str:
        return "" if self.asked == WHOLE_BLOCK else f" on {words_of(self.sample)}"


def words_of(sample: Sample) -> str:
    """`the whole training block`, `1000 recent training days` or `4 markets`."""
    asked, draw = sample
    if asked == WHOLE_BLOCK:
        return "the whole training block"
    return f"{asked} {draw}" if draw == MARKETS else f"{asked} {draw} training days"


class ModelId(NamedTuple):
    """What a trained network or a baseline is called."""

    name: str
    """The budget, or the name of the baseline."""
    seed: int
    """0 for a baseline."""
    parameters: int
    """0 for a baseline."""
    train_days: TrainDays

    def __str__(self) -> str:
        return f"{self.name}{f' seed {self.seed}' if self.parameters else ''}{self.train_days}"


class Model(NamedTuple):
    """One network or baseline on the test days of the study."""

    id: ModelId
    losses: Array
    """Log-loss of each test day, [days]; of several markets, their mean on the day."""
    validation: float
    """Mean validation log-loss; NaN for a baseline."""
    p: Array
    """The probability of each prediction row, [rows]."""


class TestDays(NamedTuple):
    """The test days, and the prediction rows of each: one, or one for each market that was open."""

    dates: pd.DatetimeIndex
    which: npt.NDArray[np.int64]
    """The place in `dates` of each row, [rows]."""
    folds: dict[int, int]
    """The test days of each fold, by its origin; empty where the years are cut once."""
    labels: npt.NDArray[np.int64]
    """Of each row, 0 or 1."""

    def means(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The mean of the rows of each day, [days].

        Markets move together. Days are therefore what the law resamples, and a market that is
        given twice weighs as much as one that is given once.
        """
        if len(self.which) == len(self.dates):
            return rows
        sums = np.bincount(self.which, rows, len(self.dates))
        return sums / np.bincount(self.which, minlength=len(self.dates))


class Runs(NamedTuple):
    """All models of a study, known to answer one question on the same days."""

    networks: list[Model]
    recalibrated: list[Model]
    """The same networks, each recalibrated on its own validation rows; empty without any."""
    baselines: list[Model]
    days: TestDays
    y: Array
    """Of each day the label, or of several markets the share of positives."""
    parameters: dict[str, int]
    """Counted, for each budget; the smallest first."""
    base_rates: dict[Sample, float]
    """Of each sample of training days, as the base-rate baseline predicts it."""


def read_runs(networks: pd.DataFrame, baselines: pd.DataFrame) -> Runs:
    """Check prediction rows and arrange them by model, networks by size and seed.

    `networks` has NETWORK_COLUMNS. If it also has `weights`, only the rows "mean" count, those of
    the mean of the weights over the last quarter of the training. `baselines` has BASELINE_COLUMNS,
    and its model `base_rate` always predicts the training base rate. A study with an axis of
    training days has three more columns in both: `train_days`, the number asked for, missing or
    "all" for the whole training block; `draw`, "recent" or "blocks"; and `counted_days`, the number
    that the model was trained on. In a study of several markets, `asset` names the market of each
    row; one with an axis of markets has `markets`, the number asked for, missing for all of them,
    and `counted_markets`. In a walk forward, `origin` is the first test year of the fold, and the
    folds of a model are joined. Without validation rows no validation loss is known. Raises
    UserError for missing columns, impossible values, days, folds or labels that differ between
    models, a run given twice, two runs with the same predictions, one budget with two counts, and
    fewer than two sizes.
    """
    if "weights" in networks:
        networks = networks[networks["weights"] == "mean"]
    _check_rows(networks, NETWORK_COLUMNS, "predictions")
    _check_rows(baselines, BASELINE_COLUMNS, "baselines")
    trained = _grouped(networks, ["budget", "seed"], sort=True)
    rivals = _grouped(baselines, ["model"], sort=False)
    days, on_test = _same_days([*trained, *rivals], "test")
    _refuse_copies([run for run, _ in trained], on_test[: len(trained)])
    validation = _validation_losses(trained)
    models = [
        _model(run, days, p, loss)
        for (run, _), p, loss in zip(
            [*trained, *rivals], on_test, [*validation, *[float("nan")] * len(rivals)], strict=True
        )
    ]
    recalibrated: list[Array] = []
    if not np.isnan(validation).any():
        changed = [(run, _recalibrated(rows)) for run, rows in trained]
        _, recalibrated = _same_days(changed, "test")
    return Runs(
        networks=models[: len(trained)],
        recalibrated=[
            _model(model.id, days, p, model.validation)
            for model, p in zip(models, recalibrated, strict=False)
        ],
        baselines=models[len(trained) :],
        days=days,
        y=days.means(days.labels),
        parameters=_parameters(trained),
        base_rates=_base_rates(rivals),
    )


def _model(run: ModelId, days: TestDays, p: Array, validation: float) -> Model:
    return Model(run, days.means(metrics.log_losses(days.labels, p)), validation, p)


def _recalibrated(rows: pd.DataFrame) -> pd.DataFrame:
    """A run's test rows after a logistic regression on its logit, fitted to its validation rows.

    Each fold has its own, and knows nothing of later ones.
    """
    found = []
    for _, fold in rows.groupby("origin"):
        before, test = (fold[fold["split"] == split] for split in ("validation", "test"))
        fitted = metrics.fit_recalibration(before["y"], before["p"])
        found.append(test.assign(p=fitted(test["p"])))
    return pd.concat(found)


def _grouped(
    frame: pd.DataFrame, keys: list[str], sort: bool
) -> list[tuple[ModelId, pd.DataFrame]]:
    """The rows of each run, by date and market. `keys` are budget and seed, or model."""
    found = []
    sample = ["train_days", "draw", "markets"]
    frame = with_training_days(frame).assign(asset=frame.get("asset", ""))
    frame = frame.sort_values(["date", "asset"], kind="stable")
    for _, rows in frame.groupby([*keys, *sample], sort=sort):
        first = rows.iloc[0]
        counted = rows.groupby("origin")["counted_days"]
        asked, drawn = first["train_days"], first["draw"]
        if first["markets"]:
            asked, drawn = str(first["markets"]), MARKETS
        which = TrainDays(asked, drawn, float(counted.first().mean()), first["counted_markets"])
        seed, parameters = int(first.get("seed", 0)), int(first.get("parameters", 0))
        run = ModelId(str(first[keys[0]]), seed, parameters, which)
        if (counted.nunique(dropna=False) > 1).any():
            raise UserError(f"{run}: counted_days differs between its rows; evaluate it again")
        if first["markets"] and first["train_days"] != WHOLE_BLOCK:
            raise UserError(
                f"{run} and {first['train_days']} training days: fewer of both are on no axis; "
                "allowed: fewer markets on all days, or fewer days of all markets"
            )
        if first["markets"] not in (0, first["counted_markets"]):
            raise UserError(f"{run}: was trained on {which.markets:g} of them; evaluate it again")
        found.append((run, rows))
    return found


def with_training_days(frame: pd.DataFrame) -> pd.DataFrame:
    """Prediction rows with all columns that say what was trained on, as `read_runs` reads them.

    An origin of 0 is that of no fold, and 0 markets are all of them.
    """
    asked = _or(frame, "train_days", WHOLE_BLOCK).astype(str)
    return frame.assign(
        train_days=asked,
        draw=_or(frame, "draw", DRAWS[0]).mask(asked == WHOLE_BLOCK, DRAWS[0]),
        counted_days=frame.get("counted_days", np.nan),
        origin=frame.get("origin", 0),
        markets=_or(frame, "markets", 0).astype(np.int64),
        counted_markets=frame.get("counted_markets", np.nan),
    )


def _or(frame: pd.DataFrame, name: str, missing: Any) -> "pd.Series[Any]":
    column = frame.get(name, pd.Series(missing, index=frame.index))
    # A column of nothing is one of numbers, which no text can fill.
    return column.astype(object if isinstance(missing, str) else column.dtype).fillna(missing)


def _check_rows(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        raise UserError(
            f"{what}: no column {', '.join(missing)}; needed: {', '.join(columns)}; "
            "write them with python -m scaling.evaluate (or scaling.judge_baselines)"
        )
    if not len(frame):
        raise UserError(f"{what}: no rows; run python -m scaling.evaluate again")
    if not frame["p"].between(0, 1).all():
        raise UserError(f"{what}: p outside [0, 1] or missing (logits?); run the evaluation again")
    if not frame["y"].isin((0, 1)).all():
        raise UserError(f"{what}: labels other than 0 and 1; run the evaluation again")


def _same_days(
    runs: Sequence[tuple[ModelId, pd.DataFrame]], split: str
) -> tuple[TestDays, list[Array]]:
    """A split's days and each run's probabilities, once all agree on days and labels.

    Probabilities are of each row, sorted by date and market as `_grouped` sorts them.
    """
    reference = ""
    agreed, labels, probabilities = pd.DataFrame(), np.array([], np.int64), []
    for run, rows in runs:
        rows = rows[rows["split"] == split]
        if not len(rows):
            raise UserError(f"{run}: no {split} rows; run python -m scaling.evaluate again")
        days = rows[["date", "asset", "origin"]].reset_index(drop=True)
        if not reference:
            _refuse_days_twice(run, days)
            reference, agreed, labels = str(run), days, rows["y"].to_numpy(np.int64)
        elif not days.equals(agreed):  # of equal days all was asked before
            _refuse_days_twice(run, days)
            _refuse_other_days(run, days, reference, agreed, split)
        if (rows["y"].to_numpy(np.int64) != labels).any():
            first = _date(days[rows["y"].to_numpy(np.int64) != labels])
            raise UserError(
                f"{run} and {reference} have different labels on {first}: they answer different "
                "questions; train and evaluate all with one config"
            )
        probabilities.append(rows["p"].to_numpy(np.float64))
    which, dates = pd.factorize(agreed["date"])
    places = which.astype(np.int64)
    return TestDays(pd.DatetimeIndex(dates), places, _folds(agreed), labels), probabilities


def _refuse_days_twice(run: ModelId, days: pd.DataFrame) -> None:
    if (twice := days.duplicated(["date", "asset"])).any():
        raise UserError(
            f"{run} has {_date(days[twice])} twice: the same size, seed and fold was "
            "given in two files, or evaluated twice; give each run once"
        )


def _refuse_other_days(
    run: ModelId, days: pd.DataFrame, reference: str, agreed: pd.DataFrame, split: str
) -> None:
    """Refuse days that differ by more than the types of their columns."""
    own, others = pd.MultiIndex.from_frame(days), pd.MultiIndex.from_frame(agreed)
    if not own.equals(others):
        odd = own.symmetric_difference(others)
        raise UserError(
            f"{run} was judged on {len(days)} {split} days and {reference} on {len(agreed)} "
            f"({len(odd)} differ, first {_date(odd.to_frame())}); models are comparable on the "
            "same days only: evaluate all with one config"
        )


def _folds(days: pd.DataFrame) -> dict[int, int]:
    """The number of days of each fold; the folds must follow one another."""
    by_date = days.drop_duplicates("date")["origin"]
    folds = Counter(by_date.astype(int).tolist())
    if not by_date.is_monotonic_increasing:
        raise UserError(
            f"predictions: the folds {' and '.join(map(str, sorted(folds)))} lie among one "
            "another; a fold is judged on days before the next one's: evaluate all with one config"
        )
    return {} if 0 in folds else dict(folds)


def _validation_losses(trained: Sequence[tuple[ModelId, pd.DataFrame]]) -> list[float]:
    """The mean validation loss of each run, in a walk forward that of its first fold.

    The validation years of later folds are test years of earlier ones, so they choose nothing.
    """
    before = [
        (run, rows[(rows["split"] == "validation") & (rows["origin"] == rows["origin"].min())])
        for run, rows in trained
    ]
    if not any(len(rows) for _, rows in before):
        return [float("nan")] * len(trained)
    days, forecasts = _same_days(before, "validation")
    return [float(metrics.log_losses(days.labels, p).mean()) for p in forecasts]


def _date(days: pd.DataFrame) -> str:
    """The date of the first of some rows."""
    return str(days["date"].iloc[0].date())


def _refuse_copies(runs: Sequence[ModelId], forecasts: Sequence[Array]) -> None:
    """Replicates measure the spread between seeds, so two runs may not be one and the same."""
    for j, later in enumerate(runs):
        for i, earlier in enumerate(runs[:j]):
            apart = float(np.abs(forecasts[i] - forecasts[j]).max())
            if apart < SAME_FORECAST:
                raise UserError(
                    f"{earlier} and {later} predict the same on every test day (the largest "
                    f"difference is {apart:.1g}): one is a copy of the other, or was trained with "
                    "its seed; delete the checkpoint of the wrong one, train it again with its own "
                    "seed and evaluate it"
                )


def _parameters(runs: Sequence[tuple[ModelId, pd.DataFrame]]) -> dict[str, int]:
    """The counted parameters of each size, smallest first; at least two different sizes."""
    counts: dict[str, int] = {}
    for run, rows in runs:
        found = {counts.get(run.name, run.parameters), *rows["parameters"].unique()}
        if len(found) > 1:
            raise UserError(
                f"budget {run.name} stands for {sorted(int(n) for n in found)} parameters; one "
                "size is one architecture: train its seeds again with one configs/model file"
            )
        counts[run.name] = run.parameters
    ordered = {budget: counts[budget] for budget in sorted(sorted(counts), key=counts.__getitem__)}
    if len(set(counts.values())) != len(counts) or len(counts) < 2:
        raise UserError(
            f"found the sizes {', '.join(f'{b} ({n:,})' for b, n in ordered.items())}; a law needs "
            "two or more different sizes: evaluate another budget, then fit again"
        )
    return ordered


def _base_rates(rivals: Sequence[tuple[ModelId, pd.DataFrame]]) -> dict[Sample, float]:
    """What the baseline `base_rate` predicts for each sample of training days.

    It is a constant in each fold, and here the mean of the folds.
    """
    return {
        run.train_days.sample: float(rows[["origin", "p"]].drop_duplicates()["p"].mean())
        for run, rows in rivals
        if run.name == BASE_RATE
    }
