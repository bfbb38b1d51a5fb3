"""What may be said of a slope, and what a study of this size could have seen at all."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from scaling.law.effects import Effect
from scaling.law.resampling import t_quantile

POWER = 0.8
EQUIVALENCE = (
    "equivalent only if the 90 % interval of the slope lies inside +-delta, and that of every "
    "difference between two sizes inside +-delta times the decades between them, or +-delta for "
    "less than a decade"
)


class Contrast(NamedTuple):
    """The difference of mean loss between two points of an axis, the larger minus the smaller."""

    effect: Effect
    decades: float
    """Between the two points."""

    def bound(self, delta: float) -> float:
        """The largest difference that does not matter, for `delta` in nats per decade.

        Points closer than a decade have the bound of a whole decade. A bound in proportion would
        ask for thrice the precision of the slope itself wherever two sizes stand close together.
        """
        return delta * max(1.0, self.decades)

    def within(self, delta: float) -> bool:
        """Whether the 90 % interval lies inside the bound."""
        return self.effect.inside(self.bound(delta), 0.90)


def verdict(
    slope: Effect,
    delta: float,
    *,
    contrasts: Sequence[Contrast],
    replicated: bool,
    one_direction: bool = True,
) -> str:
    """One of four words. Both intervals must agree, and without replicates there is no claim.

    `delta` is in nats per decade. "improves" needs a 95 % interval of the slope below 0, "inverse
    scaling" one above 0, and neither is said unless the loss goes in `one_direction`, because over
    a turning point a slope is no finding. "equivalent to no effect" is EQUIVALENCE: pairs of
    one-sided tests at 5 % (Schuirmann 1987), which must all succeed and therefore need no
    adjustment. All else is "inconclusive".
    """
    if not replicated:
        return "inconclusive"
    side = slope.excludes_zero(0.95)
    if side and one_direction:
        return "improves" if side < 0 else "inverse scaling"
    if slope.inside(delta, 0.90) and all(contrast.within(delta) for contrast in contrasts):
        return "equivalent to no effect"
    return "inconclusive"


def sensitivity(
    slope: Effect, delta: float, days: int, seeds: int, *, replicated: bool
) -> dict[str, Any]:
    """What the study could have seen, and what it would take to see `delta`.

    Both at 80 % power and two-sided 5 %. The target is the delta set in advance, never the
    estimate: power computed at the estimate only restates the p-value. To first order the days'
    variance falls with the number of days, and the seeds' with the number of seeds. A number is
    None where more of that kind alone can never be enough, and that of the seeds also where too few
    replicates leave their spread unknown.
    """
    multiple = t_quantile(0.975, slope.freedom) + t_quantile(POWER, slope.freedom)
    target = (delta / multiple) ** 2
    more_days = _scaled(days, slope.day_variance, target - slope.seed_variance)
    more_seeds = _scaled(seeds, slope.seed_variance, target - slope.day_variance)
    seeds_note = "no number of seeds is enough: the days alone hide delta"
    if not replicated:
        more_seeds, seeds_note = None, "unknown: too few replicates"
    return {
        "smallest_detectable_effect": multiple * slope.error,
        "days_needed": more_days,
        "days_needed_note": "to see delta with these seeds"
        if more_days
        else "no number of days is enough: the spread between seeds alone hides delta",
        "seeds_needed": more_seeds,
        "seeds_needed_note": "per size, to see delta on these days" if more_seeds else seeds_note,
    }


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    return max(count, math.ceil(count * variance / allowed)) if allowed > 0 else None
