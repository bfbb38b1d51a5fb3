"""The law of one study: does test loss fall with size, by how much, and how sure is that?

A ladder has S sizes, and every network is judged on the same test days. The slope and the verdict
are over the sizes that have several seeds. `docs/statistics.md` explains the method and names its
sources.
"""

from typing import Any

import numpy as np

from scaling import metrics
from scaling.law.against_baselines import best_network
from scaling.law.axis import Judgement, Settings, contrast_rows, judge_axis, slope_row
from scaling.law.ladder import Ladder
from scaling.law.levels import level_rows
from scaling.law.resampling import BOOTSTRAP_SEED
from scaling.law.shapes import compare_shapes
from scaling.law.verdict import EQUIVALENCE, sensitivity
from scaling.law.wording import sentence, warnings

# A slope needs two points.
FEWEST_SIZES = 2


def fit_law(
    ladder: Ladder, *, horizon: int, delta: float, samples: int, experiments: int = 1
) -> dict[str, Any]:
    """The law of one study, JSON-ready: verdict, slope, sizes, contrasts, shapes, baselines.

    `horizon` is in days, `delta` the config's fraction of the base-rate entropy per decade,
    `samples` the number of bootstrap draws, and `experiments` the number of studies in the grid
    that this one belongs to. `slope_over` names the sizes that slope, contrasts, shapes and verdict
    are over: those with several seeds. If fewer than FEWEST_SIZES have them, it names all sizes,
    the slope's interval covers the days alone, and the verdict is "inconclusive".
    """
    entropy = metrics.entropy(ladder.base_rate)
    delta_nats = delta * entropy
    replicated = len(ladder.replicated) >= FEWEST_SIZES
    judged = ladder.replicated if replicated else list(range(len(ladder.budgets)))
    names = [ladder.budgets[index] for index in judged]
    axis = _judge(ladder, judged, Settings(horizon, samples, delta_nats, replicated))
    sizes, level_block = _sizes(ladder, horizon, samples)
    result = {
        "verdict": axis.verdict,
        "sentence": "",
        "warnings": [],
        "slope": slope_row(
            axis.slope, entropy, "nats per decade of parameters", replicated=replicated
        ),
        "slope_over": names,
        "delta": delta_nats,
        "delta_fraction": delta,
        "base_rate": ladder.base_rate,
        "base_rate_entropy": entropy,
        **sensitivity(
            axis.slope,
            delta_nats,
            len(ladder.dates),
            max(len(ladder.seeds[index]) for index in judged),
            replicated=replicated,
        ),
        "sizes": sizes,
        "contrasts": contrast_rows(names, axis.contrasts, delta_nats),
        "equivalence": EQUIVALENCE,
        "turning_point": axis.turning,
        "models_compared": compare_shapes(
            ladder.parameters[judged],
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


def _judge(ladder: Ladder, judged: list[int], settings: Settings) -> Judgement:
    """The judgement over these sizes alone, as if the study had no other."""
    losses = [ladder.losses[index] for index in judged]
    return judge_axis(losses, ladder.parameters[judged], np.eye(len(judged)), settings)


def _sizes(ladder: Ladder, horizon: int, samples: int) -> tuple[list[dict[str, Any]], int]:
    """A row for each size, and the block length that the levels ask for."""
    rows, block = level_rows(
        ladder.losses, ladder.y, ladder.base_rate, horizon=horizon, samples=samples
    )
    return [
        {
            "budget": ladder.budgets[index],
            "parameters": int(ladder.parameters[index]),
            "seeds": ladder.seeds[index],
            **row,
            "validation_log_loss": ladder.validation[index],
        }
        for index, row in enumerate(rows)
    ], block
