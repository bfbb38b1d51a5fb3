"""Validity checks that run in every study: each measures what one known mistake would change.

A check is a dict: `name`, `passed`, `found`, `allowed` (both as text) and `meaning`, what it means
if it fails. A failed check never stops a run; the report shows it before anything else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.config import SplitConfig, TaskConfig, TrainingConfig, budget_parameters
from scaling.data.dataset import Labels, Study
from scaling.data.features import ROWS_DROPPED, build_features
from scaling.errors import UserError
from scaling.metrics import log_loss
from scaling.training.model import BUDGET_TOLERANCE

Check = dict[str, Any]
Array = npt.NDArray[np.float64]

# Gross shift only: on SPY the largest is 0.9 (log ATR: test years are calmer), which no model
# chooses and which is part of the question. An average in dollars moves by 4 to 5, a wrong unit by
# more. Beyond 3 a test day lies where training had next to no rows.
LARGEST_SHIFT = 3.0
# SPY stays within 0.4 to 1.1; 0 is a feature that stopped moving, 10 a change of unit.
SPREAD_RATIO = (0.1, 10.0)
# A forecast whose logits spread by s can earn a skill of about s^2 q (1 - q) / 2H: at 0.05 and
# q = 0.15 below 0.04 %, far under anything a study could see. Logistic regression spreads by 1.
SMALLEST_LOGIT_SPREAD = 0.05
# Log-loss in nats, the same weights on the same rows: arithmetic of another batch or device moves
# it by 1e-6 in fp32, 1e-3 in bf16; a second sigmoid by 0.2.
PARITY = {"fp32": 1e-4, "bf16": 5e-3}
TRUNCATIONS = 25


def check(name: str, passed: bool, found: str, allowed: str, meaning: str) -> Check:
    """One result, JSON-ready."""
    return {
        "name": name,
        "passed": bool(passed),
        "found": found,
        "allowed": allowed,
        "meaning": meaning,
    }


def enough_samples(labels: dict[str, Labels], splits: SplitConfig) -> Check:
    """Samples and the rarer class of each block; `labels` maps block to labels [n]."""
    counts = {name: (len(y), int(np.sum(y))) for name, y in labels.items()}
    return check(
        "enough samples",
        all(
            n >= splits.min_samples and min(positive, n - positive) >= splits.min_positives
            for n, positive in counts.values()
        ),
        "; ".join(f"{name} {n:,} with {p:,} positive" for name, (n, p) in counts.items()),
        f"{splits.min_samples} samples and {splits.min_positives} of either class in each block",
        "too few days to tell a model from luck: no conclusion holds",
    )


def drift_table(
    features: Mapping[str, npt.ArrayLike], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Per feature: mean shift and spread of validation and test, in train standard deviations.

    `features` maps train, validation and test to raw rows [n, channels].
    """
    blocks = {name: np.asarray(rows, np.float64) for name, rows in features.items()}
    mean, std = blocks["train"].mean(axis=0), blocks["train"].std(axis=0)
    if not (std > 0).all():
        flat = [name for name, s in zip(names, std, strict=True) if not s > 0]
        raise UserError(f"constant in the training rows: {', '.join(flat)}; drop or mend them")
    table = [
        {"feature": name, "train_mean": float(mean[i]), "train_std": float(std[i])}
        for i, name in enumerate(names)
    ]
    for block in ("validation", "test"):
        shift = (blocks[block].mean(axis=0) - mean) / std
        ratio = blocks[block].std(axis=0) / std
        for i, row in enumerate(table):
            row |= {f"{block}_shift": float(shift[i]), f"{block}_spread": float(ratio[i])}
    return table


def no_gross_drift(table: Sequence[dict[str, Any]]) -> Check:
    """Price levels, changed units and dead columns; not the calm or wild years markets have."""
    low, high = SPREAD_RATIO
    shifts = {
        row["feature"]: max(abs(row["validation_shift"]), abs(row["test_shift"])) for row in table
    }
    ratios = [row[f"{block}_spread"] for row in table for block in ("validation", "test")]
    moved = [
        row["feature"]
        for row in table
        if not shifts[row["feature"]] <= LARGEST_SHIFT
        or not all(low <= row[f"{block}_spread"] <= high for block in ("validation", "test"))
    ]
    largest = max(shifts, key=lambda name: shifts[name])
    found = (
        f"largest shift {shifts[largest]:.2f} train standard deviations ({largest}), "
        f"spread {min(ratios):.2f} to {max(ratios):.2f} of train's"
    )
    return check(
        "no gross drift of features",
        not moved,
        found + (f"; moved: {', '.join(moved)}" if moved else ""),
        f"shift up to {LARGEST_SHIFT:g}, spread {low:g} to {high:g}",
        "the test days lie outside what training saw: the forecasts there are extrapolation",
    )


def predictions_vary(p: npt.ArrayLike) -> Check:
    """The spread of the logits of `p` [n]: a model may have settled on the class prior."""
    clipped = np.clip(np.asarray(p, float), 1e-12, 1 - 1e-12)
    spread = float(np.std(np.log(clipped / (1 - clipped))))
    return check(
        "predictions vary",
        spread >= SMALLEST_LOGIT_SPREAD,
        f"standard deviation of the logits {spread:.3f}",
        f"at least {SMALLEST_LOGIT_SPREAD:g}",
        "the network says one number every day: its loss measures the prior, not the model",
    )


def features_ignore_the_future(prices: pd.DataFrame, features: pd.DataFrame) -> Check:
    """Rebuild features from prices cut off at some days: the last row must not change by a bit.

    `features` is the table that models read, `prices` what it was built from.
    """
    days = np.linspace(ROWS_DROPPED, len(prices) - 1, TRUNCATIONS).astype(int)
    # Neighbours too, so that every weekday is met: a week looked at early shows before its Friday.
    days = np.unique(np.concatenate([days, np.arange(len(prices) - 7, len(prices))]))
    changed: dict[str, str] = {}
    for day in days:
        cut = build_features(prices.iloc[: day + 1]).iloc[-1]
        whole = features.loc[prices.index[day]]
        for name in features.columns[(cut.to_numpy() != whole.to_numpy())]:
            changed.setdefault(str(name), str(prices.index[day].date()))
    return check(
        "features do not see the future",
        not changed,
        ", ".join(f"{name} (first on {day})" for name, day in changed.items())
        or f"no feature changes on {len(days)} days when all later prices are removed",
        "the same features, bit for bit",
        "the features leak the future: every score is too good",
    )


def labels_from_raw_closes(close: npt.ArrayLike, labels: npt.ArrayLike, task: TaskConfig) -> Check:
    """The labels models train on against the question asked anew, day by day, of raw closes.

    `close` [rows] straight from the price file, `labels` [rows - horizon]. Written without the
    library's own label function, so that a mistake in it shows too.
    """
    prices = [float(c) for c in np.asarray(close)]
    asked = [
        int(
            any(
                later >= now * (1 + task.threshold)
                for later in prices[t + 1 : t + 1 + task.horizon]
            )
        )
        for t, now in enumerate(prices[: len(prices) - task.horizon])
    ]
    given = np.asarray(labels)
    if len(given) != len(asked):
        found, passed = f"{len(given):,} labels for {len(asked):,} days", False
    else:
        wrong = int(np.sum(given != np.asarray(asked)))
        found, passed = f"{wrong:,} of {len(asked):,} labels differ", wrong == 0
    return check(
        "labels come from raw closes",
        passed,
        found,
        f"none: a close of the next {task.horizon} day(s) at least {100 * task.threshold:g} % up",
        "the models answered another question: another horizon, or closes that were normalised",
    )


def counted_parameters(budget: str, parameters: int) -> Check:
    """The number of trained weights against the label that names the run."""
    label = budget_parameters(budget)
    return check(
        "parameters match the budget",
        abs(parameters - label) <= BUDGET_TOLERANCE * label,
        f"{parameters:,} counted",
        f"{budget} within {100 * BUDGET_TOLERANCE:g} %",
        "the label is wrong: a ladder of such labels is not a ladder of sizes",
    )


def train_evaluate_parity(
    recorded: float, y: npt.ArrayLike, p: npt.ArrayLike, precision: str
) -> Check:
    """Validation log-loss as training recorded it, and as evaluation finds it on the same rows."""
    found = log_loss(y, p)
    return check(
        "training and evaluation agree",
        abs(found - recorded) <= PARITY[precision],
        f"validation log-loss {found:.6f}, in training {recorded:.6f}",
        f"a difference up to {PARITY[precision]:g} nats ({precision})",
        "the two commands do not run the same model: a second sigmoid, other rows or weights",
    )


def shuffled_labels_teach_nothing(skills: Sequence[float]) -> Check:
    """Validation skill of networks trained on permuted labels, one for each permutation.

    The interval is over permutations: a network fitted to noise leans on volatility one way or
    the other, so a single one may well have skill by luck, on however many days it is judged.
    """
    from scipy.stats import t

    values = np.asarray(skills, float)
    if len(values) < 3:
        raise UserError(f"{len(values)} permutations; at least 3 are needed for an interval")
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    mean = float(values.mean())
    return check(
        "shuffled labels teach nothing",
        mean - half <= 0,
        f"mean skill {100 * mean:.2f} %, 95 % interval {100 * (mean - half):.2f} to "
        f"{100 * (mean + half):.2f} over {len(values)} permutations",
        "an interval that is not wholly above 0",
        "the pipeline has skill without labels to learn from: the answer leaks in somewhere",
    )


def study_checks(
    study: Study, config: TrainingConfig, prices: pd.DataFrame, features: pd.DataFrame
) -> list[Check]:
    """The checks of data and labels, which all models of an experiment share.

    `study` with all three blocks; `prices` and `features` as loaded from the config's files.
    """
    raw = {block: study.raw_features[days] for block, days in study.samples.items()}
    close = prices.loc[features.index[0] :, "close"]
    until = pd.Timestamp(study.dates[-1])
    return [
        enough_samples({block: study.labels(block) for block in study.samples}, config.splits),
        no_gross_drift(drift_table(raw, study.feature_names)),
        features_ignore_the_future(prices, features),
        labels_from_raw_closes(
            close.loc[:until].to_numpy(), study.dataset.labels.cpu().numpy(), config.task
        ),
    ]


def model_checks(
    record: dict[str, Any],
    validation: tuple[npt.ArrayLike, npt.ArrayLike],
    test_probabilities: npt.ArrayLike,
    precision: str,
) -> list[Check]:
    """One trained model: `record` of its run, `validation` as (y, p) of the best weights."""
    return [
        counted_parameters(record["budget"], record["parameters"]),
        train_evaluate_parity(record["validation"]["log_loss"], *validation, precision),
        predictions_vary(test_probabilities),
    ]
