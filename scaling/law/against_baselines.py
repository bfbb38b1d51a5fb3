"""The network that validation prefers against each baseline, day by day."""

from typing import Any

import numpy as np

from scaling import metrics
from scaling.law.effects import Effect, effects, holm
from scaling.law.ladder import Ladder

LEVEL = 0.05
RULE = (
    "beats it or loses to it only if the p-value, adjusted by Holm over all comparisons, is below "
    "5 % and both 95 % intervals of the difference exclude 0 on the same side"
)
CLAIM = "about its size: the intervals are over the test days and the seeds"
CLAIM_OF_ONE_SEED = "about this one network: the intervals are over the test days alone"
WORDS = {-1: "beats it", 1: "loses to it", 0: "cannot be told apart"}


def best_network(
    ladder: Ladder, sizes: list[dict[str, Any]], *, horizon: int, samples: int, experiments: int
) -> dict[str, Any]:
    """The size with the lowest validation loss, its losses paired with each baseline's by day.

    Without validation losses (all NaN) it is the largest size, since the test days may not choose.
    Its loss is the mean over its seeds, not that of its luckiest seed. If it has one seed, the
    comparison is about this one network, and `claim` says so. A negative difference favours the
    network. The baselines count as they stand: what another fit of the same forest would give is
    not in the interval. `sizes` are the law's rows for the sizes. The comparisons are those of all
    `experiments` of the grid, each with as many baselines as this one.
    """
    validated = not np.isnan(ladder.validation).all()
    best = int(np.argmin(ladder.validation)) if validated else len(ladder.budgets) - 1
    names = list(ladder.baselines)
    less = np.stack([ladder.baselines[name] for name in names])
    found, block, _ = effects(
        [ladder.losses[best]], np.ones((len(names), 1)), less=less, horizon=horizon, samples=samples
    )
    reference = metrics.log_loss(ladder.y, np.full(len(ladder.y), ladder.base_rate))
    comparisons = experiments * len(names)
    adjusted = holm([effect.p_value for effect in found], comparisons)
    against = {
        name: {
            "log_loss": float(ladder.baselines[name].mean()),
            "skill": 1 - float(ladder.baselines[name].mean()) / reference,
            **_comparison(effect, p),
        }
        for name, effect, p in zip(names, found, adjusted, strict=True)
    }
    return {
        "budget": ladder.budgets[best],
        "seeds": len(ladder.seeds[best]),
        "claim": CLAIM if best in ladder.replicated else CLAIM_OF_ONE_SEED,
        "which": "best network on validation" if validated else "largest network",
        "chosen_by": "lowest validation log-loss, mean over seeds"
        if validated
        else "the largest size, as there are no validation rows to choose by",
        "log_loss": sizes[best]["log_loss"],
        "skill": sizes[best]["skill"],
        "skill_interval": sizes[best]["skill_interval"],
        "block_length": block,
        "rule": RULE,
        "comparisons": {"count": comparisons, "experiments": experiments, "baselines": len(names)},
        "against": against,
    }


def _comparison(effect: Effect, p_holm: float) -> dict[str, Any]:
    """One difference and what may be said of it."""
    side = effect.excludes_zero(0.95) if p_holm < LEVEL else 0
    return {
        "difference": effect.estimate,
        "interval95": effect.interval(0.95),
        "t_interval95": effect.t_interval(0.95),
        "p_value": effect.p_value,
        "p_holm": p_holm,
        "beats": side < 0,
        "verdict": WORDS[side],
    }
