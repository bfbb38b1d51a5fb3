"""What a study's forecasts would have earned on the test days, by rules set before; no promise.

A forecast of a move either way sets a position by volatility targeting. A forecast of a rise or of
a fall is laid over holding the market. Each is held against the market and against the same rule
with the forecasts of the volatility model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.config import EarningsConfig, TaskConfig
from scaling.law.bootstrap import BOOTSTRAP_SEED, block_length
from scaling.law.direction import VOLATILITY, Estimate, Forecasts, NotMeasured
from scaling.metrics import Array

TRADING_DAYS = 252
HOLD = "buy and hold"


@dataclass(frozen=True)
class Result:
    """A rule with one model's forecasts, after costs, by the year."""

    sharpe: float
    """Mean over deviation of the daily returns, without a riskless rate, times sqrt(252)."""
    mean_return: float
    volatility: float
    mean_position: float
    turnover: float
    """Bought and sold, in multiples of the wealth."""


@dataclass(frozen=True)
class AtCost:
    """The results at one cost, and what the network's Sharpe ratio has more than two others'."""

    cost_bp: float
    results: dict[str, Result]
    """By model, and HOLD."""
    more_than_holding: Estimate
    more_than_volatility: Estimate


@dataclass(frozen=True)
class Earnings:
    """What one network's forecasts, those of the volatility model and holding would have earned."""

    rule: str
    size: str
    days: int
    block_length: int
    costs: tuple[AtCost, ...]

    def sentence(self) -> str:
        """What the page says: certain only where an interval excludes 0 at every cost."""
        first = self.costs[0]
        against = {
            f"than {HOLD}": [at.more_than_holding for at in self.costs],
            "than the same rule by the volatility model": [
                at.more_than_volatility for at in self.costs
            ],
        }
        said = []
        for what, found in against.items():
            low, high = found[0].interval95
            certain = "not certainly higher or lower"
            if all(one.interval95[0] > 0 for one in found):
                certain = "certainly higher"
            if all(one.interval95[1] < 0 for one in found):
                certain = "certainly lower"
            said.append(
                f"{certain} {what} ({found[0].value:+.2f}, 95 % interval {low:+.2f} to {high:+.2f})"
            )
        return (
            f"{self.rule}, the forecasts of {self.size} have a Sharpe ratio of "
            f"{first.results[self.size].sharpe:.2f} over {self.days:,} test days at "
            f"{first.cost_bp:g} bp a side, {' and '.join(said)}. Dividends, interest and taxes "
            "are left out, and every trade is made at the close that the forecast knows."
        )


def measure_earnings(
    forecasts: Forecasts, size: str, task: TaskConfig, earnings: EarningsConfig, *, samples: int
) -> Earnings | NotMeasured:
    """Trade the test days by the forecasts of a size of network and of the volatility model.

    Of several markets each has an equal part of the wealth. Nothing is measured where forecasts
    look further ahead than the day that a position is held, and where the volatility model is
    missing.
    """
    if task.horizon > 1:
        return NotMeasured(f"a position is held for one day, a forecast is of {task.horizon} days")
    if VOLATILITY not in forecasts.p:
        return NotMeasured(f"the baseline {VOLATILITY} is missing, and the rule is held against it")
    before, test = forecasts.of("validation").p, forecasts.of("test")
    returns = test.outcomes["next_return"].unstack("asset")
    held = {
        name: positions(_usual(before[name], test.p), test.p[name], task, earnings).unstack("asset")
        for name in (size, VOLATILITY)
    }
    held[HOLD] = returns.notna().astype(float).where(returns.notna())
    each = returns.mean(axis=1).to_numpy()
    # The dependence of squares lasts longer.
    block = block_length(np.stack([each, each**2]), task.horizon, "circular")
    return Earnings(
        rule=_in_words(task, earnings),
        size=size,
        days=len(returns),
        block_length=block,
        costs=tuple(
            _at_cost(cost, held, returns, size, block, samples) for cost in earnings.costs_bp
        ),
    )


def _usual(before: "pd.Series[float]", test: pd.DataFrame) -> Array:
    """The mean forecast on validation of the fold that each test row is of, [rows]."""
    means = before.groupby(level="origin").mean()
    return np.asarray(means.loc[test.index.get_level_values("origin")], float)


def positions(
    usual: Array,
    test: "pd.Series[float]",
    task: TaskConfig,
    earnings: EarningsConfig,
) -> "pd.Series[float]":
    """The share of the wealth in the market after each test day's close, 0 to the largest.

    A move either way: the target over the volatility of a normal law that gives such a move the
    forecast probability. A rise: the forecast over its `usual` one, that on validation, so that the
    market is held as a whole on average. A fall: 2 minus that.
    """
    from scipy.stats import norm

    if task.direction == "either":
        daily = earnings.target_volatility / np.sqrt(TRADING_DAYS)
        wanted = daily * norm.isf(test / 2) / task.threshold
    else:
        wanted = test / usual
        wanted = 2 - wanted if task.direction == "down" else wanted
    return pd.Series(np.clip(wanted, 0, earnings.largest_position), index=test.index)


def _in_words(task: TaskConfig, earnings: EarningsConfig) -> str:
    if task.direction == "either":
        target = f"{earnings.target_volatility:.0%} a year"
        rule = f"With the position that targets a volatility of {target}"
    else:
        more = {"up": "more", "down": "less"}[task.direction]
        rule = f"Holding {more} of the market when the move is likelier than usual"
    return f"{rule}, {earnings.largest_position:g} times the wealth at most"


def _at_cost(
    cost: float,
    held: Mapping[str, pd.DataFrame],
    returns: pd.DataFrame,
    size: str,
    block: int,
    samples: int,
) -> AtCost:
    earned = {name: _earned(position, returns, cost) for name, position in held.items()}
    series = {name: net for name, (net, _) in earned.items()}
    more = (sharpe_difference(series[size], series[o], block, samples) for o in (HOLD, VOLATILITY))
    return AtCost(
        cost,
        {
            name: Result(
                sharpe=float(_sharpe(net)),
                mean_return=float(TRADING_DAYS * net.mean()),
                volatility=float(np.sqrt(TRADING_DAYS) * net.std()),
                mean_position=float(held[name].mean(axis=1).mean()),
                turnover=float(TRADING_DAYS * traded.mean()),
            )
            for name, (net, traded) in earned.items()
        },
        *more,
    )


def _earned(position: pd.DataFrame, returns: pd.DataFrame, cost: float) -> tuple[Array, Array]:
    """The net return of each day, and what was traded at its start, [days].

    A position drifts with the market's return until the next close, and is then set anew.
    """
    gross = position * returns
    drifted = (position * (1 + returns) / (1 + gross)).ffill().shift(fill_value=0.0)
    traded = (position - drifted).abs()
    net = (gross - traded * cost / 1e4).mean(axis=1)
    return net.to_numpy(), traded.mean(axis=1).to_numpy()


def sharpe_difference(ours: Array, theirs: Array, block: int, samples: int) -> Estimate:
    """The Sharpe ratio of daily returns [days] minus another's, by the year.

    The interval is that of the studentised circular block bootstrap, after Ledoit & Wolf (2008,
    "Robust performance hypothesis testing with the Sharpe ratio"): returns have fat tails and
    turbulent times, which the usual standard error leaves out.
    """
    from arch.bootstrap import CircularBlockBootstrap

    if np.array_equal(ours, theirs):  # a difference that has no error to be divided by
        return Estimate(0.0, (0.0, 0.0))
    resampler = CircularBlockBootstrap(block, ours, theirs, seed=BOOTSTRAP_SEED)
    interval = resampler.conf_int(
        _difference,
        samples,
        method="studentized",
        std_err_func=lambda _, a, b: _standard_error(a, b, block),
    )
    low, high = interval[:, 0]
    return Estimate(_sharpe(ours) - _sharpe(theirs), (float(low), float(high)))


def _sharpe(returns: Array) -> float:
    return float(np.sqrt(TRADING_DAYS) * returns.mean() / returns.std())


def _difference(ours: Array, theirs: Array) -> Array:
    return np.array([_sharpe(ours) - _sharpe(theirs)])


def _standard_error(ours: Array, theirs: Array, block: int) -> Array:
    """Of the difference of two Sharpe ratios, by the delta method on the means of blocks."""
    each = _influence(ours) - _influence(theirs)
    blocks = each[: len(each) // block * block].reshape(-1, block).sum(axis=1)
    return np.array([np.sqrt(TRADING_DAYS * (blocks**2).sum()) / (blocks.size * block)])


def _influence(returns: Array) -> Array:
    """How much each return moves the daily Sharpe ratio, times their number."""
    z = (returns - returns.mean()) / returns.std()
    moved: Array = z - returns.mean() / returns.std() * (z**2 - 1) / 2
    return moved
