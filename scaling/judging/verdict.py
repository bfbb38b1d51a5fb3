"""What may be said of a slope, and what a study of this size could have seen at all."""

import math
from typing import Any

from scaling.judging.effects import DUST, Effect
from scaling.judging.resampling import t_quantile

POWER = 0.8


def verdict(slope: Effect, delta: float, replicated: bool) -> str:
    """One of four words. Both intervals must agree, and a size with one seed allows no claim.

    `delta` is in nats per decade. "improves" needs a 95 % interval below 0, "inverse scaling" one
    above 0. "equivalent to no effect" needs the 90 % interval inside +-delta, which amounts to two
    one-sided tests at 5 % (Schuirmann 1987). All else is "inconclusive".
    """
    if not replicated:
        return "inconclusive"
    wide = [slope.interval(0.95), slope.t_interval(0.95)]
    narrow = [slope.interval(0.90), slope.t_interval(0.90)]
    if all(high < -DUST for _, high in wide):
        return "improves"
    if all(low > DUST for low, _ in wide):
        return "inverse scaling"
    if all(-delta < low and high < delta for low, high in narrow):
        return "equivalent to no effect"
    return "inconclusive"


def sensitivity(slope: Effect, delta: float, days: int, seeds: int) -> dict[str, Any]:
    """What the study could have seen, and what it would take to see `delta`.

    Both at 80 % power and two-sided 5 %. The target is the delta set in advance, never the
    estimate: power computed at the estimate only restates the p-value. To first order the days'
    variance falls with the number of days, and the seeds' with the number of seeds. A number is
    None where more of that kind alone can never be enough.
    """
    multiple = t_quantile(0.975, slope.freedom) + t_quantile(POWER, slope.freedom)
    target = (delta / multiple) ** 2
    more_days = _scaled(days, slope.day_variance, target - slope.seed_variance)
    more_seeds = _scaled(seeds, slope.seed_variance, target - slope.day_variance)
    return {
        "smallest_detectable_effect": multiple * slope.error,
        "days_needed": more_days,
        "days_needed_note": "to see delta with these seeds"
        if more_days
        else "no number of days is enough: the spread between seeds alone hides delta",
        "seeds_needed": more_seeds,
        "seeds_needed_note": "per size, to see delta on these days"
        if more_seeds
        else "no number of seeds is enough: the days alone hide delta",
    }


def _scaled(count: int, variance: float, allowed: float) -> int | None:
    return max(count, math.ceil(count * variance / allowed)) if allowed > 0 else None
