"""Loss and skill of each cell of a study, for its single networks and for its ensemble."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling import metrics
from scaling.law.effects import Effect, effects
from scaling.law.resampling import BOOTSTRAP_SEED, day_weights, stretched_interval

Array = npt.NDArray[np.float64]


def level_rows(
    losses: Sequence[Array],
    y: npt.ArrayLike,
    base_rate: float,
    ensembles: Sequence[Array] | None = None,
    *,
    horizon: int,
    samples: int,
) -> tuple[list[dict[str, Any]], int]:
    """A JSON-ready row for each cell, and the block length that the levels ask for.

    `losses` holds [seeds, days] for each cell. `log_loss` is the mean over the seeds. Levels wander
    more from day to day than slopes, so they have a block of their own. Skill is a ratio, so its
    interval takes the base rate's loss on the same resampled days. `ensembles` [1, days] are given
    for several markets, where they do not follow from the losses.
    """
    reference = base_losses(y, base_rate)
    rows, block = _levels(losses, reference, horizon, samples)
    means = ensembles or [ensemble(loss) for loss in losses]
    judged, _ = _levels(means, reference, horizon, samples)
    for row, together, loss, mean in zip(rows, judged, losses, means, strict=True):
        each = loss.mean(axis=1)
        row |= {
            "seed_log_losses": [float(x) for x in each],
            "seed_deviation": float(each.std(ddof=1)) if len(each) > 1 else None,
            "ensemble": together | _gain(loss, mean, horizon, samples) if len(each) > 1 else None,
        }
    return rows, block


def base_losses(y: npt.ArrayLike, base_rate: float) -> Array:
    """Log-loss of always forecasting the base rate, [days]; `y` may be the share of positives."""
    share = np.asarray(y, float)
    of_positive, of_negative = metrics.log_losses([1, 0], [base_rate, base_rate])
    return np.asarray(share * of_positive + (1 - share) * of_negative)


def ensemble(loss: Array) -> Array:
    """Loss of the mean probability over the seeds, [1, days], from the seeds' losses [seeds, days].

    `exp(-loss)` is the probability that a network gave to what happened. Minus the logarithm is
    convex, so on every day the loss is at most the mean of the seeds' losses.
    """
    return np.asarray(-np.log(np.exp(-loss).mean(axis=0, keepdims=True)))


def _levels(
    losses: Sequence[Array], reference: Array, horizon: int, samples: int
) -> tuple[list[dict[str, Any]], int]:
    levels, block, _ = effects(losses, np.eye(len(losses)), horizon=horizon, samples=samples)
    days = day_weights(len(reference), block, samples, BOOTSTRAP_SEED)
    resampled_reference = days @ reference
    return [_level(level, float(reference.mean()), resampled_reference) for level in levels], block


def _level(level: Effect, reference: float, resampled_reference: Array) -> dict[str, Any]:
    skill = 1 - level.estimate / reference
    skills = 1 - level.draws / resampled_reference
    return {
        "log_loss": level.estimate,
        "interval": level.interval(0.95),
        "skill": skill,
        "skill_interval": stretched_interval(skill, skills, level.freedom, 0.95),
    }


def _gain(loss: Array, mean: Array, horizon: int, samples: int) -> dict[str, Any]:
    """The ensemble's loss minus the mean of its members, paired by day; never above 0.

    Its interval is over days, for these seeds: an ensemble of other seeds would be another one.
    """
    less = loss.mean(axis=0, keepdims=True)
    (gain,), _, _ = effects([mean], np.ones((1, 1)), less=less, horizon=horizon, samples=samples)
    return {"gain": gain.estimate, "gain_interval95": gain.interval(0.95), "members": len(loss)}
