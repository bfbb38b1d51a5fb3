"""The judged markets of a study of several: each alone, and how many independent ones they are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.law.runs import BASE_RATE
from scaling.metrics import log_losses


@dataclass(frozen=True)
class MarketRow:
    """The test days of one market. Skill is over the training base rate of the whole study."""

    days: int
    positives: int
    skill: dict[str, list[float]]
    """Of each size, smallest first: that of each seed."""
    baselines: dict[str, float]
    """The skill of each baseline but the base rate."""


@dataclass(frozen=True)
class Markets:
    """The judged markets of a study of several."""

    rows: dict[str, MarketRow]
    correlation: float
    """Of what the largest size gains over the smallest on a day, the mean over pairs of markets."""

    @property
    def worth(self) -> float:
        """How many independent markets they are worth: n over Kish's design effect (1965).

        A negative correlation counts as 0: it is noise, and no market counts as more than one.
        """
        n = len(self.rows)
        return n / (1 + (n - 1) * max(0.0, self.correlation))

    def sentence(self) -> str:
        """What the page says of them."""
        return (
            f"What the largest size gains over the smallest on a day is correlated by "
            f"{self.correlation:+.2f} between two markets on average, so for the noise of days "
            f"these {len(self.rows)} markets are worth {self.worth:.1f} independent ones."
        )


def markets_of(networks: pd.DataFrame, baselines: pd.DataFrame) -> Markets | None:
    """The judged markets, from the prediction rows of a ladder; None where one is judged.

    `networks` has the columns budget, parameters, seed, date, split, weights, y, p, and `baselines`
    model, date, split, y, p; of several markets, both have `asset`.
    """
    if networks.get("asset", pd.Series()).nunique() < 2:
        return None
    networks, baselines = _losses(networks[networks["weights"] == "mean"]), _losses(baselines)
    rivals = baselines.groupby(["asset", "model"], sort=False)["loss"].mean()
    of_base = rivals.xs(BASE_RATE, level="model")
    by_seed = networks.sort_values(["parameters", "seed"]).groupby(
        ["asset", "budget", "seed"], sort=False
    )
    skill = 1 - by_seed["loss"].mean() / of_base
    labels = baselines[baselines["model"] == BASE_RATE].groupby("asset", sort=False)["y"]
    others = 1 - rivals.drop(BASE_RATE, level="model") / of_base
    rows = {
        str(name): MarketRow(
            days=len(y),
            positives=int(y.sum()),
            skill={
                str(budget): list(seeds)
                for budget, seeds in skill[name].groupby(level="budget", sort=False)
            },
            baselines=dict(others[name]),
        )
        for name, y in labels
    }
    return Markets(rows, _correlation(networks))


def _losses(rows: pd.DataFrame) -> pd.DataFrame:
    """The test rows, with their log-loss."""
    test = rows[rows["split"] == "test"]
    return test.assign(loss=log_losses(test["y"], test["p"]))


def _correlation(networks: pd.DataFrame) -> float:
    sizes = networks["parameters"]
    smallest, largest = (
        networks[sizes == size].pivot_table(index="date", columns="asset", values="loss")
        for size in (sizes.min(), sizes.max())
    )
    pairs = (largest - smallest).corr().to_numpy()
    return float(pairs[~np.eye(len(pairs), dtype=bool)].mean())
