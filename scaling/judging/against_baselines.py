"""The network that validation prefers against each baseline, day by day."""

from typing import Any

import numpy as np

from scaling import metrics
from scaling.judging.effects import DUST, effects, holm
from scaling.judging.ladder import Ladder


def best_network(
    ladder: Ladder, sizes: list[dict[str, Any]], horizon: int, samples: int
) -> dict[str, Any]:
    """The size with the lowest validation loss, its losses paired with each baseline's by day.

    Its loss is the mean over its seeds, not that of its luckiest seed. A negative difference
    favours the network. The baselines count as they stand: what another fit of the same forest
    would give is not in the interval. `sizes` are the law's rows for the sizes.
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
