"""What may be said of a slope, and what a study of this size could have seen at all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.law.bootstrap import Interval, t_quantile
from scaling.law.effects import Effect, holm

POWER = 0.8
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
    pairs: Sequence[tuple[str, str]],
    decades: Sequence[float],
    found: Sequence[Effect],
    delta: float,
) -> list[Contrast]:
    """A row for each pair of points; `decades` lie between them, `delta` is in nats per decade.

    Points closer than a decade have the bound of a whole decade. A bound in proportion would ask
    for thrice the precision of the slope itself wherever two sizes stand close together.
    """
    adjusted = holm([effect.p_value for effect in found])
    bounds = [delta * max(1.0, apart) for apart in decades]
    return [
        Contrast(
            smaller=smaller,
            larger=larger,
            difference=effect.estimate,
            interval95=effect.interval95,
            interval90=effect.interval90,
            p_value=effect.p_value,
            p_holm=p,
            equivalence_bound=bound,
            equivalent=effect.inside(bound),
        )
        for (smaller, larger), bound, effect, p in zip(pairs, bounds, found, adjusted, strict=True)
    ]


def verdict(
    slope: Effect, delta: float, *, equivalent: bool, replicated: bool, one_direction: bool
) -> str:
    """One of four words. Both intervals must agree, and without replicates there is no claim.

    `delta` is in nats per decade. "improves" needs a 95 % interval of the slope below 0, "inverse
    scaling" one above 0, and neither is said unless the loss goes in `one_direction`, because over
    a turning point a slope is no finding. "equivalent to no effect" is EQUIVALENCE: pairs of
    one-sided tests at 5 % (Schuirmann 1987), which must all succeed and therefore need no
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

    Both at 80 % power and two-sided 5 %. A number is None where more of that kind alone can never
    be enough, and that of the seeds also where too few replicates leave their spread unknown.
    """

    smallest_detectable_effect: float
    """Nats per decade."""
    days_needed: int | None
    """Test days."""
    days_needed_note: str
    seeds_needed: int | None
    """Per size."""
    seeds_needed_note: str


def sensitivity(
    slope: Effect, delta: float, test_days: int, seeds: int, *, replicated: bool
) -> Sensitivity:
    """What a study with this slope's error could have seen; `delta` is in nats per decade.

    The target is the delta set in advance, never the estimate: power computed at the estimate only
    restates the p-value. To first order the days' variance falls with the number of days, and the
    seeds' with the number of seeds.
    """
    degrees = slope.degrees_of_freedom
    multiple = t_quantile(0.975, degrees) + t_quantile(POWER, degrees)
    target = (delta / multiple) ** 2
    seed_variance = slope.seed_variance or 0.0
    more_days = _scaled(test_days, slope.day_variance, target - seed_variance)
    more_seeds = _scaled(seeds, seed_variance, target - slope.day_variance)
    seeds_note = "no number of seeds is enough: the days alone hide delta"
    if not replicated:
        more_seeds, seeds_note = None, "unknown: too few replicates"
    return Sensitivity(
        smallest_detectable_effect=multiple * slope.standard_error,
        days_needed=more_days,
        days_needed_note="to see delta with these seeds"
        if more_days
        else "no number of days is enough: the spread between seeds alone hides delta",
        seeds_needed=more_seeds,
        seeds_needed_note="per size, to see delta on these days" if more_seeds else seeds_note,
    )


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    return max(count, math.ceil(count * variance / allowed)) if allowed > 0 else None
