"""How good are probabilities? Pure functions of labels `y` (0 or 1) and probabilities `p`, [n].

Every loss is in nats. A metric that the rows do not define, for example because they hold one
class only, is None and never NaN; `score` gives the reason under `undefined`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# The clip of scikit-learn: a certain forecast that is wrong costs 36 nats instead of infinity.
SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
BINS = 10


def log_losses(y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
    """Log-loss of each forecast, [n], in nats."""
    probability = np.clip(np.asarray(p, float), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    losses: Array = -np.log(np.where(np.asarray(y) == 1, probability, 1 - probability))
    return losses


def log_loss(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Mean log-loss in nats."""
    return float(log_losses(y, p).mean())


def entropy(base_rate: float) -> float:
    """Entropy in nats of an event with this probability, the loss of always forecasting it."""
    if not 0 < base_rate < 1:
        return 0.0
    return float(-base_rate * np.log(base_rate) - (1 - base_rate) * np.log(1 - base_rate))


def log_loss_skill(y: npt.ArrayLike, p: npt.ArrayLike, base_rate: float) -> float:
    """The primary metric, `1 - loss / loss of always forecasting base_rate`; 0 is no skill.

    `base_rate` is that of the training block, which a forecaster could have known. Nobody could
    have known the prevalence of the test block, against which `d2_log_loss` is measured.
    """
    labels = np.asarray(y)
    return 1 - log_loss(labels, p) / log_loss(labels, np.full(labels.shape, base_rate))


def d2_log_loss(y: npt.ArrayLike, p: npt.ArrayLike) -> float | None:
    """Skill against the prevalence of the rows themselves; None when they hold one class only."""
    labels = np.asarray(y)
    if _one_class(labels):
        return None
    return log_loss_skill(labels, p, float(labels.mean()))


def brier(y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Mean squared error of the probabilities."""
    return float(np.mean((np.asarray(p, float) - np.asarray(y)) ** 2))


def brier_skill(y: npt.ArrayLike, p: npt.ArrayLike, base_rate: float) -> float | None:
    """`1 - Brier / Brier of always saying base_rate`; None if that forecast is perfect."""
    labels = np.asarray(y)
    reference = brier(labels, np.full(labels.shape, base_rate))
    return 1 - brier(labels, p) / reference if reference > 0 else None


class Reliability(NamedTuple):
    """Mean forecast and observed frequency in bins of nearly equal count, [k] each."""

    forecast: Array
    observed: Array
    rows: npt.NDArray[np.int64]


def reliability(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """Bins by quantiles of `p`. Equal forecasts share a bin, so there may be fewer than `bins`."""
    labels, probability = np.asarray(y, float), np.asarray(p, float)
    inner = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    _, which = np.unique(np.searchsorted(inner, probability, side="left"), return_inverse=True)
    count = np.bincount(which)
    return Reliability(
        np.bincount(which, probability) / count, np.bincount(which, labels) / count, count
    )


def brier_parts(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = BINS) -> dict[str, float]:
    """Murphy's parts; `Brier = reliability - resolution + uncertainty + within_bin` exactly.

    `within_bin` is the variation that binning hides (Stephenson, Coelho & Jolliffe 2008, Weather
    and Forecasting 23). Small reliability and large resolution are good.
    """
    table = reliability(y, p, bins)
    share = table.rows / table.rows.sum()
    prevalence = float(np.mean(np.asarray(y, float)))
    parts = {
        "reliability": float(share @ (table.forecast - table.observed) ** 2),
        "resolution": float(share @ (table.observed - prevalence) ** 2),
        "uncertainty": prevalence * (1 - prevalence),
    }
    explained = parts["reliability"] - parts["resolution"] + parts["uncertainty"]
    return parts | {"within_bin": brier(y, p) - explained}


def expected_calibration_error(y: npt.ArrayLike, p: npt.ArrayLike, bins: int = BINS) -> float:
    """Mean absolute gap of forecast and frequency over equal-count bins.

    A perfect forecaster has more than 0: chance alone gives about 0.8 * sqrt(q (1 - q) bins / n).
    """
    table = reliability(y, p, bins)
    gap = np.abs(table.forecast - table.observed)
    return float(gap @ table.rows / table.rows.sum())


def auc(y: npt.ArrayLike, p: npt.ArrayLike) -> float | None:
    """Area under the ROC curve; None when only one class occurs."""
    from sklearn.metrics import roc_auc_score

    return None if _one_class(np.asarray(y)) else float(roc_auc_score(y, p))


def weighted_aucs(y: npt.ArrayLike, p: npt.ArrayLike, weights: Iterable[Array]) -> Array:
    """The AUC under each of `weights` [rows], [how many]; NaN where one class has no weight.

    It is the weighted share of pairs of a positive and a negative that `p` ranks rightly. Equal
    forecasts are half right. For many weights of the same rows, which are sorted once.
    """
    positive = np.asarray(y) == 1
    levels, rank = np.unique(np.asarray(p, float), return_inverse=True)
    ours, theirs = rank[positive], rank[~positive]
    found = []
    for weight in weights:
        right = np.bincount(ours, weight[positive], len(levels))
        below = np.bincount(theirs, weight[~positive], len(levels))
        pairs = right.sum() * below.sum()
        share = right @ (below.cumsum() - below / 2)
        found.append(share / pairs if pairs > 0 else np.nan)
    return np.array(found)


def average_precision(y: npt.ArrayLike, p: npt.ArrayLike) -> float | None:
    """Average precision, which for a coin is the prevalence; None when only one class occurs."""
    from sklearn.metrics import average_precision_score

    return None if _one_class(np.asarray(y)) else float(average_precision_score(y, p))


def logits_of(p: npt.ArrayLike) -> Array:
    """Log-odds of probabilities, clipped as the losses are."""
    from scipy.special import logit

    clipped = np.clip(np.asarray(p, float), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.asarray(logit(clipped), float)


class Recalibration(NamedTuple):
    """`logit p' = slope * logit p + intercept`; (1, 0) leaves a forecast as it is.

    A slope above 1 means that the forecasts were too timid, below 1 too bold, below 0 reversed.
    """

    slope: float
    intercept: float

    def __call__(self, p: npt.ArrayLike) -> Array:
        """The recalibrated probabilities, [n]."""
        from scipy.special import expit

        return np.asarray(expit(self.slope * logits_of(p) + self.intercept), float)


def fit_recalibration(y: npt.ArrayLike, p: npt.ArrayLike) -> Recalibration:
    """Platt scaling fitted on *validation* rows, to be applied to test rows.

    Targets are (positives + 1) / (positives + 2) and 1 / (negatives + 2) in place of 1 and 0
    (Platt 1999), so that the fit is finite for separable rows and for rows of one class. Equal
    forecasts determine no slope; theirs is 0, with the observed rate as the intercept.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    labels, x = np.asarray(y), logits_of(p)
    positives = int((labels == 1).sum())
    target = np.where(
        labels == 1, (positives + 1) / (positives + 2), 1 / (labels.size - positives + 2)
    )
    centre, spread = float(x.mean()), float(x.std())
    if spread < 1e-9:
        return Recalibration(0.0, float(logit(target.mean())))
    z = (x - centre) / spread

    def loss(theta: Array) -> tuple[float, Array]:
        score = theta[0] * z + theta[1]
        error = expit(score) - target
        value = np.mean(np.logaddexp(0, score) - target * score)
        return float(value), np.array([np.mean(error * z), error.mean()])

    a, b = minimize(loss, np.array([spread, centre]), jac=True, method="BFGS").x
    return Recalibration(float(a / spread), float(b - a * centre / spread))


def score(y: npt.ArrayLike, p: npt.ArrayLike, base_rate: float) -> dict[str, Any]:
    """All metrics as JSON-ready values; `undefined` maps each None to its reason.

    `base_rate` is that of the training block. Raises ValueError for empty input, for labels other
    than 0 and 1, and for probabilities outside [0, 1].
    """
    labels, probability = np.asarray(y), np.asarray(p, float)
    if labels.ndim != 1 or labels.shape != probability.shape or not labels.size:
        raise ValueError(
            f"y {labels.shape} and p {probability.shape} must be equal, 1-d, not empty"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1; found {np.unique(labels)[:5].tolist()}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]; found NaN or others (logits?)")
    positives = int(labels.sum())
    result: dict[str, Any] = {
        "n": int(labels.size),
        "positives": positives,
        "prevalence": positives / labels.size,
        "base_rate": float(base_rate),
        "mean_probability": float(probability.mean()),
        "log_loss": log_loss(labels, probability),
        "log_loss_skill": log_loss_skill(labels, probability, base_rate),
        "d2_log_loss": d2_log_loss(labels, probability),
        "brier": brier(labels, probability),
        "brier_skill": brier_skill(labels, probability, base_rate),
        **brier_parts(labels, probability),
        "auc": auc(labels, probability),
        "average_precision": average_precision(labels, probability),
        "expected_calibration_error": expected_calibration_error(labels, probability),
    }
    result["undefined"] = {
        name: f"all {labels.size} labels are {int(labels[0])}"
        for name, value in result.items()
        if value is None
    }
    return result


def _one_class(y: npt.NDArray[Any]) -> bool:
    return bool((y == y[0]).all())
