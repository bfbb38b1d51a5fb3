"""The network that validation prefers against each baseline, day by day."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scaling.law.bootstrap import Interval, Settings
from scaling.law.cells import Cell
from scaling.law.effects import LEVEL, estimate_effects, holm
from scaling.law.table import Table

RULE = (
    "beats it or loses to it only if the p-value, adjusted by Holm over all comparisons, is below "
    "5 % and all 95 % intervals of the difference exclude 0 on the same side"
)
CLAIM = "about its size: the intervals are over the test days and the seeds"
CLAIM_OF_ONE_SEED = "about this one network: the intervals are over the test days alone"
WORDS = {-1: "beats it", 1: "loses to it", 0: "cannot be told apart"}


@dataclass(frozen=True)
class Comparison:
    """The best network's loss minus a baseline's; below 0 favours the network."""

    log_loss: float
    """Of the baseline."""
    skill: float
    """Of the baseline."""
    difference: float
    interval95: Interval
    t_interval95: Interval
    p_value: float
    p_holm: float
    """Adjusted over all comparisons of the grid."""
    verdict: str
    """By RULE: "beats it", "loses to it" or "cannot be told apart"."""


@dataclass(frozen=True)
class BestNetwork:
    """The size with the lowest validation loss, or without any the largest."""

    budget: str
    seeds: int
    which: str
    chosen_by: str
    claim: str
    """What a finding is about."""
    log_loss: float
    skill: float
    skill_interval95: Interval
    comparisons: int
    """Of all experiments of the grid, each with as many baselines as this one."""
    against: dict[str, Comparison]


def best_network(ladder: Table, cells: Sequence[Cell], settings: Settings) -> BestNetwork:
    """The best size of a ladder, its losses paired with each baseline's by day.

    Its loss is the mean over its seeds, not that of its luckiest seed. If it has one seed, the
    comparison is about this one network, and `claim` says so. The baselines count as they stand:
    what another fit of the same forest would give is not in the interval.
    """
    validated = not np.isnan(ladder.validation).all()
    best = int(np.argmin(ladder.validation)) if validated else len(cells) - 1
    names = list(ladder.baselines)
    minus = np.stack([ladder.baselines[name][0] for name in names])
    weights = np.ones((len(names), 1))
    found = estimate_effects([ladder.losses[best]], weights, settings, minus=minus).effects
    base = float(ladder.base.mean())
    comparisons = settings.experiments * len(names)
    adjusted = holm([effect.p_value for effect in found], comparisons)
    against = {}
    for name, loss, effect, p in zip(names, minus.mean(axis=1), found, adjusted, strict=True):
        against[name] = Comparison(
            log_loss=float(loss),
            skill=1 - float(loss) / base,
            difference=effect.estimate,
            interval95=effect.interval95,
            t_interval95=effect.t_interval95,
            p_value=effect.p_value,
            p_holm=p,
            verdict=WORDS[effect.side if p < LEVEL else 0],
        )
    return BestNetwork(
        budget=cells[best].budget,
        seeds=len(cells[best].seeds),
        which="best network on validation" if validated else "largest network",
        chosen_by="lowest validation log-loss, mean over seeds"
        if validated
        else "the largest size, as there are no validation rows to choose by",
        claim=CLAIM if len(cells[best].seeds) > 1 else CLAIM_OF_ONE_SEED,
        log_loss=cells[best].log_loss,
        skill=cells[best].skill,
        skill_interval95=cells[best].skill_interval95,
        comparisons=comparisons,
        against=against,
    )
