"""How much of the skill is the size of the move, and how much is its direction.

A rise by 1 % is likelier in turbulent times, so a forecaster has skill without knowing up from
down, and even ranks the rises among the large moves above the falls: falls are followed by
turbulence, and turbulence by both. What a volatility model scores there, and not 0.5, is therefore
the zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.config import TaskConfig
from scaling.law.bootstrap import BOOTSTRAP_SEED, block_length, day_weights
from scaling.law.runs import BASE_RATE
from scaling.metrics import Array, log_losses, logits_of, weighted_aucs

VOLATILITY = "garch"
# An AUC of fewer rises or falls says nothing.
FEWEST_MOVES = 10
OUTCOMES = ("y", "rises", "falls", "next_return")


@dataclass(frozen=True)
class NotMeasured:
    """In place of an answer that a study does not have."""

    reason: str


class Forecasts(NamedTuple):
    """The probabilities of all models of a study, and what happened.

    There is a row for each fold, day and market.
    """

    p: pd.DataFrame
    """[rows, models]: the baselines, and each size of network, its seeds averaged."""
    outcomes: pd.DataFrame
    """OUTCOMES: the label, whether the close rises and falls that far, the next day's return."""
    sizes: tuple[str, ...]
    """The smallest first."""

    def of(self, split: str) -> "Forecasts":
        """The rows of validation or test."""
        p, outcomes = (part.xs(split, level="split") for part in (self.p, self.outcomes))
        return Forecasts(pd.DataFrame(p), pd.DataFrame(outcomes), self.sizes)


def forecasts_of(networks: pd.DataFrame, baselines: pd.DataFrame) -> Forecasts:
    """Arrange the prediction rows of one sample of training days by split, fold, date and market.

    `networks` has the columns budget, parameters, seed, date, split, y, p, and `weights` where it
    holds several; `baselines` has model, date, split, p and OUTCOMES. Both may have `asset` and
    `origin`.
    """
    if "weights" in networks:
        networks = networks[networks["weights"] == "mean"]
    sizes = networks.sort_values("parameters")["budget"].unique()
    rows = pd.concat([networks.rename(columns={"budget": "model"}), baselines])
    rows["asset"] = rows.get("asset", "")
    rows["origin"] = rows.get("origin", 0)
    keys = ["split", "origin", "date", "asset"]
    p = rows.pivot_table(index=keys, columns="model", values="p", sort=False).sort_index()
    named = {"asset": baselines.get("asset", ""), "origin": baselines.get("origin", 0)}
    outcomes = baselines.assign(**named).drop_duplicates(keys)
    return Forecasts(p, outcomes.set_index(keys)[list(OUTCOMES)].loc[p.index], tuple(sizes))


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval over the test days."""

    value: float
    interval95: tuple[float, float]


@dataclass(frozen=True)
class Ranking:
    """How well a model ranks the asked moves above the opposite ones, on the days of either."""

    auc: Estimate
    minus_volatility: Estimate
    """The AUC minus that of the volatility model, on the same days."""


@dataclass(frozen=True)
class Addition:
    """A network's forecast added to the volatility model's by a logistic regression of logits.

    Both regressions are fitted to validation. Skills are on test, over the training base rate.
    """

    skill_alone: float
    """Of the network, recalibrated in the same way."""
    skill_together: float
    gain: Estimate
    """Log-loss of volatility alone minus that of both, in nats a day."""


@dataclass(frozen=True)
class Direction:
    """The parts of the skill of a study's models."""

    days: int
    large_moves: int
    """Rows in which the close rises that far, or falls, and not both."""
    asked_moves: int
    """How many of them are what the question asks for."""
    asked: str
    """What that is: "rises" or "falls"."""
    volatility_skill: float
    """Of the volatility model on test, recalibrated on validation."""
    rankings: dict[str, Ranking]
    additions: dict[str, Addition]
    """For each size of network."""
    block_length: int

    def sentence(self, size: str) -> str:
        """What the page says of one size."""
        added, ranking = self.additions[size], self.rankings[size]
        low, high = added.gain.interval95
        opposite = {"rises": "falls", "falls": "rises"}[self.asked]
        more = {True: "adds", False: "does not certainly add"}[low > 0]
        knows = {True: "knows", False: "does not certainly know"}
        return (
            f"Size of the move: a volatility model alone has a skill of "
            f"{100 * self.volatility_skill:.1f} %, {size} alone {100 * added.skill_alone:.1f} %, "
            f"and both together {100 * added.skill_together:.1f} %, so the network {more} to it "
            f"({added.gain.value:+.4f} nats a day, 95 % interval {low:+.4f} to {high:+.4f}). "
            f"Direction: of {self.large_moves} large moves {self.asked_moves} are {self.asked}; "
            f"{size} ranks {self.asked} above {opposite} with an AUC of "
            f"{ranking.auc.value:.3f}, volatility alone with "
            f"{ranking.auc.value - ranking.minus_volatility.value:.3f}; it "
            f"{knows[ranking.minus_volatility.interval95[0] > 0]} more of the direction."
        )


def measure_direction(
    forecasts: Forecasts, task: TaskConfig, *, samples: int
) -> Direction | NotMeasured:
    """Split the skill of each model into the size of the move and its direction.

    It is not measured where the question asks for a move either way, where the volatility model is
    missing, and where the test days hold too few moves of a kind.
    """
    before, test = forecasts.of("validation"), forecasts.of("test")
    outcomes = test.outcomes
    if why_not := _one_direction(forecasts, outcomes, task):
        return NotMeasured(why_not)
    y = outcomes["y"].to_numpy()
    dates, which = np.unique(test.p.index.get_level_values("date"), return_inverse=True)
    counts = np.bincount(which)

    def by_day(rows: Array) -> Array:
        return np.asarray(np.bincount(which, rows) / counts)

    of_base_rate = by_day(log_losses(y, test.p[BASE_RATE])).mean()

    def skill(p: Array) -> float:
        return 1 - float(by_day(log_losses(y, p)).mean() / of_base_rate)

    alone = {name: _together(before, test, [name]) for name in (VOLATILITY, *forecasts.sizes)}
    both = {size: _together(before, test, [VOLATILITY, size]) for size in forecasts.sizes}
    losses = {name: log_losses(y, p) for name, p in both.items()}
    gains = {name: log_losses(y, alone[VOLATILITY]) - loss for name, loss in losses.items()}
    daily = np.stack([by_day(gain) for gain in gains.values()])
    block = block_length(daily, task.horizon)
    drawn = day_weights(len(dates), block, samples, BOOTSTRAP_SEED)
    large = (outcomes["rises"] != outcomes["falls"]).to_numpy()
    models = test.p.columns.drop(BASE_RATE)
    rankings = _rankings(y[large], test.p.loc[large, models], drawn[:, which[large]])
    return Direction(
        days=len(dates),
        large_moves=int(large.sum()),
        asked_moves=int(y[large].sum()),
        asked={"up": "rises", "down": "falls"}[task.direction],
        volatility_skill=skill(alone[VOLATILITY]),
        rankings=rankings,
        additions={
            size: Addition(
                skill_alone=skill(alone[size]),
                skill_together=skill(both[size]),
                gain=_estimate(float(gain.mean()), drawn @ gain),
            )
            for size, gain in zip(forecasts.sizes, daily, strict=True)
        },
        block_length=block,
    )


def _one_direction(forecasts: Forecasts, outcomes: pd.DataFrame, task: TaskConfig) -> str:
    """Why direction is no question here; empty where it is one."""
    if task.direction == "either":
        return "the question asks for a move either way, so it has no direction"
    if VOLATILITY not in forecasts.p:
        return f"the baseline {VOLATILITY} is missing, and direction is what is left"
    one_way = outcomes[outcomes["rises"] != outcomes["falls"]]
    counts = (int(one_way["rises"].sum()), int(one_way["falls"].sum()))
    if min(counts) >= FEWEST_MOVES:
        return ""
    return (
        f"the test days hold {counts[0]} large rises and {counts[1]} large falls; at least "
        f"{FEWEST_MOVES} of each are needed"
    )


def _together(before: Forecasts, test: Forecasts, models: Sequence[str]) -> Array:
    """Test probabilities of a logistic regression on the models' logits, fitted to validation.

    Each fold has its own, and knows nothing of later ones.
    """
    from sklearn.linear_model import LogisticRegression

    found = []
    for origin, own in test.p.groupby(level="origin"):
        known, y = before.p.xs(origin, level="origin"), before.outcomes["y"]
        x, x_test = (logits_of(part[list(models)].to_numpy()) for part in (known, own))
        fitted = LogisticRegression(C=np.inf, max_iter=1000)
        fitted.fit(x, y.xs(origin, level="origin"))
        found.append(fitted.predict_proba(x_test)[:, 1])
    return np.concatenate(found)


def _rankings(y: npt.NDArray[np.int64], p: pd.DataFrame, weights: Array) -> dict[str, Ranking]:
    """The AUC of each model on the rows of large moves, `weights` [samples, rows]."""
    whole = np.ones((1, len(y)))
    aucs = {
        str(name): (float(_by_fold(y, column, whole)[0]), _by_fold(y, column, weights))
        for name, column in p.items()
    }
    zero, zero_drawn = aucs[VOLATILITY]
    return {
        name: Ranking(_estimate(auc, drawn), _estimate(auc - zero, drawn - zero_drawn))
        for name, (auc, drawn) in aucs.items()
    }


def _by_fold(y: npt.NDArray[np.int64], p: "pd.Series[float]", weights: Array) -> Array:
    """The share of pairs of one fold that `p` ranks rightly, under each of `weights`, [samples].

    Moves of different folds are no pair, because other networks forecast them.
    """
    origins = p.index.get_level_values("origin")
    right = pairs = np.zeros(len(weights))
    for origin in origins.unique():
        own = np.asarray(origins == origin)
        asked, weight = y[own] == 1, weights[:, own]
        count = weight[:, asked].sum(axis=1) * weight[:, ~asked].sum(axis=1)
        right = right + count * np.nan_to_num(weighted_aucs(y[own], p[own], weight))
        pairs = pairs + count
    with np.errstate(invalid="ignore"):
        return np.asarray(right / pairs)


def _estimate(value: float, drawn: Array) -> Estimate:
    """`drawn` are the values of the bootstrap, some of which no draw may define, [samples]."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Estimate(value, (float(low), float(high)))
