"""Losses beside each other: what all models of a surface share on a test day cancels.

A loss wanders with the weather of the test days, and the interval of a level is wide for that
reason. The weather is common to all models. What is left of it, when the mean of all cells is
subtracted day by day, decides whether one cell lies above another.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scaling.law.axis import Settings
from scaling.law.effects import Effect, effects
from scaling.law.ladder import Surface
from scaling.law.levels import ensemble

Array = npt.NDArray[np.float64]
Interval = list[float]


class Paired(NamedTuple):
    """95 % intervals of losses, without what is common to all cells on the same day."""

    cells: list[Interval]
    """Over days and seeds."""
    ensembles: list[Interval]
    """Of each cell's mean probability, over days."""
    baselines: dict[str, list[Interval]]
    """For each baseline at each number of training days, over days."""


def paired_intervals(surface: Surface, settings: Settings) -> Paired:
    """The intervals of all distances from the mean of the cells, each put around its own loss."""
    count = len(surface.losses)
    mean = np.mean([loss.mean(axis=0) for loss in surface.losses], axis=0)
    cells = _effects(surface.losses, np.eye(count) - 1 / count, settings)
    means = ensembles_of(surface)
    fitted = [loss[None] for losses in surface.baselines.values() for loss in losses]
    fixed = [*means, *fitted]
    others = _effects(fixed, np.eye(len(fixed)), settings, less=np.tile(mean, (len(fixed), 1)))
    centre = float(mean.mean())
    placed = [[centre + end for end in effect.interval(0.95)] for effect in (*cells, *others)]
    levels = iter(placed[2 * count :])
    return Paired(
        cells=placed[:count],
        ensembles=placed[count : 2 * count],
        baselines={
            name: [next(levels) for _ in losses] for name, losses in surface.baselines.items()
        },
    )


def ensembles_of(surface: Surface) -> list[Array]:
    """The loss of each cell's mean probability on each test day, [1, days]."""
    return surface.ensembles or [ensemble(loss) for loss in surface.losses]


def against_baselines(surface: Surface, settings: Settings) -> list[dict[str, Any]]:
    """For each cell, its loss minus that of each baseline on the same number of training days.

    A difference below 0 favours the network. Its interval is over days and seeds.
    """
    sizes = len(surface.budgets)
    found: list[dict[str, Any]] = [{} for _ in surface.losses]
    for name, losses in surface.baselines.items():
        less = np.stack([*losses] * sizes)
        rows = _effects(surface.losses, np.eye(len(less)), settings, less=less)
        for cell, effect in zip(found, rows, strict=True):
            cell[name] = {"difference": effect.estimate, "interval95": effect.interval(0.95)}
    return found


def _effects(
    losses: list[Array], weights: Array, settings: Settings, less: Array | None = None
) -> list[Effect]:
    found, _, _ = effects(
        losses, weights, less=less, horizon=settings.horizon, samples=settings.samples
    )
    return found
