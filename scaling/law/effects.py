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
    stretched_interval,
    t_quantile,
    with_resampled_seeds,
)
from scaling.metrics import Array

# Smaller differences are rounding: networks that all predict one constant differ by 1e-17.
DUST = 1e-9
LEVEL, POWER = 0.05, 0.8
MANY = 1e9  # degrees of freedom; JSON has no infinity
# Four years of trading days. Estimates of shorter times depend on one another, and Student's t over
# those of a few long ones is valid however they do within (Ibragimov and Mueller 2010, J. Business
# & Economic Statistics 28).
GROUP_DAYS = 4 * 250


@dataclass(frozen=True)
class Components:
    """The variance of an estimate by source, and what it would be in a study of other counts.

    The part of the `days` falls with their number, that of the `seeds` with theirs. What belongs to
    one seed on one day (`both`) falls with either. It is in the measured spread of the days and in
    that of the seeds, so an interval counts it twice and is a little too wide (Owen 2007).
    """

    days: float
    seeds: float
    both: float
    day_degrees: float
    """Degrees of freedom of the days, whose blocks count."""
    seed_degrees: float
    """Those of the seeds, of all cells and folds together; MANY where no seed varies."""
    per_cell: float
    """Seeds of a cell; of unequal numbers the mean, weighted by what each adds to the variance."""
    by_fold: bool = False
    """Whether more days are more folds, each with networks of its own."""

    def smallest_detectable(self, more_days: npt.ArrayLike, more_seeds: npt.ArrayLike) -> Array:
        """The effect seen with 80 % power (two-sided 5 %) in so many times the days and seeds."""
        from scipy.special import stdtrit

        by_days, by_seeds = np.asarray(more_days, float), np.asarray(more_seeds, float)
        new_networks = by_days if self.by_fold else 1.0
        of_days = (self.days + self.both / by_seeds) / by_days
        of_seeds = (self.seeds / new_networks + self.both / by_days) / by_seeds
        day_degrees = (self.day_degrees + 1) * by_days - 1
        spare = max(self.per_cell - 1, 1)
        more = new_networks * np.maximum(self.per_cell * by_seeds - 1, 1) / spare
        seed_degrees = self.seed_degrees * more
        total = of_days + of_seeds
        parts = of_days**2 / day_degrees + of_seeds**2 / seed_degrees
        degrees = np.where(parts > 0, total**2 / np.maximum(parts, 1e-300), day_degrees)
        quantiles = stdtrit(degrees, 0.975) + stdtrit(degrees, POWER)
        return np.asarray(quantiles * np.sqrt(total))


@dataclass(frozen=True)
class Effect:
    """A linear combination of mean losses in nats, and what is known of its error.

    `interval95` and `interval90` are those of the two-way bootstrap (see `stretched_interval`).
    The t intervals are Student's from the summed variances of days and seeds.
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
    components: Components | None = None
    """None of a measure that is no mean over days, as an AUC is."""
    folds_interval95: Interval | None = None
    """Student's t over the estimates of groups of folds; None where the years are cut once."""
    folds_interval90: Interval | None = None

    @property
    def without_known_seeds(self) -> "Effect":
        """The same, with the variance of the seeds said to be unknown."""
        return replace(self, seed_variance=None)

    @property
    def side(self) -> int:
        """-1 if all 95 % intervals lie below 0, 1 if all lie above it, else 0."""
        return _side(*self.all95)

    @property
    def side90(self) -> int:
        """The same for the 90 % intervals: two-sided 90 % is one-sided 5 %."""
        return _side(*self.all90)

    @property
    def all95(self) -> list[Interval]:
        """Every 95 % interval that there is."""
        ends = (self.interval95, self.t_interval95, self.folds_interval95)
        return [interval for interval in ends if interval]

    @property
    def all90(self) -> list[Interval]:
        """Every 90 % interval that there is."""
        ends = (self.interval90, self.t_interval90, self.folds_interval90)
        return [interval for interval in ends if interval]

    @property
    def intervals_disagree(self) -> bool:
        """Whether some of the 95 % intervals hold 0, and others do not."""
        return len({low < DUST and high > -DUST for low, high in self.all95}) > 1

    def inside(self, bound: float) -> bool:
        """Whether all 90 % intervals lie inside +-bound."""
        return all(-bound < low and high < bound for low, high in self.all90)

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

    Networks of one seed share the order of days whatever their size. In a walk forward, whose folds
    make degrees of freedom enough, the seeds of all cells therefore count together. With one cut of
    the years that would leave one fewer than there are seeds, and each cell's count for themselves.
    Where a seed draws what is trained on, its cells share that as well, and count together whatever
    degrees of freedom it costs: one by one they claimed an effect in 7 of 60 worlds without any.
    """
    together = (bool(settings.folds) or settings.drawn) and len({len(loss) for loss in losses}) == 1
    daily = weights @ np.stack([loss.mean(axis=0) for loss in losses])
    if minus is not None:
        daily = daily - minus
    n_days = daily.shape[1]
    folds = settings.by_fold(n_days)
    block = block_length(daily, settings.horizon)
    days = day_weights(n_days, block, settings.samples, settings.seed)
    drawn = [[loss[:, fold] @ days[:, fold].T for fold in folds] for loss in losses]
    means = with_resampled_seeds(drawn, settings.seed + 1, together)
    draws = weights @ means
    if minus is not None:
        draws = draws - minus @ days.T
    day_variance = (daily @ days.T).var(axis=1, ddof=1)
    day_degrees = max(n_days / block - 1, 1.0)
    counts = np.array([len(loss) for loss in losses[: 1 if together else None]])
    seed_degrees = np.maximum(counts - 1, 1)[:, None]
    apart = None if together else _spread(losses, folds)
    groups = [daily[:, own].mean(axis=1) for own in groups_of_folds(folds)]
    found = []
    for row, weight in enumerate(weights):
        if apart is None:
            share, (of_seeds, both) = np.ones(1), _spread([np.tensordot(weight, losses, 1)], folds)
        else:
            share, (of_seeds, both) = weight**2, apart
        by_cell = share[:, None] * of_seeds
        degrees = _degrees_of_freedom(day_variance[row], day_degrees, by_cell, seed_degrees)
        variances = float(day_variance[row]), float(by_cell.sum())
        of_groups = np.array([group[row] for group in groups])
        effect = _effect(float(daily[row].mean()), draws[row], *variances, degrees, of_groups)
        of_both = float(share @ both)
        varying = by_cell.sum(axis=1) if by_cell.any() else None
        components = Components(
            days=max(variances[0] - of_both, 0.0),
            seeds=max(variances[1] - of_both, 0.0),
            both=of_both,
            day_degrees=day_degrees,
            seed_degrees=_degrees_of_freedom(0.0, MANY, by_cell, seed_degrees),
            per_cell=round(float(np.average(counts, weights=varying)), 9),
            by_fold=bool(settings.folds),
        )
        found.append(replace(effect, components=components))
    return Estimates(found, draws, means, block)


def _spread(losses: Sequence[Array], folds: Sequence[slice]) -> tuple[Array, Array]:
    """What seeds [cells, folds] and seeds on single days [cells] add to the variance of a mean."""
    days = folds[-1].stop
    of_seeds = np.array([[_seed_variance(loss[:, f], days) for f in folds] for loss in losses])
    both = np.array([sum(_both_variance(loss[:, f], days) for f in folds) for loss in losses])
    return of_seeds, both


def groups_of_folds(folds: Sequence[slice]) -> list[slice]:
    """Neighbouring folds together, so that no group has fewer days than GROUP_DAYS.

    What is left at the end joins the last group, so a single fold is one group, whatever its size.
    """
    groups: list[slice] = []
    start = folds[0].start
    for fold in folds:
        if fold.stop - start >= GROUP_DAYS:
            groups.append(slice(start, fold.stop))
            start = fold.stop
    if start < folds[-1].stop:
        start = groups.pop().start if groups else start
        groups.append(slice(start, folds[-1].stop))
    return groups


def effect_on_measure(
    values: Sequence[Array],
    resampled: Sequence[Array],
    weights: Array,
    folds: Sequence[slice],
    block: int,
    seed: int,
) -> Effect:
    """The effect `weights` [cells] on a measure of networks that is no mean over days.

    `values` holds [seeds, folds] for each cell and `resampled` [seeds, folds, samples], the measure
    computed again on each draw of the test days, in blocks of `block`. A fold counts as its days
    do. The intervals are those of `estimate_effects`, in the units of the measure, but the seeds of
    each cell always count for themselves.
    """
    n_days = folds[-1].stop
    days = np.array([fold.stop - fold.start for fold in folds])
    daily = np.repeat(weights @ np.stack([own.mean(axis=0) for own in values]), days)
    parts = [each * (days / n_days)[:, None] for each in resampled]
    of_days = weights @ np.stack([each.sum(axis=1).mean(axis=0) for each in parts])
    of_cell = [[_seed_variance(own[:, None], n_days) for own in (cell * days).T] for cell in values]
    by_cell = weights[:, None] ** 2 * np.array(of_cell)
    seed_degrees = np.array([[max(len(own) - 1, 1)] for own in values])
    variances = float(of_days.var(ddof=1)), float(by_cell.sum())
    day_degrees = max(n_days / block - 1, 1.0)
    degrees = _degrees_of_freedom(variances[0], day_degrees, by_cell, seed_degrees)
    draws = weights @ with_resampled_seeds([each.swapaxes(0, 1) for each in parts], seed)
    of_groups = np.array([daily[own].mean() for own in groups_of_folds(folds)])
    return _effect(float(daily.mean()), draws, *variances, degrees, of_groups)


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
    estimate: float,
    draws: Array,
    day_variance: float,
    seed_variance: float,
    degrees: float,
    of_groups: Array,
) -> Effect:
    """`of_groups` [groups] are the estimates of the groups of folds."""
    error = math.sqrt(day_variance + seed_variance)

    def student(level: float) -> Interval:
        half = t_quantile((1 + level) / 2, degrees) * error
        return estimate - half, estimate + half

    def over_groups(level: float) -> Interval | None:
        n = len(of_groups)
        if n < 2:
            return None
        half = t_quantile((1 + level) / 2, n - 1) * float(of_groups.std(ddof=1)) / math.sqrt(n)
        return float(of_groups.mean()) - half, float(of_groups.mean()) + half

    return Effect(
        estimate=estimate,
        interval95=stretched_interval(estimate, draws, degrees, 0.95),
        interval90=stretched_interval(estimate, draws, degrees, 0.90),
        t_interval95=student(0.95),
        t_interval90=student(0.90),
        folds_interval95=over_groups(0.95),
        folds_interval90=over_groups(0.90),
        p_value=_p_value(estimate, error, degrees),
        standard_error=error,
        day_variance=day_variance,
        seed_variance=seed_variance,
        degrees_of_freedom=degrees,
    )


def _p_value(estimate: float, error: float, degrees: float) -> float:
    from scipy.special import stdtr

    if error < DUST:
        return 1.0 if abs(estimate) < DUST else 0.0
    return float(2 * stdtr(degrees, -abs(estimate) / error))


def _side(*intervals: Interval) -> int:
    if all(high < -DUST for _, high in intervals):
        return -1
    return int(all(low > DUST for low, _ in intervals))


def _degrees_of_freedom(
    day_variance: float, day_degrees: float, by_cell: Array, seed_degrees: Array
) -> float:
    """Satterthwaite's degrees of freedom of the days' variance plus each cell's [cells, folds]."""
    total = day_variance + by_cell.sum()
    parts = day_variance**2 / day_degrees + (by_cell**2 / seed_degrees).sum()
    return float(total**2 / parts) if parts > 0 else day_degrees


def _seed_variance(loss: Array, days: int) -> float:
    """What the spread of the seeds in a fold [seeds, its days] adds to the variance of the mean.

    The mean is over all `days`. It is 0 for a single seed, whose spread is unknown.
    """
    return float((loss.sum(axis=1) / days).var(ddof=1) / len(loss)) if len(loss) > 1 else 0.0


def _both_variance(loss: Array, days: int) -> float:
    """What noise of one seed on one day adds to it, from a fold's residuals [seeds, its days].

    It is taken as independent from day to day: what a seed has in common with itself over days is
    the spread of the seeds.
    """
    n, own = loss.shape
    if n < 2 or own < 2:
        return 0.0
    rest = loss - loss.mean(axis=0) - loss.mean(axis=1, keepdims=True) + loss.mean()
    return float((rest**2).sum() / ((n - 1) * (own - 1)) * own / (n * days**2))
