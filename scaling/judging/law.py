"""The law of one study: does test loss fall with size, by how much, and how sure is that?

A ladder has S sizes, each trained with several seeds, and every network is judged on the same test
days. `docs/statistics.md` explains the method and names its sources.
"""

from typing import Any

import numpy as np

from scaling import metrics
from scaling.judging.against_baselines import best_network
from scaling.judging.effects import Effect, effects, holm, slope_weights
from scaling.judging.ladder import Ladder
from scaling.judging.resampling import BOOTSTRAP_SEED, day_weights, stretched_interval
from scaling.judging.shapes import compare_shapes
from scaling.judging.verdict import sensitivity, verdict
from scaling.judging.wording import sentence, warnings


def fit_law(ladder: Ladder, *, horizon: int, delta: float, samples: int) -> dict[str, Any]:
    """The law of one study, JSON-ready: verdict, slope, sizes, contrasts, shapes, baselines.

    `horizon` is in days, `delta` the config's fraction of the base-rate entropy per decade, and
    `samples` the number of bootstrap draws.
    """
    entropy = metrics.entropy(ladder.base_rate)
    delta_nats = delta * entropy
    n_sizes = len(ladder.budgets)
    replicated = all(len(seeds) > 1 for seeds in ladder.seeds)
    pairs = [(i, j) for i in range(n_sizes) for j in range(i + 1, n_sizes)]
    weights = [slope_weights(ladder.parameters)]
    weights += [np.eye(n_sizes)[j] - np.eye(n_sizes)[i] for i, j in pairs]
    (slope, *differences), block, means = effects(
        ladder.losses, np.stack(weights), horizon=horizon, samples=samples
    )
    sizes, level_block = _sizes(ladder, horizon, samples)
    found = verdict(slope, delta_nats, replicated)
    result = {
        "verdict": found,
        "sentence": "",
        "warnings": warnings(ladder, sizes, slope, delta_nats, block),
        "slope": _slope(slope, entropy, replicated),
        "delta": delta_nats,
        "delta_fraction": delta,
        "base_rate": ladder.base_rate,
        "base_rate_entropy": entropy,
        **_sensitivity(ladder, slope, delta_nats, replicated),
        "sizes": sizes,
        "contrasts": _contrasts(ladder, pairs, differences),
        "models_compared": compare_shapes(
            ladder.parameters,
            np.array([size["log_loss"] for size in sizes]),
            np.cov(means),
            slope.freedom,
            found == "improves",
        ),
        "best_network": best_network(ladder, sizes, horizon, samples),
        "block_length": block,
        "level_block_length": level_block,
        "bootstrap_samples": samples,
        "bootstrap_seed": BOOTSTRAP_SEED,
        "days": {
            "count": len(ladder.dates),
            "first": str(ladder.dates[0].date()),
            "last": str(ladder.dates[-1].date()),
            "positives": int(ladder.y.sum()),
        },
        "seeds": dict(zip(ladder.budgets, ladder.seeds, strict=True)),
    }
    return result | {"sentence": sentence(result)}


def _slope(slope: Effect, entropy: float, replicated: bool) -> dict[str, Any]:
    return {
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
    }


def _sensitivity(ladder: Ladder, slope: Effect, delta: float, replicated: bool) -> dict[str, Any]:
    """The sensitivity of the study; the seeds it needs are unknown while a size has only one."""
    seeds = max(len(seeds) for seeds in ladder.seeds)
    could_see = sensitivity(slope, delta, len(ladder.dates), seeds)
    if not replicated:
        could_see |= {"seeds_needed": None, "seeds_needed_note": "unknown: a size has one seed"}
    return could_see


def _contrasts(
    ladder: Ladder, pairs: list[tuple[int, int]], differences: list[Effect]
) -> list[dict[str, Any]]:
    """Each pair of sizes, larger minus smaller, with p-values adjusted over all pairs."""
    adjusted = holm([effect.p_value for effect in differences])
    return [
        {
            "smaller": ladder.budgets[i],
            "larger": ladder.budgets[j],
            "difference": effect.estimate,
            "interval95": effect.interval(0.95),
            "p_value": effect.p_value,
            "p_holm": p,
        }
        for (i, j), effect, p in zip(pairs, differences, adjusted, strict=True)
    ]


def _sizes(ladder: Ladder, horizon: int, samples: int) -> tuple[list[dict[str, Any]], int]:
    """Loss and skill of each size, and the block length that the levels ask for.

    Levels wander more from day to day than slopes, so they have a block of their own. Skill is a
    ratio, so its interval takes the base rate's loss on the same resampled days.
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
