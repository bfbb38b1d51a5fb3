"""The law of one study: does test loss fall with size, by how much, and how sure is that?

A ladder has S sizes, each trained with several seeds, and every network is judged on the same test
days. `docs/statistics.md` explains the method and names its sources.
"""

from typing import Any

import numpy as np

from scaling import metrics
from scaling.judging.against_baselines import best_network
from scaling.judging.axis import contrast_rows, judge_axis, slope_row
from scaling.judging.effects import Effect, effects
from scaling.judging.ladder import Ladder
from scaling.judging.resampling import BOOTSTRAP_SEED, day_weights, stretched_interval
from scaling.judging.shapes import compare_shapes
from scaling.judging.verdict import EQUIVALENCE, sensitivity
from scaling.judging.wording import sentence, warnings


def fit_law(
    ladder: Ladder, *, horizon: int, delta: float, samples: int, experiments: int = 1
) -> dict[str, Any]:
    """The law of one study, JSON-ready: verdict, slope, sizes, contrasts, shapes, baselines.

    `horizon` is in days, `delta` the config's fraction of the base-rate entropy per decade,
    `samples` the number of bootstrap draws, and `experiments` the number of studies in the grid
    that this one belongs to.
    """
    entropy = metrics.entropy(ladder.base_rate)
    delta_nats = delta * entropy
    replicated = all(len(seeds) > 1 for seeds in ladder.seeds)
    axis = judge_axis(
        ladder.losses,
        ladder.parameters,
        np.eye(len(ladder.budgets)),
        horizon=horizon,
        samples=samples,
        delta=delta_nats,
        replicated=replicated,
    )
    sizes, level_block = _sizes(ladder, horizon, samples)
    result = {
        "verdict": axis.verdict,
        "sentence": "",
        "warnings": [],
        "slope": slope_row(
            axis.slope, entropy, "nats per decade of parameters", replicated=replicated
        ),
        "delta": delta_nats,
        "delta_fraction": delta,
        "base_rate": ladder.base_rate,
        "base_rate_entropy": entropy,
        **_sensitivity(ladder, axis.slope, delta_nats, replicated),
        "sizes": sizes,
        "contrasts": contrast_rows(ladder.budgets, axis.contrasts, delta_nats),
        "equivalence": EQUIVALENCE,
        "turning_point": axis.turning,
        "models_compared": compare_shapes(
            ladder.parameters,
            axis.loss,
            axis.covariance,
            axis.slope.freedom,
            axis.verdict == "improves",
        ),
        "best_network": best_network(
            ladder, sizes, horizon=horizon, samples=samples, experiments=experiments
        ),
        "block_length": axis.block,
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
    return result | {"sentence": sentence(result), "warnings": warnings(result)}


def _sensitivity(ladder: Ladder, slope: Effect, delta: float, replicated: bool) -> dict[str, Any]:
    """The sensitivity of the study; the seeds it needs are unknown while a size has only one."""
    seeds = max(len(seeds) for seeds in ladder.seeds)
    could_see = sensitivity(slope, delta, len(ladder.dates), seeds)
    if not replicated:
        could_see |= {"seeds_needed": None, "seeds_needed_note": "unknown: a size has one seed"}
    return could_see


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
