"""Skill is split into size and direction, and what volatility alone scores is the zero."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from scaling.config import TaskConfig
from scaling.law import direction
from scaling.law.direction import Direction, Forecasts, NotMeasured, forecasts_of

Array = npt.NDArray[np.float64]
DAYS = 3000
THRESHOLD = 1.0
UP = TaskConfig(threshold=0.01, horizon=1)


@dataclasses.dataclass
class Market:
    """Daily returns whose volatility and drift are known: both halves of what can be forecast."""

    sigma: Array
    drift: Array
    returns: Array

    def chance(self, sigma: Array, drift: Array | float) -> Array:
        """Of a rise by the threshold."""
        return np.asarray(norm.sf((THRESHOLD - drift) / sigma))


def market(drifting: float, leaning: float = 0.0, seed: int = 0) -> Market:
    """`drifting` is the deviation of the drift, `leaning` its share that goes with volatility."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=DAYS)
    sigma = np.exp(0.4 * size)
    drift = drifting * rng.normal(size=DAYS) + leaning * size
    return Market(sigma, drift, rng.normal(drift, sigma))


def rows(days: Market, p: Array, **columns: Any) -> pd.DataFrame:
    half = DAYS // 2
    dates = pd.date_range("2000-01-01", periods=DAYS)
    rises, falls = days.returns >= THRESHOLD, days.returns <= -THRESHOLD
    outcomes = {"y": rises, "rises": rises, "falls": falls}
    return pd.DataFrame(
        {
            "date": dates,
            "split": np.repeat(["validation", "test"], half),
            **{name: values.astype(int) for name, values in outcomes.items()},
            "next_return": days.returns / 100,
            "p": p,
            **columns,
        }
    )


def forecasts(days: Market, network: Array) -> Forecasts:
    """One network beside a volatility model that knows the volatility and no drift."""
    known = rows(days, days.chance(days.sigma, 0.0), model="garch")
    base = rows(days, np.full(DAYS, 0.16), model="base_rate")
    seeds = [
        rows(days, network, budget="2m", parameters=2, seed=seed, weights="mean") for seed in (1, 2)
    ]
    other = rows(days, 1 - network, budget="2m", parameters=2, seed=1, weights="last")
    return forecasts_of(pd.concat([*seeds, other]), pd.concat([known, base]))


def measured(of: Forecasts) -> Direction:
    found = direction.measure_direction(of, UP, samples=500)
    assert isinstance(found, Direction)
    return found


def blurred(sigma: Array, seed: int = 1) -> Array:
    """Volatility as a network might know it."""
    return sigma * np.exp(0.05 * np.random.default_rng(seed).normal(size=DAYS))


def test_a_network_that_knows_volatility_alone_adds_nothing() -> None:
    days = market(drifting=0.0)
    found = measured(forecasts(days, days.chance(blurred(days.sigma), 0.0)))
    for estimate in (found.additions["2m"].gain, found.rankings["2m"].minus_volatility):
        assert estimate.interval95[0] < 0 < estimate.interval95[1]
    said = found.sentence("2m")
    assert "does not certainly add" in said and "does not certainly know" in said
    assert found.volatility_skill > 0.05, "there was no volatility to know"


def test_a_network_that_knows_the_direction_adds_to_volatility() -> None:
    days = market(drifting=0.5)
    found = measured(forecasts(days, days.chance(days.sigma, days.drift)))
    added = found.additions["2m"]
    assert added.gain.interval95[0] > 0
    assert added.skill_together > found.volatility_skill
    assert found.rankings["2m"].minus_volatility.interval95[0] > 0
    said = found.sentence("2m")
    assert "the network adds to it" in said and "it knows more of the direction" in said


def test_half_is_the_wrong_zero_where_volatility_goes_with_the_drift() -> None:
    """Volatility ranks the rises above the falls by itself, and a network that knows no more has
    an AUC that is certainly above one half.
    """
    days = market(drifting=0.0, leaning=0.4)
    found = measured(forecasts(days, days.chance(blurred(days.sigma), 0.0)))
    assert found.rankings["2m"].auc.interval95[0] > 0.5
    low, high = found.rankings["2m"].minus_volatility.interval95
    assert low < 0 < high


def test_the_auc_is_that_of_scikit_learn_on_the_days_of_large_moves() -> None:
    days = market(drifting=0.5)
    network = days.chance(days.sigma, days.drift)
    found = measured(forecasts(days, network))
    large = (np.abs(days.returns) >= THRESHOLD) & (np.arange(DAYS) >= DAYS // 2)
    assert found.large_moves == large.sum()
    assert found.asked_moves == (days.returns[large] > 0).sum()
    expected = roc_auc_score(days.returns[large] > 0, network[large])
    assert found.rankings["2m"].auc.value == pytest.approx(expected, abs=1e-12)


def test_the_weights_of_the_two_forecasts_come_from_validation() -> None:
    """A network whose validation forecasts are turned around hurts on test."""
    days = market(drifting=0.5)
    network = days.chance(days.sigma, days.drift)
    turned = np.r_[days.chance(days.sigma, -days.drift)[: DAYS // 2], network[DAYS // 2 :]]
    assert measured(forecasts(days, turned)).additions["2m"].gain.interval95[1] < 0


def test_days_are_resampled_and_a_market_given_twice_changes_no_interval() -> None:
    days = market(drifting=0.5)
    once = forecasts(days, days.chance(days.sigma, days.drift))
    names = [*once.p.index.names]
    twice = Forecasts(
        *(
            pd.concat([part, part.rename({"": "copy"}, level="asset")]).sort_index(level=names)
            for part in once[:2]
        ),
        once.sizes,
    )
    one, two = measured(once), measured(twice)
    assert two.large_moves == 2 * one.large_moves and two.days == one.days
    for name, ranking in one.rankings.items():
        assert np.allclose(two.rankings[name].auc.interval95, ranking.auc.interval95)
    assert np.allclose(two.additions["2m"].gain.interval95, one.additions["2m"].gain.interval95)


def test_a_day_counts_once_for_a_skill_however_many_markets_are_open_on_it() -> None:
    days = market(drifting=0.5)
    once = forecasts(days, days.chance(days.sigma, days.drift))
    names = [*once.p.index.names]
    calm = once.outcomes.query("split == 'test' and y == 0").index
    more = (part.loc[calm].rename({"": "copy"}, level="asset") for part in once[:2])
    both = (pd.concat(parts).sort_index(level=names) for parts in zip(once[:2], more, strict=True))
    one, two = measured(once), measured(Forecasts(*both, once.sizes))
    assert two.volatility_skill == pytest.approx(one.volatility_skill)
    assert two.additions["2m"].skill_together == pytest.approx(one.additions["2m"].skill_together)


def test_the_weights_chosen_on_validation_count_and_seeds_are_averaged() -> None:
    days = market(drifting=0.5)
    base = rows(days, np.full(DAYS, 0.16), model="garch")
    kinds = [(0.2, 1, "mean"), (0.4, 2, "mean"), (0.9, 1, "last")]
    networks = [
        rows(days, np.full(DAYS, p), budget="2m", parameters=2, seed=seed, weights=weights)
        for p, seed, weights in kinds
    ]
    small = rows(days, np.full(DAYS, 0.5), budget="600k", parameters=1, seed=1, weights="mean")
    found = forecasts_of(pd.concat([*networks, small]), base)
    assert np.allclose(found.p["2m"], 0.3)
    assert found.sizes == ("600k", "2m")


def test_a_question_about_falls_ranks_falls_above_rises() -> None:
    days = market(drifting=0.5)
    falls = dataclasses.replace(days, drift=-days.drift, returns=-days.returns)
    up, down = (forecasts(one, days.chance(days.sigma, days.drift)) for one in (days, falls))
    down = down._replace(outcomes=down.outcomes.assign(y=down.outcomes["falls"]))
    found = direction.measure_direction(
        down, dataclasses.replace(UP, direction="down"), samples=500
    )
    assert isinstance(found, Direction)
    assert found.rankings["2m"] == measured(up).rankings["2m"]
    assert "ranks falls above rises" in found.sentence("2m")


def refusal(found: Forecasts, task: TaskConfig = UP) -> str:
    refused = direction.measure_direction(found, task, samples=500)
    assert isinstance(refused, NotMeasured)
    return refused.reason


def test_what_cannot_be_measured_says_why() -> None:
    days = market(drifting=0.5)
    sound = forecasts(days, days.chance(days.sigma, days.drift))
    outcomes = sound.outcomes
    assert "garch is missing" in refusal(sound._replace(p=sound.p.drop(columns="garch")))
    assert "no direction" in refusal(sound, dataclasses.replace(UP, direction="either"))
    seldom = outcomes.assign(falls=0)
    assert "0 large falls" in refusal(sound._replace(outcomes=seldom))
