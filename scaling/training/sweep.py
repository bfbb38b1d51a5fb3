"""The search of one size's recipe on the validation block: learning rate, weight decay, epochs.

In a regime of few data that are seen several times, loss falls with size only where all three are
tuned at each size, with a decay far above the usual (Kim et al. 2025, arXiv 2509.14786).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scaling.config import TrainingConfig
from scaling.data.dataset import Study
from scaling.sizes import MULTIPLIERS, ModelConfig
from scaling.training.recipe import Recipe, recipe_of
from scaling.training.trainer import Guard, Hardware
from scaling.training.trial import trial

SETTINGS = ("learning_rate", "weight_decay", "epochs")

# A place counts steps from the budget's own recipe: of the learning rate, the decay, the epochs.
Place = tuple[int, int, int]
START: Place = (0, 0, 0)
FACTORS = (2.0, 10.0, 2.0)
# Weights shrink by `learning rate x decay` in a step: below, by less than 1 % in a whole training,
# which is no decay; above, to nothing. Kim et al. find 3 at most.
DECAYS = (0.01, 10.0)
# In nats. Seeds differ by as much on validation, so a walk goes on over what is worse by less.
PLATEAU = 0.001
MOST_STEPS = 2  # in one direction, before the other settings are looked at again
MOST_ROUNDS = 4


def multipliers(place: Place) -> dict[str, float]:
    """What each multiplier of the budget is itself multiplied by at a place."""
    changes = (factor**steps for factor, steps in zip(FACTORS, place, strict=True))
    return dict(zip(MULTIPLIERS, changes, strict=True))


def neighbour(place: Place, axis: int, direction: int) -> Place:
    """The place one step further along an axis."""
    moved = list(place)
    moved[axis] += direction
    rate, decay, epochs = moved
    return rate, decay, epochs


@dataclass
class Trials:
    """Trainings of one size with one recipe after another, and what came of each."""

    config: TrainingConfig
    model: ModelConfig
    study: Study
    hardware: Hardware
    guard: Guard
    done: list[dict[str, Any]] = field(default_factory=list)

    def loss_of(self, place: Place, seed: int | None = None) -> float:
        """The best validation log-loss of a recipe, infinite where its decay is out of bounds."""
        seed = self.config.seed if seed is None else seed
        model = self.model.multiplied(multipliers(place))
        asked = recipe_of(self.config, model).optimiser
        if not DECAYS[0] <= asked.weight_decay <= DECAYS[1]:
            return math.inf
        # A trial runs its whole schedule: one that was stopped early would be judged on less.
        recipe = Recipe(replace(asked, early_stopping_patience=asked.epochs), seed)
        settings = {name: getattr(asked, name) for name in SETTINGS}
        print(f"{self.config.param_budget}, seed {seed}: {settings}", flush=True)
        outcome = trial(self.config, model, self.study, recipe, self.hardware, self.guard)
        loss, curve = outcome.progress.best_log_loss, outcome.progress.epochs
        self.done.append({"seed": seed, **settings, "val_log_loss": loss, "curve": curve})
        print(f"    validation log-loss {loss:.5f}", flush=True)
        return loss


def search(loss_of: Callable[[Place], float], start: Place) -> dict[Place, float]:
    """The log-loss of each place that was tried, in order of trial.

    One setting after the other is walked up and down from the best place so far, until a round over
    all of them moves nothing, so that the best place has been compared with all its neighbours.
    """
    losses = {start: loss_of(start)}
    for _ in range(MOST_ROUNDS):
        centre = best_of(losses)
        for axis in range(len(FACTORS)):
            for direction in (1, -1):
                _walk(loss_of, losses, axis, direction)
        if best_of(losses) == centre:
            break
    return losses


def _walk(
    loss_of: Callable[[Place], float], losses: dict[Place, float], axis: int, direction: int
) -> None:
    place = best_of(losses)
    for _ in range(MOST_STEPS):
        place = neighbour(place, axis, direction)
        if place not in losses:
            losses[place] = loss_of(place)
        if losses[place] > min(losses.values()) + PLATEAU:
            return


def best_of(losses: dict[Place, float]) -> Place:
    """The place with the lowest log-loss."""
    return min(losses, key=lambda place: losses[place])


def settled(losses: dict[Place, float]) -> bool:
    """True if every neighbour of the best place is worse, or has a decay out of bounds."""
    best = best_of(losses)
    around = (neighbour(best, axis, way) for axis in range(len(FACTORS)) for way in (1, -1))
    return all(place in losses for place in around)


def confirmed(
    loss_of: Callable[[Place, int], float], best: Place, seeds: Sequence[int]
) -> list[float]:
    """How much lower the log-loss of the best place is than the start's, with each other seed.

    The lowest of many trials is low by luck too. Seeds that chose nothing show what remains.
    """
    if best == START:
        return []
    return [loss_of(START, seed) - loss_of(best, seed) for seed in seeds]


def holds(gains: list[float]) -> bool:
    """Whether a recipe is better with every other seed, and by more than a plateau on average."""
    return bool(gains) and min(gains) > 0 and sum(gains) / len(gains) > PLATEAU
