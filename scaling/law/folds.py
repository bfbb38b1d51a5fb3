"""A walk forward fold by fold: the slope of each, and whether a single one carries the result."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from scaling.law.bootstrap import Interval, Settings
from scaling.law.effects import Effect, estimate_effects
from scaling.law.table import Table

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldSlope:
    """A slope on the test days of one fold."""

    origin: int
    """The first test year."""
    days: int
    positives: float
    """Of several markets the sum of the days' shares."""
    slope: float
    """Nats per decade."""
    interval95: Interval
    """Over the days and the seeds of the fold alone."""
    claimed_without: bool
    """Whether all other folds together still have a slope whose intervals exclude 0."""


def fold_slopes(table: Table, weights: Array, settings: Settings) -> list[FoldSlope]:
    """The effect `weights` [cells] in each fold; empty where the years are cut once."""
    if not table.folds:
        return []
    days = len(table.dates)
    found = []
    for origin, own in zip(table.folds, settings.by_fold(days), strict=True):
        inside = np.zeros(days, bool)
        inside[own] = True
        effect = _on(table, inside, weights, replace(settings, folds=()))
        others = tuple(count for other, count in table.folds.items() if other != origin)
        rest = _on(table, ~inside, weights, replace(settings, folds=others)) if others else effect
        found.append(
            FoldSlope(
                origin=origin,
                days=int(inside.sum()),
                positives=float(table.y[own].sum()),
                slope=effect.estimate,
                interval95=effect.interval95,
                claimed_without=rest.side != 0,
            )
        )
    return found


def _on(table: Table, days: npt.NDArray[np.bool_], weights: Array, settings: Settings) -> Effect:
    losses = [loss[:, days] for loss in table.losses]
    return estimate_effects(losses, weights[None], settings).effects[0]
