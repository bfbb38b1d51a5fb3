"""Does loss fall with size? The slope per decade, its two-way bootstrap, and what may be said.

A ladder is S sizes, each trained with K_s seeds, every network judged on the same T test days.
Both the days and the seeds are a sample: an interval that ignores either is too narrow (simulated:
seed-only covers 46-91 %, day-only 81-93 %). `docs/statistics.md` has the method and its sources.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scaling import metrics
from scaling.judging.curves import compare_shapes
from scaling.judging.ladder import Ladder

Array = npt.NDArray[np.float64]

BOOTSTRAP_SEED = 20200306
SHORTEST_BLOCK = 10
POWER = 0.8
FEW_BLOCKS = 30
# Differences below this are rounding: networks that all predict one constant differ by 1e-17.
DUST = 1e-9


# --- resampling ------------------------------------------------------------------------------


def block_length(series: Array, horizon: int) -> int:
    """Mean block of the stationary bootstrap: max(horizon, optimum, 10), in days.

    `series` [r, days] are the daily values whose means are asked for; the optimum (Politis &
    White 2004, corrected by Patton, Politis & White 2009) is the largest over them. Labels of
    neighbouring days share `horizon - 1` closes, hence at least the horizon.
    """
    from arch.bootstrap import optimal_block_length

    varying = [row for row in series if row.std() > 1e-12]
    optimum = [float(optimal_block_length(row)["stationary"].iloc[0]) for row in varying]
    return max(horizon, SHORTEST_BLOCK, *(math.ceil(b) for b in optimum if math.isfinite(b)))


def day_weights(days: int, block: int, samples: int, seed: int) -> Array:
    """Stationary bootstrap (Politis & Romano 1994) as the weight of each day, [samples, days]."""
    from arch.bootstrap import StationaryBootstrap

    resampler = StationaryBootstrap(block, np.arange(days), seed=seed)
    drawn = (resampler.update_indices() for _ in range(samples))
    return np.stack([np.bincount(index, minlength=days) for index in drawn]) / days


def resampled_means(losses: Sequence[Array], days: Array, seed: int) -> Array:
    """Mean loss of each size with days *and* seeds resampled, [sizes, samples].

    The days of a draw are those of `days` [samples, T], the same for every network; the seeds are
    drawn within each size. K seeds drawn from K have (K-1)/K of the variance they should have, so
    their deviations are stretched by sqrt(K / (K-1)) (Davison & Hinkley 1997, section 2.3). A
    single seed has no spread to draw from: its size gets the days' variance alone.
    """
    rng = np.random.default_rng(seed)
    means = []
    for loss in losses:
        each = loss @ days.T
        centre = each.mean(axis=0)
        n = len(loss)
        if n > 1:
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=len(days)).T / n
            centre = centre + math.sqrt(n / (n - 1)) * ((drawn * each).sum(axis=0) - centre)
        means.append(centre)
    return np.stack(means)


def stretched_interval(estimate: float, draws: Array, freedom: float, level: float) -> list[float]:
    """Percentile interval of bootstrap draws, its tails those of Student's t.

    A percentile interval is as narrow as a normal one however few seeds there are: with three
    per size and little day noise it covers 87 %. Its ends are therefore moved away from the
    estimate by t / z at the degrees of freedom (after the "expanded percentile interval" of
    Hesterberg 2015, The American Statistician 69).
    """
    tail = (1 - level) / 2
    stretch = _t_quantile(1 - tail, freedom) / _t_quantile(1 - tail, math.inf)
    ends = np.quantile(draws, [tail, 1 - tail])
    return [float(estimate + stretch * (end - estimate)) for end in ends]


class Effect(NamedTuple):
    """A linear combination of the sizes' mean losses, with what is known of its error."""

    estimate: float
    draws: Array
    """Two-way bootstrap, [samples]."""
    day_variance: float
    seed_variance: float
    freedom: float
    """Degrees of freedom (Satterthwaite) of the sum of the two variances."""

    @property
    def error(self) -> float:
        """Standard error from both sources."""
        return math.sqrt(self.day_variance + self.seed_variance)

    def interval(self, level: float) -> list[float]:
        """Percentile interval of the two-way bootstrap, stretched (see `stretched_interval`)."""
        return stretched_interval(self.estimate, self.draws, self.freedom, level)

    def t_interval(self, level: float) -> list[float]:
        """Estimate and the summed variances, with Student's t for the few seeds and blocks."""
        half = _t_quantile((1 + level) / 2, self.freedom) * self.error
        return [self.estimate - half, self.estimate + half]

    @property
    def p_value(self) -> float:
        """Two-sided, of no effect, by the t statistic."""
        from scipy.stats import t

        if self.error < DUST:
            return 1.0 if abs(self.estimate) < DUST else 0.0
        return float(2 * t.sf(abs(self.estimate) / self.error, self.freedom))


def effects(
    losses: Sequence[Array],
    weights: Array,
    *,
    less: Array | None = None,
    horizon: int,
    samples: int,
    seed: int = BOOTSTRAP_SEED,
) -> tuple[list[Effect], int, Array]:
    """Estimate `weights @ mean losses of the sizes - mean of less`, for each row of weights.

    `losses` holds [seeds, days] per size, `weights` is [effects, sizes], `less` [effects, days]
    is subtracted day by day (a baseline's losses). Returns the effects, the block length that
    their daily values ask for, and the resampled size means [sizes, samples].
    """
    daily = weights @ np.stack([loss.mean(axis=0) for loss in losses])
    if less is not None:
        daily = daily - less
    n_days = daily.shape[1]
    block = block_length(daily, horizon)
    days = day_weights(n_days, block, samples, seed)
    means = resampled_means(losses, days, seed + 1)
    draws = weights @ means
    if less is not None:
        draws = draws - less @ days.T
    day_variance = (daily @ days.T).var(axis=1, ddof=1)
    day_freedom = max(n_days / block - 1, 1.0)
    of_size = np.array([_seed_variance(loss) for loss in losses])
    seed_freedom = np.array([max(len(loss) - 1, 1) for loss in losses])
    result = []
    for row, weight in enumerate(weights):
        by_size = weight**2 * of_size
        total = day_variance[row] + by_size.sum()
        parts = day_variance[row] ** 2 / day_freedom + (by_size**2 / seed_freedom).sum()
        result.append(
            Effect(
                estimate=float(daily[row].mean()),
                draws=draws[row],
                day_variance=float(day_variance[row]),
                seed_variance=float(by_size.sum()),
                freedom=float(total**2 / parts) if parts > 0 else day_freedom,
            )
        )
    return result, block, means


def slope_weights(parameters: Array) -> Array:
    """Weights [sizes] that turn mean losses into their least-squares slope per decade."""
    x = np.log10(parameters)
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def _seed_variance(loss: Array) -> float:
    """Variance of a size's mean over its seeds; 0 for one seed, which cannot tell."""
    return float(loss.mean(axis=1).var(ddof=1) / len(loss)) if len(loss) > 1 else 0.0


def _t_quantile(probability: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(probability, freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of p-values (Holm 1979), in the order given."""
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


# --- the verdict -----------------------------------------------------------------------------


def verdict(slope: Effect, delta: float, replicated: bool) -> str:
    """One of four. Bootstrap and t interval must agree, and without replicates none is claimed.

    `delta` in nats per decade. Improves: 95 % below 0. Equivalent: 90 % inside +-delta, which is
    two one-sided tests at 5 % (Schuirmann 1987).
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

    With 80 % power at two-sided 5 %. The target is the delta set in advance, never the estimate
    that was found. To first order the days' variance falls with their number and the seeds' with
    theirs; None where one of the two alone can never be enough.
    """
    multiple = _t_quantile(0.975, slope.freedom) + _t_quantile(POWER, slope.freedom)
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


# --- everything of one study -----------------------------------------------------------------


def fit_law(ladder: Ladder, *, horizon: int, delta: float, samples: int) -> dict[str, Any]:
    """The law of one study, JSON-ready: verdict, slope, sizes, contrasts, shapes, baselines.

    `delta` is the config's fraction of the base-rate entropy per decade, `samples` the number of
    bootstrap draws.
    """
    entropy = metrics.entropy(ladder.base_rate)
    delta_nats = delta * entropy
    n_sizes, n_days = len(ladder.budgets), len(ladder.dates)
    replicated = all(len(seeds) > 1 for seeds in ladder.seeds)
    pairs = [(i, j) for i in range(n_sizes) for j in range(i + 1, n_sizes)]
    weights = [slope_weights(ladder.parameters)]
    weights += [np.eye(n_sizes)[j] - np.eye(n_sizes)[i] for i, j in pairs]
    (slope, *differences), block, means = effects(
        ladder.losses, np.stack(weights), horizon=horizon, samples=samples
    )
    sizes, level_block = _sizes(ladder, horizon, samples)
    found = verdict(slope, delta_nats, replicated)
    network = _best_network(ladder, sizes, horizon, samples)
    could_see = sensitivity(slope, delta_nats, n_days, max(len(s) for s in ladder.seeds))
    if not replicated:
        could_see |= {"seeds_needed": None, "seeds_needed_note": "unknown: a size has one seed"}
    adjusted = holm([effect.p_value for effect in differences])
    result = {
        "verdict": found,
        "sentence": "",
        "warnings": _warnings(ladder, sizes, slope, delta_nats, block),
        "slope": {
            "estimate": slope.estimate,
            "interval95": slope.interval(0.95),
            "interval90": slope.interval(0.90),
            "t_interval95": slope.t_interval(0.95),
            "t_interval90": slope.t_interval(0.90),
            "p_value": slope.p_value,
            "standard_error": slope.error,
            "day_variance": slope.day_variance,
            "seed_variance": slope.seed_variance if replicated else None,
            "freedom": slope.freedom,
            "share_of_entropy": slope.estimate / entropy,
            "unit": "nats per decade of parameters",
        },
        "delta": delta_nats,
        "delta_fraction": delta,
        "base_rate": ladder.base_rate,
        "base_rate_entropy": entropy,
        **could_see,
        "sizes": sizes,
        "contrasts": [
            {
                "smaller": ladder.budgets[i],
                "larger": ladder.budgets[j],
                "difference": effect.estimate,
                "interval95": effect.interval(0.95),
                "p_value": effect.p_value,
                "p_holm": p,
            }
            for (i, j), effect, p in zip(pairs, differences, adjusted, strict=True)
        ],
        "models_compared": compare_shapes(
            ladder.parameters,
            np.array([size["log_loss"] for size in sizes]),
            np.cov(means),
            slope.freedom,
            found == "improves",
        ),
        "best_network": network,
        "block_length": block,
        "level_block_length": level_block,
        "bootstrap_samples": samples,
        "bootstrap_seed": BOOTSTRAP_SEED,
        "days": {
            "count": n_days,
            "first": str(ladder.dates[0].date()),
            "last": str(ladder.dates[-1].date()),
            "positives": int(ladder.y.sum()),
        },
        "seeds": dict(zip(ladder.budgets, ladder.seeds, strict=True)),
    }
    return result | {"sentence": sentence(result)}


def _sizes(ladder: Ladder, horizon: int, samples: int) -> tuple[list[dict[str, Any]], int]:
    """Loss and skill of each size; both have their own block, for levels wander more than slopes.

    Skill is a ratio, so its interval takes the base rate's loss on the same resampled days.
    """
    reference = metrics.log_losses(ladder.y, np.full(len(ladder.y), ladder.base_rate))
    levels, block, _ = effects(
        ladder.losses, np.eye(len(ladder.budgets)), horizon=horizon, samples=samples
    )
    days = day_weights(len(ladder.dates), block, samples, BOOTSTRAP_SEED)
    resampled_reference = days @ reference
    rows = []
    for index, level in enumerate(levels):
        skill = 1 - level.estimate / float(reference.mean())
        skills = 1 - level.draws / resampled_reference
        each = ladder.losses[index].mean(axis=1)
        rows.append(
            {
                "budget": ladder.budgets[index],
                "parameters": int(ladder.parameters[index]),
                "seeds": ladder.seeds[index],
                "log_loss": level.estimate,
                "interval": level.interval(0.95),
                "skill": skill,
                "skill_interval": stretched_interval(skill, skills, level.freedom, 0.95),
                "seed_log_losses": [float(x) for x in each],
                "seed_deviation": float(each.std(ddof=1)) if len(each) > 1 else None,
                "validation_log_loss": ladder.validation[index],
            }
        )
    return rows, block


def _best_network(
    ladder: Ladder, sizes: list[dict[str, Any]], horizon: int, samples: int
) -> dict[str, Any]:
    """The size that validation prefers, against each baseline, day by day.

    The size's loss is the mean over its seeds, not its luckiest seed. Negative differences are
    the network's. The baselines are taken as they are, so no variance is counted for them.
    """
    best = int(np.argmin(ladder.validation))
    names = list(ladder.baselines)
    less = np.stack([ladder.baselines[name] for name in names])
    found, block, _ = effects(
        [ladder.losses[best]], np.ones((len(names), 1)), less=less, horizon=horizon, samples=samples
    )
    replicated = len(ladder.losses[best]) > 1
    reference = metrics.log_loss(ladder.y, np.full(len(ladder.y), ladder.base_rate))
    against = {}
    for name, effect, p in zip(names, found, holm([e.p_value for e in found]), strict=True):
        wide = [effect.interval(0.95), effect.t_interval(0.95)]
        beats = replicated and all(high < -DUST for _, high in wide)
        loses = replicated and all(low > DUST for low, _ in wide)
        against[name] = {
            "log_loss": float(ladder.baselines[name].mean()),
            "skill": 1 - float(ladder.baselines[name].mean()) / reference,
            "difference": effect.estimate,
            "interval95": wide[0],
            "t_interval95": wide[1],
            "p_value": effect.p_value,
            "p_holm": p,
            "beats": beats,
            "verdict": "beats it" if beats else "loses to it" if loses else "cannot be told apart",
        }
    return {
        "budget": ladder.budgets[best],
        "chosen_by": "lowest validation log-loss, mean over seeds",
        "log_loss": sizes[best]["log_loss"],
        "skill": sizes[best]["skill"],
        "skill_interval": sizes[best]["skill_interval"],
        "block_length": block,
        "against": against,
    }


def _warnings(
    ladder: Ladder, sizes: list[dict[str, Any]], slope: Effect, delta: float, block: int
) -> list[str]:
    found = []
    single = [b for b, s in zip(ladder.budgets, ladder.seeds, strict=True) if len(s) == 1]
    if single:
        found.append(
            f"one seed only for {', '.join(single)}: the spread between seeds is unknown, the "
            "intervals cover the days alone, and no verdict but inconclusive is given"
        )
    blocks = len(ladder.dates) / block
    if blocks < FEW_BLOCKS:
        found.append(
            f"{len(ladder.dates)} test days are about {blocks:.0f} independent blocks of {block}; "
            f"below {FEW_BLOCKS} the bootstrap's intervals are rough"
        )
    if len(ladder.budgets) == 2:
        found.append("two sizes: the slope is their difference, its shape cannot be checked")
    if all(size["skill"] <= 0 for size in sizes):
        found.append(
            "no size beats the training base rate on the test days: a slope among them is not "
            "predictive power"
        )
    boot, student = (
        low < DUST and high > -DUST for low, high in (slope.interval(0.95), slope.t_interval(0.95))
    )
    if boot != student:
        found.append(
            "bootstrap and t interval disagree on whether the slope is 0; "
            "the verdict follows the cautious one"
        )
    if slope.interval(0.95)[1] < -DUST and slope.interval(0.95)[0] > -delta:
        found.append("the slope is below 0, but the whole interval is smaller than delta")
    return found


def sentence(result: dict[str, Any]) -> str:
    """The finding in plain English: what was seen, how sure, and how it stands to the baselines."""
    slope, days = result["slope"], result["days"]
    low, high = slope["interval95"]
    measured = (
        f"test log-loss {'falls' if slope['estimate'] < 0 else 'rises'} by "
        f"{abs(slope['estimate']):.4f} nats for ten times the parameters (95 % interval of the "
        f"slope {low:+.4f} to {high:+.4f}, {days['count']:,} test days "
        f"{days['first'][:4]}-{days['last'][:4]})"
    )
    delta = f"{result['delta']:.4f}"
    if result["verdict"] == "inconclusive":
        text = f"These data do not settle whether bigger networks predict better: {measured}; "
        if slope["seed_variance"] is None:
            text += "a size has one seed only, so the spread between seeds is unknown"
        else:
            text += (
                f"an effect below {result['smallest_detectable_effect']:.4f} would probably have "
                f"been missed{_needed(result)}"
            )
    elif result["verdict"] == "equivalent to no effect":
        text = f"Size makes no difference that matters (less than {delta}): {measured}"
    else:
        word = "better" if result["verdict"] == "improves" else "worse"
        text = f"Bigger networks predict {word}: {measured}"
        if -result["delta"] < low and high < result["delta"]:
            text += f", though by less than the {delta} set in advance as mattering"
    if all(size["skill"] <= 0 for size in result["sizes"]):
        text += "; no size beats the base rate"
    network = result["best_network"]
    groups: dict[str, list[str]] = {}
    for name, row in network["against"].items():
        groups.setdefault(row["verdict"], []).append(str(name).replace("_", " "))
    wording = {
        "beats it": "beats",
        "loses to it": "loses to",
        "cannot be told apart": "cannot be told apart from",
    }
    against = ", ".join(
        f"{wording[found]} {' and '.join(groups[found])}" for found in wording if found in groups
    )
    return f"{text}; the best network on validation ({network['budget']}) {against}."


def _needed(result: dict[str, Any]) -> str:
    """What it would take to see delta, as a clause; nothing where the study has it already."""
    if result["smallest_detectable_effect"] <= result["delta"]:
        return ""
    ways = []
    if result["days_needed"]:
        ways.append(f"about {result['days_needed']:,} test days")
    if result["seeds_needed"]:
        ways.append(f"{result['seeds_needed']} seeds per size")
    effort = " or ".join(ways) or "more seeds and more test days"
    return f", and seeing {result['delta']:.4f} takes {effort}"
