"""The forecasters that a network must beat, fitted on the same rows and judged on the same days.

Three see the last row of each window, 20 standardised features. Three see volatility alone, and the
base rate sees nothing. Fitting reads no test row: settings are fixed, or chosen by validation
log-loss as the networks' are.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.config import TaskConfig
from scaling.data.dataset import Indices, Study, threshold_labels
from scaling.judging.checks import Check, check
from scaling.judging.scores import BLOCKS, scores
from scaling.judging.volatility import (
    RECENT_DAYS,
    Garch,
    History,
    NotConverged,
    by_history,
    har_inputs,
    over_markets,
    recent_rate,
)
from scaling.law.runs import BASE_RATE
from scaling.metrics import Array, log_loss
from scaling.run import RunName

Forecast = Callable[[Study, Indices], Array]
Fits = dict[str, Callable[[], list["Baseline"]]]
MOVES = ("up", "down")
SEED = 0
# The inverse strength of logistic regression's penalty; scikit-learn's own is 1.
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
LEAF_SIZES = (25, 50, 100, 200)
TREES = 300
BOOSTING_ROUNDS = 300
# How many days at the base rate a recent frequency is averaged with: no event would be impossible.
BASE_RATE_DAYS = (5, 11, 22, 44, 88)
# All others of features are fitted to the rows of all markets together, as the networks are.
PER_MARKET = "logistic_regression_per_market"
# Days of validation and test whose forecasts are asked for again with another future.
SPOILT_DAYS = 13


@dataclass(frozen=True)
class Baseline:
    """A fitted forecaster, (study, rows [n]) -> probability [n], and its chosen settings."""

    predict: Forecast
    settings: dict[str, Any] = field(default_factory=dict)


class Fitted(NamedTuple):
    """The baselines by name, and why any is missing."""

    baselines: dict[str, Baseline]
    missing: dict[str, str]


def last_rows(study: Study, rows: Indices) -> Array:
    """The standardised features of some rows of a study, [n, channels]."""
    features: Array = study.dataset.features.cpu().numpy()[rows].astype(np.float64)
    return features


def volatility_rows(study: Study, rows: Indices) -> Array:
    """What `har` sees on some rows of a study, [n, inputs]."""
    return over_markets(study, rows, lambda _, history, days: har_inputs(history, days))


def fit_baselines(study: Study, task: TaskConfig) -> Fitted:
    """Every baseline that could be fitted, by name.

    `study` needs only the train and validation blocks. Validation only chooses settings.
    """
    x, y = last_rows(study, study.samples["train"]), study.labels("train")
    rate = _base_rate(study)
    fits: Fits = {
        BASE_RATE: lambda: [Baseline(lambda _, r: np.full(len(r), rate), {"base_rate": rate})],
        **_fits_of_volatility(study, task),
        "logistic_regression": lambda: [_logistic(last_rows, x, y, c) for c in PENALTIES],
        "random_forest": lambda: [_forest(x, y, leaf) for leaf in LEAF_SIZES],
        "gradient_boosting": lambda: _boosting(x, y),
    }
    if len(study.judged) > 1 and _each_is_trained_on(study):
        fits[PER_MARKET] = lambda: [_logistic_per_market(study, c) for c in PENALTIES]
    fitted, missing = {}, {}
    for name, fit in fits.items():
        try:
            fitted[name] = _best(fit(), study)
        except NotConverged as error:
            missing[name] = str(error)
    return Fitted(fitted, missing)


def _fits_of_volatility(study: Study, task: TaskConfig) -> Fits:
    x, y = volatility_rows(study, study.samples["train"]), study.labels("train")
    rate = _base_rate(study)
    fits: Fits = {
        "recent_rate": lambda: [_recent(task, rate, days) for days in BASE_RATE_DAYS],
        "garch": lambda: [_garch(study, task)],
        "har": lambda: [_logistic(volatility_rows, x, y, c) for c in PENALTIES],
    }
    if not _each_is_trained_on(study):
        del fits["garch"]
    return fits


def _each_is_trained_on(study: Study) -> bool:
    """Whether a model of one market can be had for each that is judged."""
    return {*study.judged} <= {*study.trained}


def _base_rate(study: Study) -> float:
    """Of the judged markets' training days."""
    return float(study.of(study.judged).labels("train").mean())


def _best(tried: list[Baseline], study: Study) -> Baseline:
    """The one with the lowest validation log-loss; its settings tell of all that were tried."""
    rows, y = study.samples["validation"], study.labels("validation")
    losses = [log_loss(y, baseline.predict(study, rows)) for baseline in tried]
    chosen = tried[int(np.argmin(losses))]
    settings = {**chosen.settings, "validation_log_loss": min(losses)}
    if len(tried) > 1:
        settings["tried"] = [
            {**other.settings, "validation_log_loss": loss}
            for other, loss in zip(tried, losses, strict=True)
        ]
    return Baseline(chosen.predict, settings)


def volatility_ignores_the_future(study: Study, task: TaskConfig) -> Check:
    """Forecasts of volatility alone are the same, bit for bit, whatever follows their day.

    All later closes and ranges are replaced: those after the training block before the models are
    fitted, and those after a day before its forecast is asked for.
    """
    judged = np.concatenate([study.samples[block] for block in BLOCKS])
    rows = judged[np.linspace(0, len(judged) - 1, SPOILT_DAYS).astype(int)]
    trained = study.samples["train"]
    unseen = _spoilt(study, trained[np.argmax(study.dates[trained])] + task.horizon)
    refitted = _fits_of_volatility(unseen, task)
    changed: dict[str, str] = {}
    for name, fit in _fits_of_volatility(study, task).items():
        for fitted, again in zip_longest(_converged(fit), _converged(refitted[name])):
            for row in rows:
                p = {_forecast(fitted, study, row), _forecast(again, study, row)}
                if len(p | {_forecast(fitted, _spoilt(study, row), row)}) > 1:
                    changed.setdefault(name, str(study.dates[row]))
    return check(
        "volatility baselines do not see the future",
        not changed,
        ", ".join(f"{name} (first on {day})" for name, day in changed.items())
        or f"no forecast changes on {len(rows)} days when all later prices are replaced",
        "the same forecasts, bit for bit",
        "the baselines leak the future, so networks are held against what nobody can know",
    )


def _spoilt(study: Study, row: int) -> Study:
    """The study with other closes and ranges in all markets after the date of `row`."""
    later = study.dates > study.dates[row]
    noise = np.exp(np.random.default_rng(SEED).normal(0, 0.1, len(later)) * later)
    return replace(study, close=study.close * noise, ranges=study.ranges * noise)


def _forecast(baseline: Baseline | None, study: Study, row: int) -> float | None:
    return None if baseline is None else float(baseline.predict(study, np.array([row]))[0])


def _converged(fit: Callable[[], list[Baseline]]) -> list[Baseline]:
    try:
        return fit()
    except NotConverged:
        return []


def outcomes(study: Study, rows: Indices, task: TaskConfig) -> pd.DataFrame:
    """What followed each of some rows: `rises` and `falls` by the threshold, 0 or 1, and the
    `next_return`, that of the next day as a fraction.
    """

    def ask(_: str, past: History, days: Indices) -> Array:
        moves = [threshold_labels(past.close, task.threshold, task.horizon, d)[days] for d in MOVES]
        return np.column_stack([*moves, past.close[days + 1] / past.close[days] - 1])

    found = pd.DataFrame(over_markets(study, rows, ask), columns=["rises", "falls", "next_return"])
    return found.astype({"rises": np.int8, "falls": np.int8})


def judge(
    baselines: Mapping[str, Baseline], study: Study, task: TaskConfig, run: RunName
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Predict validation and test with each baseline, and score the predictions.

    Returns rows of model, training days, date, split, y, p and `outcomes`, and for each baseline
    its settings and metrics. `run` tells the training days.
    """
    frames, models = [], {}
    days = {k: v for k, v in run.columns().items() if k not in ("budget", "seed")}
    days |= study.counted
    for name, baseline in baselines.items():
        p = {block: baseline.predict(study, study.samples[block]) for block in BLOCKS}
        for block in BLOCKS:
            rows = {"model": name, **days, **study.days(block), "split": block}
            found = pd.DataFrame(rows | {"y": study.labels(block), "p": p[block]})
            frames.append(found.join(outcomes(study, study.samples[block], task)))
        models[name] = {"settings": baseline.settings, **scores(study, p)}
    return pd.concat(frames, ignore_index=True), models


def _recent(task: TaskConfig, rate: float, days: int) -> Baseline:
    def predict(study: Study, rows: Indices) -> Array:
        recent = over_markets(study, rows, lambda _, past, days: recent_rate(past, days, task))
        return (RECENT_DAYS * recent + days * rate) / (RECENT_DAYS + days)

    return Baseline(predict, {"days": RECENT_DAYS, "base_rate_days": days})


def _garch(study: Study, task: TaskConfig) -> Baseline:
    """A model for each judged market, fitted to its own training days."""
    own = study.of(study.judged)
    models = {}
    for name, history, days, _ in by_history(own, own.samples["train"]):
        try:
            models[name] = Garch.fit(history, days)
        except NotConverged as error:
            raise NotConverged(f"{error} for the returns of {name}") from None

    def predict(study: Study, rows: Indices) -> Array:
        return over_markets(
            study, rows, lambda name, past, days: models[name].probabilities(past, days, task)
        )

    return Baseline(predict, {name: asdict(model) for name, model in models.items()})


def _logistic(inputs: Forecast, x: Array, y: npt.NDArray[np.int8], penalty: float) -> Baseline:
    """Fitted to `inputs` of the training rows, `x` [n, inputs]; they are standardised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=2000)).fit(x, y)
    return Baseline(_positive(model, inputs), {"C": penalty})


def _logistic_per_market(study: Study, penalty: float) -> Baseline:
    """A logistic regression for each judged market, fitted to its own training rows."""
    models = {}
    for name in study.judged:
        own = study.of([name])
        x, y = last_rows(own, own.samples["train"]), own.labels("train")
        models[name] = _logistic(last_rows, x, y, penalty)

    def predict(study: Study, rows: Indices) -> Array:
        p = np.empty(len(rows))
        for name, _, _, places in by_history(study, rows):
            p[places] = models[name].predict(study, rows[places])
        return p

    return Baseline(predict, {"C": penalty})


def _positive(model: Any, inputs: Forecast) -> Forecast:
    def predict(study: Study, rows: Indices) -> Array:
        return np.asarray(model.predict_proba(inputs(study, rows))[:, 1], np.float64)

    return predict


def _forest(x: Array, y: npt.NDArray[np.int8], leaf: int) -> Baseline:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(TREES, min_samples_leaf=leaf, random_state=SEED).fit(x, y)
    return Baseline(_positive(model, last_rows), {"trees": TREES, "min_samples_leaf": leaf})


def _boosting(x: Array, y: npt.NDArray[np.int8]) -> list[Baseline]:
    """One fit, stopped after every tenth round: validation chooses the number of rounds."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=BOOSTING_ROUNDS,
        max_leaf_nodes=8,
        min_samples_leaf=50,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=SEED,
    ).fit(x, y)

    def after(rounds: int) -> Forecast:
        def predict(study: Study, rows: Indices) -> Array:
            stages = model.staged_predict_proba(last_rows(study, rows))
            return np.asarray(next(islice(stages, rounds - 1, None))[:, 1], np.float64)

        return predict

    fixed = {"learning_rate": 0.03, "max_leaf_nodes": 8, "min_samples_leaf": 50}
    return [
        Baseline(after(rounds), {**fixed, "rounds": rounds})
        for rounds in range(10, BOOSTING_ROUNDS + 1, 10)
    ]
