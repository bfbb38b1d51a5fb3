"""What volatility alone knows of the question: an EGARCH, log ranges, the event's recent frequency.

Each looks at one market's own closes and ranges up to the day of the forecast. "A rise by 1 %
tomorrow" asks mostly how wild tomorrow is, and these models of 1991 to 2009 answer that alone.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from arch.univariate import EGARCH, ConstantMean, SkewStudent

from scaling.config import TaskConfig
from scaling.data.dataset import Indices, Study, threshold_labels
from scaling.metrics import Array

# A day, a week and a month of trading days, as in Corsi (2009), "A simple approximate long-memory
# model of realized volatility".
HAR_DAYS = (1, 5, 22)
RECENT_DAYS = 22
# In per cent. A day without any move has no logarithm; one basis point is far below a normal range.
SMALLEST_MOVE = 0.01
# The standard error of a simulated probability of 15 % is 0.4 %, which costs 5e-5 nats.
SIMULATIONS = 10_000
SEED = 0
# Simulated numbers that are held at a time: 16 MB in each of arch's four arrays.
HELD_AT_A_TIME = 2_000_000


class NotConverged(Exception):
    """The optimiser found no maximum of the likelihood."""


class History(NamedTuple):
    """One market's closes and ranges, [rows] each, from its first row with features on."""

    close: Array
    ranges: Array
    """log(high / low) in per cent; 0 where only closes are known."""

    @property
    def returns(self) -> Array:
        """Log returns in per cent, [rows]; that of the first row is 0."""
        log_close = np.log(self.close)
        return 100 * np.diff(log_close, prepend=log_close[:1])


def by_history(
    study: Study, rows: Indices
) -> Iterator[tuple[str, History, Indices, npt.NDArray[np.int64]]]:
    """Each market that has some of the `rows`: its name, its history, and these rows in it.

    The last item are their places in `rows`.
    """
    for name, own in study.assets.items():
        places = np.flatnonzero((rows >= own.start) & (rows < own.stop))
        if len(places):
            history = History(study.close[own], study.ranges[own])
            yield name, history, rows[places] - own.start, places


def over_markets(
    study: Study, rows: Indices, ask: Callable[[str, History, Indices], Array]
) -> Array:
    """`ask(market, history, days)` of each market, [days] or [days, inputs], as `rows` stand."""
    parts = [
        (ask(name, history, days), places)
        for name, history, days, places in by_history(study, rows)
    ]
    found, places = (np.concatenate(part) for part in zip(*parts, strict=True))
    return found[np.argsort(places)]


def har_inputs(history: History, days: Indices) -> Array:
    """Log mean range of 1, 5 and 22 days, the last return and its negative part, [days, 5].

    A day without a range, as all of a market of closes alone, has its absolute return in place of
    it. The negative part is the leverage effect of Corsi & Renò (2012).
    """
    returns = history.returns
    moves = np.where(history.ranges > 0, history.ranges, np.abs(returns))
    daily = pd.Series(np.maximum(moves, SMALLEST_MOVE))
    means = [np.log(daily.rolling(n, min_periods=1).mean()).to_numpy() for n in HAR_DAYS]
    return np.column_stack([*means, returns, np.minimum(returns, 0)])[days]


def recent_rate(history: History, days: Indices, task: TaskConfig) -> Array:
    """The event's frequency over the last 22 days whose outcome is known on the day, [days].

    The outcome of day `s` is known on day `s + horizon`.
    """
    labels = threshold_labels(history.close, task.threshold, task.horizon, task.direction)
    events = np.concatenate([[0], labels.cumsum()])
    known = days - task.horizon + 1
    rate: Array = (events[known] - events[known - RECENT_DAYS]) / RECENT_DAYS
    return rate


class _SkewStudentOfSomeDays(SkewStudent):  # type: ignore[misc]
    """Hansen's skewed t, whose likelihood counts some days; the others only move the volatility."""

    def __init__(self, counted: npt.NDArray[np.bool_]) -> None:
        super().__init__()
        self._counted = counted

    def loglikelihood(
        self, parameters: Array, resids: Array, sigma2: Array, individual: bool = False
    ) -> float | Array:
        each: Array = super().loglikelihood(parameters, resids, sigma2, individual=True)
        return each if individual else float(each[self._counted].sum())


def _model(returns: Array, distribution: SkewStudent) -> ConstantMean:
    volatility = EGARCH(p=1, o=1, q=1)
    return ConstantMean(returns, volatility=volatility, distribution=distribution, rescale=False)


@dataclass(frozen=True)
class Garch:
    """EGARCH(1,1) with leverage (Nelson 1991) and skewed t (Hansen 1994), parameters fixed."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    eta: float
    skew: float

    @classmethod
    def fit(cls, history: History, days: Indices) -> "Garch":
        """Maximum likelihood of the returns that follow the training `days`.

        The returns before them move the volatility and are no part of the likelihood, as a window
        is no label. None after the last of them is read. Raises `NotConverged`.
        """
        returns = history.returns[1 : days.max() + 2]
        counted = np.zeros(len(returns), bool)
        counted[days] = True  # the return of day t + 1 stands at t, since the first row has none
        model = _model(returns, _SkewStudentOfSomeDays(counted))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # steps of the search may overflow
            found = model.fit(disp="off", show_warning=False, options={"maxiter": 1000})
        if found.convergence_flag or not np.isfinite(found.params).all():
            raise NotConverged(found.optimization_result.message)
        return cls(*map(float, found.params))

    def probabilities(self, history: History, days: Indices, task: TaskConfig) -> Array:
        """The probability of the event in the `horizon` days after each of `days`, [days]."""
        if task.horizon > 1:
            return self._simulated(history, days, task)
        forecast = self._forecast(history, days, horizon=1)
        sigma = np.sqrt(forecast.residual_variance.to_numpy()[days - days.min(), 0])
        low, high = ((bound - self.mu) / sigma for bound in _bounds(task))
        shape = [self.eta, self.skew]
        falls, rises = SkewStudent().cdf(low, shape), 1 - SkewStudent().cdf(high, shape)
        chances: dict[str, Array] = {"up": rises, "down": falls, "either": rises + falls}
        return chances[task.direction]

    def _simulated(self, history: History, days: Indices, task: TaskConfig) -> Array:
        """The share of simulated paths that reach the threshold.

        All days have the same shocks, so that a forecast depends on its day's past alone. Half a
        path is added on either side, so that no event is called impossible.
        """
        random = SkewStudent(seed=np.random.default_rng(SEED)).simulate([self.eta, self.skew])
        shocks = random((SIMULATIONS, task.horizon))
        low, high = _bounds(task)
        found = []
        rows = max(1, HELD_AT_A_TIME // shocks.size)
        for part in np.split(days, np.flatnonzero(np.diff(days // rows)) + 1):
            forecast = self._forecast(
                *(history, part, task.horizon),
                method="simulation",
                simulations=SIMULATIONS,
                rng=lambda size: shocks,
            )
            paths = forecast.simulations.values[part - part.min()].cumsum(axis=2)
            rises, falls = paths.max(axis=2) >= high, paths.min(axis=2) <= low
            hits = {"up": rises, "down": falls, "either": rises | falls}[task.direction]
            found.append((hits.sum(axis=1) + 0.5) / (SIMULATIONS + 1))
        return np.concatenate(found)

    def _forecast(self, history: History, days: Indices, horizon: int, **how: Any) -> Any:
        """arch's forecast from the end of each day between the first and the last of `days`."""
        model = _model(history.returns[1 : days.max() + 1], SkewStudent())
        parameters = np.array(astuple(self))
        return model.forecast(parameters, horizon, start=int(days.min()) - 1, **how)


def _bounds(task: TaskConfig) -> tuple[float, float]:
    """The log returns in per cent that are a fall and a rise by the threshold."""
    return 100 * np.log1p(-task.threshold), 100 * np.log1p(task.threshold)
