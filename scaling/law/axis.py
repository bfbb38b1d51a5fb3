"""The judgement of one axis of a study, such as its sizes: slope, contrasts, turning, verdict."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scaling.law.effects import Effect, contrast_weights, effects, holm, slope_weights
from scaling.law.turning import turning_point
from scaling.law.verdict import Contrast, verdict

Array = npt.NDArray[np.float64]


class Settings(NamedTuple):
    """What all estimates of one study share."""

    horizon: int
    """In days."""
    samples: int
    """Draws of the bootstrap."""
    delta: float
    """The effect that matters, in nats per decade."""
    replicated: bool
    """Every cell has more than one seed."""


class Judgement(NamedTuple):
    """What is known of the loss along one axis, whose points stand in ascending order."""

    verdict: str
    slope: Effect
    """Nats per decade."""
    contrasts: dict[tuple[int, int], Contrast]
    """The difference of point j minus point i for every i < j."""
    turning: dict[str, Any]
    loss: Array
    """Mean loss of each point, [points]."""
    covariance: Array
    """Of these means, [points, points]."""
    block: int
    """Mean block of the bootstrap in days."""


def judge_axis(
    losses: Sequence[Array],
    positions: Array,
    levels: Array,
    settings: Settings,
) -> Judgement:
    """Judge the loss along one axis.

    `losses` holds [seeds, days] for each trained cell. `positions` [points] are parameters or
    training days, and the rows of `levels` [points, cells] average the cells of each point: the
    identity for a plain ladder of sizes.
    """
    pairs, differences = contrast_weights(len(positions))
    weights = np.vstack([slope_weights(positions), differences]) @ levels
    (slope, *found), block, means = effects(
        losses, weights, horizon=settings.horizon, samples=settings.samples
    )
    decades = np.log10(positions)
    contrasts = {
        (i, j): Contrast(effect, float(decades[j] - decades[i]))
        for (i, j), effect in zip(pairs, found, strict=True)
    }
    loss = levels @ np.array([cell.mean(axis=0).mean() for cell in losses])
    covariance = np.cov(levels @ means)
    turning = turning_point(
        {pair: contrast.effect for pair, contrast in contrasts.items()},
        positions,
        loss,
        covariance,
        replicated=settings.replicated,
    )
    word = verdict(
        slope,
        settings.delta,
        contrasts=list(contrasts.values()),
        replicated=settings.replicated,
        one_direction=turning["kind"] is None,
    )
    return Judgement(word, slope, contrasts, turning, loss, covariance, block)


def slope_row(slope: Effect, entropy: float, unit: str, *, replicated: bool) -> dict[str, Any]:
    """A slope, JSON-ready, with both intervals and the parts of its error."""
    return {
        "estimate": slope.estimate,
        "interval95": slope.interval(0.95),
        "interval90": slope.interval(0.90),
        "t_interval95": slope.t_interval(0.95),
        "t_interval90": slope.t_interval(0.90),
        "p_value": slope.p_value,
        "standard_error": slope.error,
        "day_variance": slope.day_variance,
        "seed_variance": slope.seed_variance if replicated else None,
        "freedom": slope.freedom,
        "share_of_entropy": slope.estimate / entropy,
        "unit": unit,
    }


def contrast_rows(
    names: Sequence[Any], contrasts: dict[tuple[int, int], Contrast], delta: float
) -> list[dict[str, Any]]:
    """Each pair of points, larger minus smaller, with p-values adjusted over all pairs."""
    adjusted = holm([contrast.effect.p_value for contrast in contrasts.values()])
    return [
        {
            "smaller": names[i],
            "larger": names[j],
            "difference": contrast.effect.estimate,
            "interval95": contrast.effect.interval(0.95),
            "interval90": contrast.effect.interval(0.90),
            "p_value": contrast.effect.p_value,
            "p_holm": p,
            "equivalence_bound": contrast.bound(delta),
            "equivalent": contrast.within(delta),
        }
        for ((i, j), contrast), p in zip(contrasts.items(), adjusted, strict=True)
    ]
