"""Positions follow the rules set before, costs are paid, and the interval has its level."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import norm

from scaling.config import EarningsConfig, TaskConfig
from scaling.law import earnings
from scaling.law.direction import Estimate, Forecasts, NotMeasured
from scaling.law.earnings import HOLD, Earnings

Array = npt.NDArray[np.float64]
RULES = EarningsConfig()
UP, DOWN, EITHER = (
    TaskConfig(threshold=0.01, horizon=1, direction=direction)  # type: ignore[arg-type]
    for direction in ("up", "down", "either")
)


def forecasts(returns: Array, network: Array, garch: Array, assets: int = 1) -> Forecasts:
    """The second half of the days is test."""
    half = len(returns) // 2
    days = pd.date_range("2000-01-01", periods=len(returns))
    keys: dict[str, Any] = {"split": np.repeat(["validation", "test"], half), "date": days}
    parts = []
    for asset in "abc"[:assets]:
        index = pd.MultiIndex.from_frame(pd.DataFrame({**keys, "origin": 0, "asset": asset}))
        parts.append(
            pd.DataFrame({"2m": network, "garch": garch, "next_return": returns}, index=index)
        )
    rows = pd.concat(parts).sort_index()
    return Forecasts(rows[["2m", "garch"]], rows[["next_return"]], ("2m",))


def measured(of: Forecasts, task: TaskConfig, rules: EarningsConfig = RULES) -> Earnings:
    found = earnings.measure_earnings(of, "2m", task, rules, samples=400)
    assert isinstance(found, Earnings)
    return found


def wild(days: int = 4000, seed: int = 0) -> tuple[Array, Array]:
    """Returns of one mean and a volatility that wanders, and this volatility, [days]."""
    rng = np.random.default_rng(seed)
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = 0.97 * level[day - 1] + rng.normal(0, 0.25)
    sigma = 0.01 * np.exp(level)
    return rng.normal(0.0015, sigma), sigma


def series(*values: float) -> "pd.Series[float]":
    return pd.Series(values, dtype=float)


@pytest.mark.parametrize("yearly", [0.05, 0.1, 0.2, 0.4])
def test_targeting_holds_the_target_over_the_volatility_that_the_forecast_means(
    yearly: float,
) -> None:
    daily = yearly / np.sqrt(252)
    p = 2 * norm.sf(0.01 / daily)
    found = earnings.positions(np.array([0.5]), series(p, 1.0), EITHER, RULES)
    assert found[0] == pytest.approx(min(2.0, 0.1 / yearly))
    assert found[1] == 0, "a move that is certain has no volatility to hold"


def test_an_overlay_holds_the_market_on_average_of_validation_and_leans_with_the_forecast() -> None:
    usual, test = np.full(4, 0.2), series(0.1, 0.2, 0.3, 0.9)
    assert np.allclose(earnings.positions(usual, test, UP, RULES), [0.5, 1, 1.5, 2])
    assert np.allclose(earnings.positions(usual, test, DOWN, RULES), [1.5, 1, 0.5, 0])


def test_the_position_of_a_day_earns_the_next_return_and_pays_for_what_it_trades() -> None:
    days = pd.Index(range(3))
    position = pd.DataFrame({"a": [1.0, 2.0, 0.5]}, index=days)
    returns = pd.DataFrame({"a": [0.10, -0.05, 0.20]}, index=days)
    net, traded = earnings._earned(position, returns, cost=10.0)
    # A wealth of 2 in the market falls by 5 % to 1.9 of 0.9 that is left.
    assert np.allclose(traded, [1.0, 1.0, 1.9 / 0.9 - 0.5])
    assert np.allclose(net, [0.10, -0.10, 0.10] - 0.001 * traded)


def test_holding_trades_once() -> None:
    returns, _ = wild()
    flat = np.full(len(returns), 0.2)
    found = measured(forecasts(returns, flat, flat), UP)
    held = found.costs[0].results[HOLD]
    assert held.turnover * found.days / 252 == pytest.approx(1.0)
    assert held.mean_return == pytest.approx(252 * returns[2000:].mean(), abs=1e-4)


def test_forecasts_that_know_the_volatility_have_a_higher_sharpe_ratio_for_certain() -> None:
    returns, sigma = wild()
    knows, flat = 2 * norm.sf(0.01 / sigma), np.full(len(returns), 0.3)
    found = measured(forecasts(returns, knows, flat), EITHER)
    assert found.costs[0].more_than_holding.interval95[0] > 0
    assert found.sentence().count("certainly higher than") == 2
    assert "targets a volatility of 10% a year" in found.sentence()


def test_forecasts_that_know_nothing_have_no_certain_advantage() -> None:
    returns, _ = wild()
    p = np.random.default_rng(1).uniform(0.1, 0.3, (2, len(returns)))
    found = measured(forecasts(returns, *p), UP)
    assert "certainly higher than" not in found.sentence()
    for at in found.costs:
        assert at.more_than_volatility.interval95[0] < 0 < at.more_than_volatility.interval95[1]


def test_an_interval_that_holds_zero_at_one_cost_alone_makes_nothing_certain() -> None:
    returns, sigma = wild()
    knows, flat = 2 * norm.sf(0.01 / sigma), np.full(len(returns), 0.3)
    dear = dataclasses.replace(RULES, costs_bp=(1.0, 60.0))
    found = measured(forecasts(returns, knows, flat), EITHER, dear)
    assert found.costs[0].more_than_holding.interval95[0] > 0
    said = found.sentence()
    assert "not certainly higher or lower than buy and hold" in said


def test_two_rules_that_do_the_same_do_not_differ() -> None:
    returns, sigma = wild()
    found = measured(forecasts(returns, sigma, sigma), UP)
    assert found.costs[0].more_than_volatility == Estimate(0.0, (0.0, 0.0))


def test_a_market_given_twice_earns_what_it_earns_once() -> None:
    returns, sigma = wild()
    p = 2 * norm.sf(0.01 / sigma)
    once, twice = (measured(forecasts(returns, p, p[::-1], n), EITHER) for n in (1, 2))
    assert once.costs[0].results["2m"].sharpe == pytest.approx(twice.costs[0].results["2m"].sharpe)
    assert np.allclose(
        once.costs[1].more_than_holding.interval95, twice.costs[1].more_than_holding.interval95
    )


def test_a_day_on_which_one_market_is_closed_is_earned_by_the_other() -> None:
    returns = pd.DataFrame({"a": [0.01, 0.02, 0.03], "b": [0.05, np.nan, 0.05]})
    position = pd.DataFrame(1.0, index=returns.index, columns=["a", "b"]).where(returns.notna())
    net, traded = earnings._earned(position, returns, cost=0.0)
    assert np.allclose(net, [0.03, 0.02, 0.04]) and np.allclose(traded, [1, 0, 0])


def test_the_standard_error_is_that_of_theory_where_theory_has_one() -> None:
    """Independent normal returns: Memmel (2003), the correction of Jobson & Korkie (1981)."""
    rng = np.random.default_rng(0)
    days = 40_000
    both = rng.multivariate_normal([0.05, 0.02], [[1, 0.6], [0.6, 1]], days)
    a, b = both.T
    s, r = (x.mean() / x.std() for x in (a, b))
    rho = np.corrcoef(a, b)[0, 1]
    variance = (2 - 2 * rho + (s**2 + r**2 - 2 * s * r * rho**2) / 2) / days
    found = earnings._standard_error(a, b, block=20)[0]
    assert found == pytest.approx(np.sqrt(252 * variance), rel=0.06)


def test_the_interval_holds_the_true_difference_as_often_as_it_says() -> None:
    """Fat tails and volatility that lasts; both have a Sharpe ratio of 0, so that all is noise."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        sigma = wild(500, seed)[1]
        common = rng.standard_t(6, 500)
        a, b = (sigma * (common + 0.7 * rng.standard_t(6, 500)) for _ in range(2))
        low, high = earnings.sharpe_difference(a, b, block=10, samples=200).interval95
        held += low < 0 < high
    assert held >= 52  # 57 expected of 60; 51 or fewer would happen by chance once in a hundred


def test_what_cannot_be_measured_says_why() -> None:
    returns, sigma = wild(400)
    sound = forecasts(returns, sigma, sigma)
    without = sound._replace(p=sound.p.drop(columns="garch"))
    for of, task, reason in (
        (sound, TaskConfig(threshold=0.01, horizon=3), "a forecast is of 3 days"),
        (without, UP, "garch is missing"),
    ):
        refused = earnings.measure_earnings(of, "2m", task, RULES, samples=400)
        assert isinstance(refused, NotMeasured) and reason in refused.reason
