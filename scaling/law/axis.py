"""One axis of a table: its slope, contrasts and turning point, on average and at each point."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaling.law.bootstrap import Interval, Settings
from scaling.law.effects import (
    LEVEL,
    Effect,
    contrast_weights,
    estimate_effects,
    holm,
    slope_weights,
)
from scaling.law.table import Table
from scaling.law.transfer import SizeRecipe
from scaling.law.turning_point import TurningPoint, find_turning_point
from scaling.law.verdict import Contrast, Sensitivity, contrast_rows, sensitivity, verdict
from scaling.metrics import Array


@dataclass(frozen=True)
class AtPoint:
    """An axis at one point of the others."""

    at: str
    slope: Effect
    p_holm: float
    """Of the slope, adjusted for the number of points."""
    turns: bool
    """Whether the loss turns here, adjusted for the number of points."""
    turning_point: TurningPoint


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


@dataclass(frozen=True)
class AxisLaw:
    """What is known of the loss along one axis, averaged over the others."""

    verdict: str
    points: list[str]
    """Those that slope, contrasts and verdict are over."""
    slope: Effect
    """Nats per decade; over several axes that of the additive model."""
    sensitivity: Sensitivity
    contrasts: list[Contrast]
    turning_point: TurningPoint
    at_each: list[AtPoint]
    """The axis at each point of the others; empty if it is the only one."""
    crosses: bool
    """The slope is below 0 at one point of the others and above 0 at another."""
    block_length: int
    """Mean block of the bootstrap in days."""
    folds: list[FoldSlope] = field(default_factory=list)
    """The slope in each fold of a walk forward; empty where the years are cut once."""
    recipe: str = ""
    """Why a difference of sizes may be one of recipes; empty where nothing says so."""

    @property
    def carried_by(self) -> list[int]:
        """The folds without any one of which the intervals of the slope would hold 0."""
        claimed = self.slope.side != 0
        return [fold.origin for fold in self.folds if claimed and not fold.claimed_without]

    @property
    def bent(self) -> bool:
        """Whether the loss turns, on average or at a point of the other axes."""
        return self.turning_point.kind is not None or any(each.turns for each in self.at_each)


class Line(NamedTuple):
    """The loss along one axis, for one way to average or to pick the cells of each point."""

    slope: Effect
    contrasts: dict[tuple[int, int], Effect]
    """Point j minus point i, for every i < j."""
    turning_point: TurningPoint
    block_length: int


def line(
    losses: Sequence[Array],
    positions: Array,
    averages: Array,
    settings: Settings,
    *,
    replicated: bool,
) -> Line:
    """Estimate the loss along one axis. Without replicates, no turning point is found.

    `losses` holds [seeds, days] for each cell. `positions` [points] are parameters or training
    days, and the rows of `averages` [points, cells] average the cells of each point.
    """
    pairs, differences = contrast_weights(len(positions))
    weights = np.vstack([slope_weights(positions), differences]) @ averages
    found = estimate_effects(losses, weights, settings)
    slope, *effects = found.effects
    contrasts = dict(zip(pairs, effects, strict=True))
    loss = averages @ np.array([cell.mean(axis=0).mean() for cell in losses])
    covariance = np.cov(averages @ found.means)
    turning_point = find_turning_point(
        contrasts, positions, loss, covariance, replicated=replicated
    )
    slope = slope if replicated else slope.without_known_seeds
    return Line(slope, contrasts, turning_point, found.block_length)


def judge_axis(
    table: Table, name: str, settings: Settings, delta: float, *, replicated: bool
) -> AxisLaw:
    """Judge one axis of a table, averaged over the others.

    A slope is claimed only if the loss turns nowhere and the slopes do not cross. Equivalence also
    needs the slope at each point of the others inside +-`delta`, which is in nats per decade.
    """
    axis, others = table.axes[name], [other for other in table.varying if other != name]
    place = list(table.axes).index(name)
    cells = np.eye(len(table.losses)).reshape(*table.shape, -1)
    cells = np.moveaxis(cells, place, 0).reshape(len(axis.points), -1, len(table.losses))
    whole, *each = (
        line(table.losses, axis.positions, averages, settings, replicated=replicated)
        for averages in (cells.mean(axis=1), *(cells.swapaxes(0, 1) if others else ()))
    )
    at_each = _at_each(each, product(*(table.axes[other].points for other in others)))
    sides = {row.slope.side for row in at_each if replicated and row.p_holm < LEVEL}
    contrasts = contrast_rows(axis, whole.contrasts, delta)
    law = AxisLaw(
        verdict="",
        points=axis.points,
        slope=whole.slope,
        sensitivity=sensitivity(
            whole.slope,
            delta,
            len(table.dates),
            replicated=replicated,
        ),
        contrasts=contrasts,
        turning_point=whole.turning_point,
        at_each=at_each,
        crosses={-1, 1} <= sides,
        block_length=whole.block_length,
        folds=_fold_slopes(table, slope_weights(axis.positions) @ cells.mean(axis=1), settings),
    )
    word = verdict(
        law.slope,
        delta,
        equivalent=all(contrast.equivalent for contrast in contrasts)
        and all(row.slope.inside(delta) for row in at_each),
        replicated=replicated,
        one_direction=not law.bent and not law.crosses,
    )
    return replace(law, verdict=word)


def _fold_slopes(table: Table, weights: Array, settings: Settings) -> list[FoldSlope]:
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


def _at_each(lines: Sequence[Line], points: Iterable[tuple[str, ...]]) -> list[AtPoint]:
    if not lines:
        return []
    adjusted = holm([own.slope.p_value for own in lines])
    found = []
    for at, own, p in zip(points, lines, adjusted, strict=True):
        turning = own.turning_point
        turns = turning.kind is not None and len(lines) * (turning.p_value or 0.0) < LEVEL
        found.append(AtPoint(", ".join(at), own.slope, p, turns, turning))
    return found


def bound_by_recipe(sizes: AxisLaw, recipes: Sequence[SizeRecipe], delta: float) -> AxisLaw:
    """The sizes' law, with the verdict "recipe-bound" if a recipe may make what it claims.

    It may if a size was tried with no other learning rate, if its best rate is the first or last
    that was tried, or if the best rate would give it more than the law is about: the difference of
    the smallest and the largest size, or of an equivalence the smallest bound. Without `recipes`
    nothing is known of that, and the law stays.
    """
    if not recipes or sizes.verdict == "inconclusive":
        return sizes
    ends = sizes.points[0], sizes.points[-1]
    claimed = next(abs(c.difference) for c in sizes.contrasts if (c.smaller, c.larger) == ends)
    if sizes.verdict == "equivalent to no effect":
        claimed = min(contrast.equivalence_bound for contrast in sizes.contrasts)
    known = {size.budget: size for size in recipes}
    reasons = []
    for budget in sizes.points:
        size = known.get(budget)
        if size is None:
            reasons.append(f"{budget} was tried with no other learning rate")
        elif not size.bracketed:
            reasons.append(
                f"the best rate of {budget}, {size.best_rate:g}, is an end of those tried"
            )
        elif size.lost >= claimed:
            reasons.append(
                f"{budget} would gain {size.lost:.4f} nats by a rate of {size.best_rate:g}, and "
                f"the claim is about {claimed:.4f}"
            )
    if not reasons:
        return sizes
    return replace(sizes, verdict="recipe-bound", recipe="; ".join(reasons))
