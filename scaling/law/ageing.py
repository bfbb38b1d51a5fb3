"""How the networks of a walk forward age: their losses on the test blocks after their own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scaling.law.bootstrap import Settings
from scaling.law.effects import Effect, estimate_effects
from scaling.metrics import Array

WORDS = {
    -1: "old networks predict better than young ones",
    0: "that age does harm is not shown",
    1: "networks get worse with age, so training again helps",
}


@dataclass(frozen=True)
class OnBlock:
    """The networks of one fold on one block. Means over seeds."""

    origin: int
    block: int
    days: int
    log_loss: float
    skill: float
    """Over the base rate of the fold's own training days."""
    difference: float
    """Log-loss minus that of the networks that were trained for the block; above 0 is worse."""


@dataclass(frozen=True)
class AtAge:
    """Networks of one age, over all blocks that have some."""

    age: int
    """Years from their last training day to the first day of the block."""
    blocks: int
    days: int
    difference: Effect
    """Daily log-loss minus that of the networks of the same seeds trained for the block, nats."""


@dataclass(frozen=True)
class Ageing:
    """What age does to the networks of one size."""

    budget: str
    youngest: int
    """The age at which every network meets its own block."""
    ages: list[AtAge]
    """Of older networks, the younger ones first."""
    slope: Effect
    """Nats a year, among the networks that are judged on the same day."""
    pairs: list[OnBlock]

    @property
    def sentence(self) -> str:
        """What is known of age, in one line."""
        low, high = self.slope.interval95
        over = "days" if self.slope.seed_variance is None else "days and seeds"
        return (
            f"{self.budget}: each year of age adds {self.slope.estimate:+.5f} nats to the log-loss "
            f"(95 % interval {low:+.5f} to {high:+.5f}, over {over}): {WORDS[self.slope.side]}"
        )


def ageing(
    budget: str,
    losses: Mapping[int, Array],
    base: Mapping[int, Array],
    blocks: npt.NDArray[np.int64],
    youngest: int,
    settings: Settings,
) -> Ageing:
    """The loss by age of one size.

    `losses` holds for each fold, by its origin, [seeds, days from its own block on], and `base`
    the losses of its base rate on the same days. `blocks` [days] is the origin of each day's block.

    A network is in several blocks, and always with the same weights. So it is the networks, each
    fold's for itself, that are drawn as the seeds are, and not their losses block by block.
    """
    n = len(blocks)
    every = np.stack([np.pad(own, ((0, 0), (n - own.shape[1], 0))) for own in losses.values()])
    older = blocks - np.array(list(losses))[:, None]  # [folds, days], below 0 before its block
    ages = []
    for years in np.unique(older[older > 0]):
        weights = (older == years).astype(float)
        there = weights.any(axis=0)
        weights -= (older == 0) & there
        effect = _effect(every, weights, there, settings)
        counts = len(np.unique(blocks[there])), int(there.sum())
        ages.append(AtAge(youngest + int(years), *counts, effect))
    judged = older >= 0
    centred = np.where(judged, older - older.mean(axis=0, where=judged), 0.0)
    several = judged.sum(axis=0) > 1
    spread = (centred**2).sum(axis=0)
    weights, informs = (part / spread[several].mean() for part in (centred, spread))
    slope = float((weights * every.mean(axis=1)).sum(axis=0)[several].mean())
    pairs = [
        _on_block(origin, block, every, base[origin], list(losses), blocks)
        for origin in losses
        for block in losses
        if block >= origin
    ]
    # Days with more networks say more of the slope. How many such days there are is no chance.
    effect = _effect(every, weights, several, settings, slope * (informs - 1))
    return Ageing(budget, youngest, ages, effect, pairs)


def _effect(
    every: Array,
    weights: Array,
    used: npt.NDArray[np.bool_],
    settings: Settings,
    minus: npt.ArrayLike = 0.0,
) -> Effect:
    """The mean over the `used` days of a combination, `weights` [folds, days], of the losses.

    `minus` [days] has no mean, and is what the combination is on a day without noise.
    """
    cells = [
        own[None, used] * losses[:, used]
        for own, losses in zip(weights, every, strict=True)
        if own[used].any()
    ]
    ones = np.ones((1, len(cells)))
    rest = np.broadcast_to(minus, used.shape)[None, used]
    (effect,) = estimate_effects(cells, ones, settings, minus=rest).effects
    return effect if every.shape[1] > 1 else effect.without_known_seeds


def _on_block(
    origin: int,
    block: int,
    every: Array,
    base: Array,
    origins: list[int],
    blocks: npt.NDArray[np.int64],
) -> OnBlock:
    on = blocks == block
    old, young = (every[origins.index(fold)][:, on].mean() for fold in (origin, block))
    skill = 1 - old / base[on[-len(base) :]].mean()
    return OnBlock(origin, block, int(on.sum()), float(old), float(skill), float(old - young))
