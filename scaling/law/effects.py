"""Effects on loss: linear combinations of the cells' mean losses, with their errors.

The test days and the seeds are both samples. An interval that ignores either is too narrow: in
simulations seeds alone cover 46-91 %, days alone 81-93 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaling.law.bootstrap import (
    Interval,
    Settings,
    block_length,
    day_weights,
    resampled_means,
    stretched_interval,
    t_quantile,
    with_resampled_seeds,
)

Array = npt.NDArray[np.float64]

# Smaller differences are rounding: networks that all predict one constant differ by 1e-17.
DUST = 1e-9


@dataclass(frozen=True)
class Effect:
    """A linear combination of mean losses in nats, and what is known of its error.

    `interval95` and `interval90` are those of the two-way bootstrap (see `stretched_interval`).
    The others are Student's t from the summed variances of days and seeds.
    """

    estimate: float
    interval95: Interval
    interval90: Interval
    t_interval95: Interval
    t_interval90: Interval
    p_value: float
    """Two-sided, of no effect, by the t statistic."""
    standard_error: float
    day_variance: float
    seed_variance: float | None
    """None where it is unknown, because too few cells have several seeds."""
    degrees_of_freedom: float
    """Satterthwaite's, of the sum of the two variances."""

    @property
    def of_days_alone(self) -> "Effect":
        """The same, with the variance of the seeds said to be unknown."""
        return replace(self, seed_variance=None)

    @property
    def side(self) -> int:
        """-1 if both 95 % intervals lie below 0, 1 if both lie above it, else 0."""
        return _side(self.interval95, self.t_interval95)

    @property
    def side90(self) -> int:
        """The same for the 90 % intervals: two-sided 90 % is one-sided 5 %."""
        return _side(self.interval90, self.t_interval90)

    @property
    def intervals_disagree(self) -> bool:
        """Whether only one of the two 95 % intervals holds 0."""
        ends = (self.interval95, self.t_interval95)
        return len({low < DUST and high > -DUST for low, high in ends}) > 1

    def inside(self, bound: float) -> bool:
        """Whether both 90 % intervals lie inside +-bound."""
        ends = (self.interval90, self.t_interval90)
        return all(-bound < low and high < bound for low, high in ends)

    def one_sided(self, sign: int) -> float:
        """P-value against an effect of this sign (-1 or 1) being absent or reversed."""
        half = self.p_value / 2
        return half if self.estimate * sign > 0 else 1 - half


class Estimates(NamedTuple):
    """Effects that were estimated together."""

    effects: list[Effect]
    draws: Array
    """Of the bootstrap, [effects, samples]."""
    means: Array
    """Resampled mean losses, [cells, samples]."""
    block_length: int
    """Mean block of the bootstrap in days, which the daily values of the effects ask for."""


def estimate_effects(
    losses: Sequence[Array], weights: Array, settings: Settings, *, minus: Array | None = None
) -> Estimates:
    """Estimate `weights @ mean losses of the cells - mean of minus` for each row of weights.

    `losses` holds [seeds, days] for each cell, `weights` is [effects, cells]. `minus` [effects,
    days] is subtracted day by day, for example a baseline's losses.
    """
    daily = weights @ np.stack([loss.mean(axis=0) for loss in losses])
    if minus is not None:
        daily = daily - minus
    n_days = daily.shape[1]
    block = block_length(daily, settings.horizon)
    days = day_weights(n_days, block, settings.samples, settings.seed)
    means = resampled_means(losses, days, settings.seed + 1)
    draws = weights @ means
    if minus is not None:
        draws = draws - minus @ days.T
    day_variance = (daily @ days.T).var(axis=1, ddof=1)
    day_degrees = max(n_days / block - 1, 1.0)
    of_cell = np.array([_seed_variance(loss) for loss in losses])
    seed_degrees = np.array([max(len(loss) - 1, 1) for loss in losses])
    found = []
    for row, weight in enumerate(weights):
        by_cell = weight**2 * of_cell
        degrees = _degrees_of_freedom(day_variance[row], day_degrees, by_cell, seed_degrees)
        variances = float(day_variance[row]), float(by_cell.sum())
        found.append(_effect(float(daily[row].mean()), draws[row], *variances, degrees))
    return Estimates(found, draws, means, block)


def effect_on_measure(
    values: Sequence[Array], resampled: Sequence[Array], weights: Array, blocks: float, seed: int
) -> Effect:
    """The effect `weights` [cells] on a measure of networks that is no mean over days.

    `values` holds [seeds] for each cell and `resampled` [seeds, samples], the measure computed
    again on each draw of the test days, which are `blocks` independent ones. The intervals are
    those of `estimate_effects`, in the units of the measure.
    """
    of_days = weights @ np.stack([each.mean(axis=0) for each in resampled])
    day_variance = float(of_days.var(ddof=1))
    by_cell = weights**2 * np.array([_seed_variance(own[:, None]) for own in values])
    seed_degrees = np.array([max(len(own) - 1, 1) for own in values])
    degrees = _degrees_of_freedom(day_variance, max(blocks - 1, 1.0), by_cell, seed_degrees)
    estimate = float(weights @ [own.mean() for own in values])
    draws = weights @ with_resampled_seeds(resampled, seed)
    return _effect(estimate, draws, day_variance, float(by_cell.sum()), degrees)


def slope_weights(positions: Array) -> Array:
    """Weights [points] that turn mean losses into their least-squares slope per decade."""
    x = np.log10(positions)
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def contrast_weights(points: int) -> tuple[list[tuple[int, int]], Array]:
    """All pairs (i, j) with i < j, and the weights [pairs, points] of `mean j - mean i`."""
    pairs = [(i, j) for i in range(points) for j in range(i + 1, points)]
    return pairs, np.stack([np.eye(points)[j] - np.eye(points)[i] for i, j in pairs])


def holm(p_values: Sequence[float], comparisons: int | None = None) -> list[float]:
    """Holm's step-down adjustment of p-values (Holm 1979), in the order given.

    `comparisons` counts the whole family if it holds more than these p-values. The others then
    count as if they were larger. That never rejects more than Holm's procedure on the whole family
    would, because a smaller p-value elsewhere can only lower the multiplier of one here.
    """
    family = comparisons or len(p_values)
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        floor = max(floor, min(1.0, (family - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def _effect(
    estimate: float, draws: Array, day_variance: float, seed_variance: float, degrees: float
) -> Effect:
    error = math.sqrt(day_variance + seed_variance)

    def student(level: float) -> Interval:
        half = t_quantile((1 + level) / 2, degrees) * error
        return estimate - half, estimate + half

    return Effect(
        estimate=estimate,
        interval95=stretched_interval(estimate, draws, degrees, 0.95),
        interval90=stretched_interval(estimate, draws, degrees, 0.90),
        t_interval95=student(0.95),
        t_interval90=student(0.90),
        p_value=_p_value(estimate, error, degrees),
        standard_error=error,
        day_variance=day_variance,
        seed_variance=seed_variance,
        degrees_of_freedom=degrees,
    )


def _p_value(estimate: float, error: float, degrees: float) -> float:
    from scipy.stats import t

    if error < DUST:
        return 1.0 if abs(estimate) < DUST else 0.0
    return float(2 * t.sf(abs(estimate) / error, degrees))


def _side(*intervals: Interval) -> int:
    if all(high < -DUST for _, high in intervals):
        return -1
    return int(all(low > DUST for low, _ in intervals))


def _degrees_of_freedom(
    day_variance: float, day_degrees: float, by_cell: Array, seed_degrees: Array
) -> float:
    """Satterthwaite's degrees of freedom of the days' variance plus each cell's [cells]."""
    total = day_variance + by_cell.sum()
    parts = day_variance**2 / day_degrees + (by_cell**2 / seed_degrees).sum()
    return float(total**2 / parts) if parts > 0 else day_degrees


def _seed_variance(loss: Array) -> float:
    """Variance of a cell's mean over its seeds; 0 for a single seed, whose spread is unknown."""
    return float(loss.mean(axis=1).var(ddof=1) / len(loss)) if len(loss) > 1 else 0.0
