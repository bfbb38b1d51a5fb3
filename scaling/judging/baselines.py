"""Four forecasters that a network must beat, fitted on the same rows and judged on the same days.

They see the last row of each window, 20 standardised features. Fitting reads no test row: settings
are fixed, or chosen by validation log-loss as the networks' are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.data.dataset import Study
from scaling.judging.markets import by_market
from scaling.metrics import fit_recalibration, log_loss, score
from scaling.run import RunName

Array = npt.NDArray[np.float64]
JUDGED = ("validation", "test")
SEED = 0
LEAF_SIZES = (25, 50, 100, 200)
TREES = 300
BOOSTING_ROUNDS = 300


@dataclass(frozen=True)
class Baseline:
    """A fitted forecaster, rows [n, channels] -> probability [n], and its chosen settings."""

    predict: Callable[[Array], Array]
    settings: dict[str, Any] = field(default_factory=dict)


def last_rows(study: Study, block: str) -> Array:
    """The standardised features of each sample day of a block, [n, channels]."""
    rows: Array = study.dataset.features.cpu().numpy()[study.samples[block]].astype(np.float64)
    return rows


def fit_baselines(study: Study) -> dict[str, Baseline]:
    """Base rate, logistic regression, random forest, gradient boosting, by name.

    `study` needs only the train and validation blocks. Validation only chooses settings.
    """
    x, y = last_rows(study, "train"), study.labels("train")
    x_validation, y_validation = last_rows(study, "validation"), study.labels("validation")
    rate = float(study.of(study.judged).labels("train").mean())

    def loss(baseline: Baseline) -> float:
        return log_loss(y_validation, baseline.predict(x_validation))

    def best(tried: list[Baseline]) -> Baseline:
        losses = [loss(baseline) for baseline in tried]
        chosen = tried[int(np.argmin(losses))]
        return Baseline(chosen.predict, {**chosen.settings, "validation_log_loss": min(losses)})

    return {
        "base_rate": best([Baseline(lambda rows: np.full(len(rows), rate), {"base_rate": rate})]),
        "logistic_regression": best([_logistic(x, y)]),
        "random_forest": best([_forest(x, y, leaf) for leaf in LEAF_SIZES]),
        "gradient_boosting": best(_boosting(x, y)),
    }


def judge(
    baselines: Mapping[str, Baseline], study: Study, run: RunName
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Predict validation and test with each baseline, and score the predictions.

    Returns rows of model, training days, date, split, y, p, and for each baseline its settings and
    metrics. `run` tells the training days.
    """
    y = {block: study.labels(block) for block in JUDGED}
    rate = study.train_base_rate
    frames, models = [], {}
    days = {k: v for k, v in run.columns().items() if k not in ("budget", "seed")}
    days["counted_days"] = study.counted_days
    for name, baseline in baselines.items():
        p = {block: baseline.predict(last_rows(study, block)) for block in JUDGED}
        for block in JUDGED:
            rows = {"model": name, **days, **study.days(block), "split": block}
            frames.append(pd.DataFrame(rows | {"y": y[block], "p": p[block]}))
        recalibration = fit_recalibration(y["validation"], p["validation"])
        models[name] = {
            "settings": baseline.settings,
            "recalibration": recalibration._asdict(),
            **{block: score(y[block], p[block], rate) for block in JUDGED},
            "test_recalibrated": score(y["test"], recalibration(p["test"]), rate),
            **by_market(study, y, p),
        }
    return pd.concat(frames, ignore_index=True), models


def _positive(model: Any) -> Callable[[Array], Array]:
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1], np.float64)


def _logistic(x: Array, y: npt.NDArray[np.int8]) -> Baseline:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=2000).fit(x, y)
    return Baseline(_positive(model), {"C": 1.0})


def _forest(x: Array, y: npt.NDArray[np.int8], leaf: int) -> Baseline:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(TREES, min_samples_leaf=leaf, random_state=SEED).fit(x, y)
    return Baseline(_positive(model), {"trees": TREES, "min_samples_leaf": leaf})


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

    def after(rounds: int) -> Callable[[Array], Array]:
        def predict(rows: Array) -> Array:
            for done, p in enumerate(model.staged_predict_proba(rows), start=1):
                if done == rounds:
                    return np.asarray(p[:, 1], np.float64)
            raise AssertionError(f"{rounds} rounds of {BOOSTING_ROUNDS}")

        return predict

    fixed = {"learning_rate": 0.03, "max_leaf_nodes": 8, "min_samples_leaf": 50}
    return [
        Baseline(after(rounds), {**fixed, "rounds": rounds})
        for rounds in range(10, BOOSTING_ROUNDS + 1, 10)
    ]
