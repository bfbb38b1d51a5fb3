"""Resamples of the two samples behind every loss, the test days and the seeds.

`docs/statistics.md` explains the method and names its sources.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.law.transfer import SizeRecipe
from scaling.metrics import Array

Interval = tuple[float, float]

BOOTSTRAP_SEED = 20200306
SHORTEST_BLOCK = 10


@dataclass(frozen=True)
class Settings:
    """What is settled before any test row is read, and goes through the whole law."""

    horizon: int
    """In days."""
    delta_fraction: float
    """The smallest effect that matters, as a fraction of the base-rate entropy per decade."""
    samples: int
    """Draws of the bootstrap."""
    experiments: int = 1
    """Of the grid that the study belongs to; their comparisons with baselines are one family."""
    recipes: tuple[SizeRecipe, ...] = ()
    """What each size would gain by a learning rate of its own, as far as that was measured."""
    seed: int = BOOTSTRAP_SEED
    folds: tuple[int, ...] = ()
    """Test days of each fold of a walk forward, in order; empty where the years are cut once."""
    drawn: bool = False
    """Whether a seed also draws the days or markets that are trained on, the same for all sizes."""

    def by_fold(self, days: int) -> list[slice]:
        """The days of each fold; all of them are one if the years are cut once."""
        ends = np.cumsum(self.folds or (days,)).tolist()
        return [
            slice(end - count, end) for end, count in zip(ends, self.folds or ends, strict=True)
        ]


def block_length(series: Array, horizon: int, kind: str = "stationary") -> int:
    """Mean block of the bootstrap of that kind in days: max(horizon, optimum, 10).

    `series` [r, days] holds the daily values whose means are estimated. The optimum is that of
    Politis & White (2004), corrected by Patton, Politis & White (2009), and the largest over the
    series counts. Labels of neighbouring days share `horizon - 1` closes, so a block is never
    shorter than the horizon.
    """
    from arch.bootstrap import optimal_block_length

    varying = series[series.std(axis=1) > 1e-12]
    optimum: list[float] = []
    if len(varying):
        optimum = optimal_block_length(varying.T)[kind].tolist()
    return max(horizon, SHORTEST_BLOCK, *(math.ceil(b) for b in optimum if math.isfinite(b)))


@functools.lru_cache(maxsize=4)
def day_weights(days: int, block: int, samples: int, seed: int) -> Array:
    """Stationary bootstrap (Politis & Romano 1994) as the weight of each day, [samples, days].

    Kept for the next effect of the same days and blocks, so the array is not to be written to.
    """
    from arch.bootstrap import StationaryBootstrap

    resampler = StationaryBootstrap(block, np.arange(days), seed=seed)
    drawn = (resampler.update_indices() for _ in range(samples))
    weights = np.stack([np.bincount(index, minlength=days) for index in drawn]) / days
    weights.flags.writeable = False
    return weights


def with_resampled_seeds(
    resampled: Sequence[Iterable[Array]], seed: int, together: bool = False
) -> Array:
    """The mean of each cell's networks with seeds resampled, [cells, samples].

    `resampled` holds for each cell its folds [seeds, samples], which add up: a measure of each
    network on the same resampled days. Each fold trains its own networks, so seeds are drawn for
    each anew, and within each cell or for all cells `together`. K seeds drawn from K have (K-1)/K
    of the variance they should have, so their deviations are stretched by sqrt(K / (K-1)) (Davison
    & Hinkley 1997, section 2.3). A cell with one seed has no spread to draw from, and its resamples
    vary with the days alone.
    """
    rng = np.random.default_rng(seed)
    of_fold: dict[int, Array] = {}

    def mean(fold: int, each: Array) -> Array:
        n, samples = each.shape
        centre: Array = each.mean(axis=0)
        if n == 1:
            return centre
        if fold not in of_fold or not together:
            of_fold[fold] = rng.multinomial(n, np.full(n, 1 / n), size=samples).T / n
        apart = (of_fold[fold] * each).sum(axis=0) - centre
        return np.asarray(centre + math.sqrt(n / (n - 1)) * apart)

    return np.stack(
        [np.sum([mean(*fold) for fold in enumerate(cell)], axis=0) for cell in resampled]
    )


def stretched_interval(
    estimate: float, draws: Array, degrees_of_freedom: float, level: float
) -> Interval:
    """Percentile interval of bootstrap draws [samples], widened to the tails of Student's t.

    A percentile interval is as narrow as a normal one however few seeds there are: with three
    per size and little day noise it covers 87 %. Its ends are therefore moved away from the
    estimate by t / z at the degrees of freedom, after the "expanded percentile interval" of
    Hesterberg (2015, The American Statistician 69).
    """
    tail = (1 - level) / 2
    stretch = t_quantile(1 - tail, degrees_of_freedom) / t_quantile(1 - tail, math.inf)
    low, high = estimate + stretch * (np.quantile(draws, [tail, 1 - tail]) - estimate)
    return float(low), float(high)


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t; infinite degrees of freedom give the normal's."""
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, in a hundredth of the time

    return float(stdtrit(degrees_of_freedom, probability))
