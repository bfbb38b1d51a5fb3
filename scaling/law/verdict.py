"""What may be said of a slope, and what a study of this size could have seen at all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaling.law.bootstrap import Interval
from scaling.law.effects import Effect, holm
from scaling.law.table import Axis
from scaling.metrics import Array

MOST_TIMES = 1000
EQUIVALENCE = (
    "equivalent only if the 90 % interval of the slope lies inside +-delta, and that of every "
    "difference between two sizes inside +-delta times the decades between them, or +-delta for "
    "less than a decade"
)


@dataclass(frozen=True)
class Contrast:
    """The difference of mean loss between two points of an axis, the larger minus the smaller."""

    smaller: str
    larger: str
    difference: float
    interval95: Interval
    interval90: Interval
    p_value: float
    p_holm: float
    """Adjusted over all pairs of the axis."""
    equivalence_bound: float
    """The largest difference that does not matter, in nats."""
    equivalent: bool


def contrast_rows(
    axis: Axis, found: Mapping[tuple[int, int], Effect], delta: float
) -> list[Contrast]:
    """A row for each pair of points of an axis; `delta` is in nats per decade.

    Points closer than a decade have the bound of a whole decade. A bound in proportion would ask
    for thrice the precision of the slope itself wherever two sizes stand close together.
    """
    adjusted = holm([effect.p_value for effect in found.values()])
    rows = []
    for ((i, j), effect), p in zip(found.items(), adjusted, strict=True):
        bound = delta * max(1.0, float(np.log10(axis.positions[j] / axis.positions[i])))
        rows.append(
            Contrast(
                smaller=axis.points[i],
                larger=axis.points[j],
                difference=effect.estimate,
                interval95=effect.interval95,
                interval90=effect.interval90,
                p_value=effect.p_value,
                p_holm=p,
                equivalence_bound=bound,
                equivalent=effect.inside(bound),
            )
        )
    return rows


def verdict(
    slope: Effect, delta: float, *, equivalent: bool, replicated: bool, one_direction: bool
) -> str:
    """One of four words. All intervals must agree, and without replicates there is no claim.

    `delta` is in nats per decade. "improves" needs all 95 % intervals of the slope below 0,
    "inverse scaling" all above 0, and neither is said unless the loss goes in `one_direction`,
    because over a turning point a slope is no finding. "equivalent to no effect" is EQUIVALENCE:
    pairs of one-sided tests at 5 % (Schuirmann 1987), which must all succeed and therefore need no
    adjustment; `equivalent` says that those of the differences did. All else is "inconclusive".
    """
    if not replicated:
        return "inconclusive"
    if slope.side and one_direction:
        return "improves" if slope.side < 0 else "inverse scaling"
    if slope.inside(delta) and equivalent:
        return "equivalent to no effect"
    return "inconclusive"


@dataclass(frozen=True)
class Sensitivity:
    """What a study could have seen, and what it would take to see delta.

    Both at 80 % power and two-sided 5 %. A number is None where MOST_TIMES as many of that kind
    are not enough, and that of seeds also where too few replicates leave their spread unknown.
    """

    smallest_detectable_effect: float
    """Nats per decade."""
    days_needed: int | None
    """Test days."""
    days_needed_note: str
    seeds_needed: int | None
    """Per size."""
    seeds_needed_note: str


def sensitivity(slope: Effect, delta: float, test_days: int, *, replicated: bool) -> Sensitivity:
    """What a study with this slope's error could have seen; `delta` is in nats per decade.

    The target is the delta set in advance, never the estimate: power computed at the estimate only
    restates the p-value. Other numbers of days or seeds have other errors and degrees of freedom;
    see `Components`.
    """
    parts = slope.components
    assert parts is not None, "every slope that is estimated here has them"
    tried = np.geomspace(1, MOST_TIMES, 2000)
    more_days = _first(test_days, tried, parts.smallest_detectable(tried, 1) <= delta)
    seeds = parts.per_cell
    tried = np.arange(math.ceil(seeds), MOST_TIMES * seeds + 1) / seeds
    more_seeds = _first(seeds, tried, parts.smallest_detectable(1, tried) <= delta)
    seeds_note = f"{MOST_TIMES} times as many are not enough: the days hide delta"
    if not replicated:
        more_seeds, seeds_note = None, "unknown: too few replicates"
    return Sensitivity(
        smallest_detectable_effect=float(parts.smallest_detectable(1, 1)),
        days_needed=more_days,
        days_needed_note="to see delta with these seeds"
        if more_days
        else f"{MOST_TIMES} times as many are not enough: the spread between seeds hides delta",
        seeds_needed=more_seeds,
        seeds_needed_note="per size, to see delta on these days" if more_seeds else seeds_note,
    )


def _first(count: float, times: Array, enough: npt.NDArray[np.bool_]) -> int | None:
    """The first of so many times `count` that is enough, rounded up; None if none is."""
    return math.ceil(round(count * times[enough.argmax()], 6)) if enough.any() else None
