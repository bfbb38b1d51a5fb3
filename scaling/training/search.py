"""Recipes at random, each with several seeds, judged on the validation block.

A walk from recipe to recipe with one seed for each found luck (docs/experiments.md). Random recipes
cover each setting better than a grid of as many (Bergstra and Bengio 2012). They are the same at
every size, so that it can be asked whether two sizes prefer the same.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.config import TrainingConfig
from scaling.data.dataset import Study
from scaling.record import fingerprint, read_json, write_json
from scaling.run import Run
from scaling.sizes import ModelConfig
from scaling.training.trainer import Guard, Hardware, Recipe
from scaling.training.trial import trial

SEEDS = (1000, 1001, 1002, 1003)  # no study may use them
RECIPES = 12  # at random, besides the experiment's own
# A random recipe has the experiment's value times a number between these, evenly in its logarithm.
FACTORS = {
    "learning_rate": (0.25, 4.0),
    "weight_decay": (
        1.0,
        1000.0,
    ),  # 0.01 shrinks no weight in a whole training, 10 nearly all of it
    "epochs": (0.4, 2.5),
    "initial_deviation": (0.25, 4.0),
}
HIGHEST_DROPOUT = 0.4


@dataclass(frozen=True)
class Settings:
    """What a sweep varies of an experiment's optimiser and of the network."""

    learning_rate: float
    weight_decay: float
    epochs: int
    initial_deviation: float
    dropout: float


def own_settings(config: TrainingConfig, model: ModelConfig) -> Settings:
    """Those of the experiment itself."""
    asked = config.recipe
    rate, decay, epochs = asked.learning_rate, asked.weight_decay, asked.epochs
    return Settings(rate, decay, epochs, model.initial_deviation, model.dropout)


def drawn(own: Settings, count: int = RECIPES) -> list[Settings]:
    """The experiment's own settings, then `count` random ones, the same ones whenever it is asked.

    What is drawn does not depend on how many recipes there are.
    """
    recipes = [own]
    for draws in np.random.default_rng(SEEDS[0]).random((count, len(FACTORS) + 1)):
        value = {
            name: float(f"{getattr(own, name) * low * (high / low) ** draw:.3g}")
            for (name, (low, high)), draw in zip(FACTORS.items(), draws, strict=False)
        }
        recipes.append(
            Settings(
                learning_rate=value["learning_rate"],
                weight_decay=value["weight_decay"],
                epochs=max(1, round(value["epochs"])),
                initial_deviation=value["initial_deviation"],
                dropout=round(HIGHEST_DROPOUT * float(draws[-1]), 3),
            )
        )
    return recipes


@dataclass
class Trials:
    """Trainings of one size with one recipe after another; each that is done lies in `folder`."""

    config: TrainingConfig
    model: ModelConfig
    study: Study
    hardware: Hardware
    guard: Guard
    run: Run
    folder: Path

    def loss_of(self, settings: Settings, seed: int) -> float:
        """The validation log-loss of a recipe with a seed, read if it was trained before."""
        named = dataclasses.asdict(settings)
        made_of = {"run": self.run.as_json(), "seed": seed, **named}
        path = self.folder / f"{fingerprint(made_of)}.json"
        if not path.exists():
            loss = self._trained(settings, seed)
            write_json(path, {**named, "seed": seed, "val_log_loss": loss})
            print(f"{self.config.param_budget}, seed {seed}: {named}: {loss:.5f}", flush=True)
        return float(read_json(path)["val_log_loss"])

    def _trained(self, settings: Settings, seed: int) -> float:
        optimiser = dataclasses.replace(
            self.config.recipe,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            epochs=settings.epochs,
        )
        model = dataclasses.replace(
            self.model, dropout=settings.dropout, initial_deviation=settings.initial_deviation
        )
        recipe = Recipe(optimiser, seed, model)
        outcome = trial(self.config, self.study, recipe, self.hardware, self.guard)
        return outcome.validation["log_loss"]


def compared(losses: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The recipe with the lowest mean loss, and how certain it is. `losses` [recipes, seeds].

    The first recipe is the experiment's own, with which each is compared seed by seed. The lowest
    of many is low by luck too, so the 95 % are for all of them together (Bonferroni).
    """
    from scipy.stats import t

    others, seeds = len(losses) - 1, losses.shape[1]
    best = int(losses.mean(axis=1).argmin())
    gains = losses[0] - losses[best]
    quantile = t.ppf(1 - 0.025 / others, seeds - 1)
    half = float(quantile * gains.std(ddof=1) / np.sqrt(seeds))
    gain = float(gains.mean())
    interval = [gain - half, gain + half]
    return {"best": best, "gain": gain, "gain_interval": interval, "holds": interval[0] > 0}
