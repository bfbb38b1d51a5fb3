"""Volatility models give back known probabilities, and a planted look ahead is caught by name."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from arch.univariate import EGARCH, ConstantMean, SkewStudent

from scaling.config import TaskConfig
from scaling.data.dataset import Study, load_study, threshold_labels
from scaling.data.prices import daily_ranges, load_prices
from scaling.judging import baselines, checks, volatility
from scaling.judging.volatility import Garch, History, NotConverged
from tests.conftest import random_prices
from tests.judging.test_baselines import planted
from tests.judging.test_sight import BLOCKS, written

Array = npt.NDArray[np.float64]
# Close to what SPY's training block gives, and more turbulent.
TRUTH = Garch(mu=0.03, omega=0.01, alpha=0.2, gamma=-0.12, beta=0.97, eta=8.0, skew=-0.1)
ROWS = 12_000
TRAIN = np.arange(60, 9_000)
JUDGED = np.arange(9_000, ROWS - 5)
UP = TaskConfig(threshold=0.01, horizon=1)


@dataclasses.dataclass
class World:
    """Prices of an EGARCH whose volatility on each day is known, and the EGARCH fitted to them."""

    history: History
    sigma: Array
    fitted: Garch


@pytest.fixture(scope="module")
def world() -> World:
    model = ConstantMean(
        None,
        volatility=EGARCH(p=1, o=1, q=1),
        distribution=SkewStudent(seed=np.random.default_rng(3)),
    )
    drawn = model.simulate(list(dataclasses.astuple(TRUTH)), ROWS - 1)
    close = 100 * np.exp(np.cumsum([0, *drawn["data"] / 100]))
    # A range that tells of the day's volatility, and of nothing else.
    sigma = np.array([drawn["volatility"].iloc[0], *drawn["volatility"]])
    history = History(close, ranges=1.6 * sigma)
    return World(history, sigma, Garch.fit(history, TRAIN))


def chance(task: TaskConfig, sigma: Array) -> Array:
    """The probability of a move on a day of known volatility, [days]."""
    law = partial(SkewStudent().cdf, parameters=[TRUTH.eta, TRUTH.skew])
    rise = 1 - law((100 * np.log(1 + task.threshold) - TRUTH.mu) / sigma)
    fall = law((100 * np.log(1 - task.threshold) - TRUTH.mu) / sigma)
    return np.asarray({"up": rise, "down": fall, "either": rise + fall}[task.direction])


DIRECTIONS = pytest.mark.parametrize("direction", ["up", "down", "either"])


@DIRECTIONS
def test_with_the_true_parameters_the_probability_is_the_known_one(
    world: World, direction: str
) -> None:
    task = dataclasses.replace(UP, direction=direction)
    p = TRUTH.probabilities(world.history, JUDGED, task)
    assert np.allclose(p, chance(task, world.sigma[JUDGED + 1]), atol=1e-6)


@DIRECTIONS
@pytest.mark.parametrize("threshold", [0.005, 0.02])
def test_a_fitted_garch_gives_back_the_known_probability(
    world: World, direction: str, threshold: float
) -> None:
    task = TaskConfig(threshold=threshold, horizon=1, direction=direction)  # type: ignore[arg-type]
    p = world.fitted.probabilities(world.history, JUDGED, task)
    known = chance(task, world.sigma[JUDGED + 1])
    assert np.abs(p - known).mean() < 0.02
    happened = threshold_labels(world.history.close, threshold, 1, direction)[JUDGED]
    error = np.sqrt((known * (1 - known)).sum())
    assert abs(happened.sum() - p.sum()) < 3 * error


# Its volatility forgets fast, so that a day more or less makes a difference after a shock.
NERVOUS = dataclasses.replace(TRUTH, alpha=0.8, beta=0.6)
PATHS = 40_000


def next_log_variance(log_variance: Any, shock: Any) -> Any:
    size = np.abs(shock) - np.sqrt(2 / np.pi)
    model = NERVOUS
    return model.omega + model.alpha * size + model.gamma * shock + model.beta * log_variance


def by_hand(history: History, day: int, task: TaskConfig) -> float:
    """The chance of a move within the horizon, from a recursion and paths written out here."""
    log_variance = 0.0
    for value in history.returns[1 : day + 1]:
        shock = (value - NERVOUS.mu) / np.exp(log_variance / 2)
        log_variance = next_log_variance(log_variance, shock)
    random = SkewStudent(seed=np.random.default_rng(day)).simulate([NERVOUS.eta, NERVOUS.skew])
    path, variances = np.zeros(PATHS), np.full(PATHS, log_variance)
    reached = np.zeros(PATHS, bool)
    for _ in range(task.horizon):
        shocks = random(PATHS)
        path += NERVOUS.mu + np.exp(variances / 2) * shocks
        rise = path >= 100 * np.log1p(task.threshold)
        fall = path <= 100 * np.log1p(-task.threshold)
        reached |= {"up": rise, "down": fall, "either": rise | fall}[task.direction]
        variances = next_log_variance(variances, shocks)
    return float(reached.mean())


def misses(world: World, direction: str) -> Array:
    """Simulated minus known probability in standard errors, after the largest moves and others."""
    task = TaskConfig(threshold=0.02, horizon=3, direction=direction)  # type: ignore[arg-type]
    order = JUDGED[np.argsort(np.abs(world.history.returns[JUDGED]))]
    days = np.sort(order[[0, 1000, -3, -2, -1]])
    found = NERVOUS.probabilities(world.history, days, task)
    known = np.array([by_hand(world.history, day, task) for day in days])
    error = np.sqrt(known * (1 - known) * (1 / volatility.SIMULATIONS + 1 / PATHS)) + 1e-4
    return np.asarray((found - known) / error)


@DIRECTIONS
def test_simulated_paths_give_back_the_known_probability_within_several_days(
    world: World, direction: str
) -> None:
    assert np.abs(misses(world, direction)).max() < 4


def test_a_path_simulation_that_starts_a_day_late_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch_forecast = ConstantMean.forecast

    def late(self: ConstantMean, parameters: Any, horizon: int, **how: Any) -> Any:
        shocks = how["rng"](None)
        more = {**how, "rng": lambda size: np.concatenate([shocks[::-1, :1], shocks], axis=1)}
        found = arch_forecast(self, parameters, horizon + 1, **more)
        found.simulations._values = found.simulations.values[:, :, 1:]
        return found

    monkeypatch.setattr(ConstantMean, "forecast", late)
    assert np.abs(misses(world, "up")).max() > 4


def test_no_path_makes_an_event_impossible(world: World) -> None:
    task = TaskConfig(threshold=0.49, horizon=2)
    p = TRUTH.probabilities(world.history, JUDGED[:3], task)
    assert (p > 0).all() and (p < 1e-3).all()


def test_the_likelihood_counts_the_training_days_alone(world: World) -> None:
    """Returns of other days in between move the volatility, and no parameter is fitted to them."""
    quarters = TRAIN[(TRAIN // 60) % 2 == 0]
    returns = world.history.returns.copy()
    returns[np.setdiff1d(TRAIN, quarters) + 1] += 0.6  # as if prices rose on all other days
    other = world.history._replace(close=100 * np.exp(np.cumsum(returns / 100)))
    assert abs(Garch.fit(other, quarters).mu - TRUTH.mu) < 0.1
    assert Garch.fit(other, TRAIN).mu > 0.25


def test_har_sees_the_mean_range_of_a_day_a_week_and_a_month() -> None:
    random = np.random.default_rng(0)
    history = History(100 * np.exp(random.normal(0, 0.01, 40).cumsum()), random.uniform(1, 2, 40))
    row = volatility.har_inputs(history, np.array([30]))[0]
    means = [np.log(history.ranges[31 - n : 31].mean()) for n in (1, 5, 22)]
    last = 100 * np.log(history.close[30] / history.close[29])
    assert np.allclose(row, [*means, last, min(last, 0)])


def test_where_there_is_no_high_and_low_har_sees_absolute_returns() -> None:
    close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, 40).cumsum())
    close[20] = close[19]  # and a day without a move has a logarithm too
    history = History(close, np.zeros(40))
    rows = volatility.har_inputs(history, np.arange(1, 40))
    expected = np.abs(100 * np.log(close[1:] / close[:-1]))
    assert np.allclose(rows[:, 0], np.log(np.maximum(expected, volatility.SMALLEST_MOVE)))


def test_prices_of_closes_alone_have_no_ranges(prices: pd.DataFrame) -> None:
    expected = 100 * (np.log(prices["high"]) - np.log(prices["low"]))
    assert np.allclose(daily_ranges(prices), expected)
    assert not daily_ranges(prices[["close"]]).any()


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_recent_rate_counts_the_last_22_days_whose_outcome_is_known(horizon: int) -> None:
    close = 100 * np.exp(np.random.default_rng(1).normal(0, 0.01, 200).cumsum())
    task = TaskConfig(threshold=0.01, horizon=horizon)
    for day in (60, 61, 199):
        known = threshold_labels(close[: day + 1], 0.01, horizon)
        found = volatility.recent_rate(History(close, close), np.array([day]), task)
        assert found[0] == known[-22:].mean()


def test_a_fit_that_does_not_converge_is_a_missing_row_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, few_trees: None
) -> None:
    def gives_up(*_: Any, **__: Any) -> Garch:
        raise NotConverged("Iteration limit reached")

    monkeypatch.setattr(Garch, "fit", gives_up)
    fitted = baselines.fit_baselines(planted(1.0), UP)
    assert "garch" not in fitted.baselines and "har" in fitted.baselines
    assert fitted.missing == {"garch": "Iteration limit reached for the returns of XYZ"}


def test_prices_that_never_move_have_no_garch() -> None:
    with pytest.raises(NotConverged):
        Garch.fit(History(np.full(500, 100.0), np.zeros(500)), np.arange(60, 400))


def test_too_few_steps_of_the_search_are_no_garch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ConstantMean.fit
    monkeypatch.setattr(
        ConstantMean, "fit", lambda self, **how: real(self, **{**how, "options": {"maxiter": 2}})
    )
    with pytest.raises(NotConverged, match="Iteration limit"):
        Garch.fit(world.history, TRAIN)


# --- what nobody can know on the day -----------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(written(tmp_path, random_prices(rows=1100)), BLOCKS)


TASK = TaskConfig(threshold=0.01, horizon=2)


def fitted_on_all_years(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Garch.fit
    monkeypatch.setattr(
        Garch, "fit", lambda history, _: real(history, np.arange(60, len(history.close) - 1))
    )


def ranges_of_the_next_day(monkeypatch: pytest.MonkeyPatch) -> None:
    real = volatility.har_inputs
    monkeypatch.setattr(
        baselines,
        "har_inputs",
        lambda past, days: real(past._replace(ranges=np.roll(past.ranges, -1)), days),
    )


def paths_from_a_later_day(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Garch._simulated
    monkeypatch.setattr(
        Garch, "_simulated", lambda self, past, days, task: real(self, past, days + 1, task)
    )


def outcomes_that_are_not_known_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    real = volatility.recent_rate
    monkeypatch.setattr(
        baselines, "recent_rate", lambda past, days, task: real(past, days + 2, task)
    )


def test_volatility_baselines_see_no_future(study: Study) -> None:
    assert baselines.volatility_ignores_the_future(study, TASK)["passed"]


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (fitted_on_all_years, "garch"),
        (ranges_of_the_next_day, "har"),
        (paths_from_a_later_day, "garch"),
        (outcomes_that_are_not_known_yet, "recent_rate"),
    ],
)
def test_a_baseline_that_sees_the_future_is_named(
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    name: str,
) -> None:
    plant(monkeypatch)
    # The last day of the file has no later row that a planted mistake could read.
    early = {**study.samples, "test": study.samples["test"][:-3]}
    found = baselines.volatility_ignores_the_future(dataclasses.replace(study, samples=early), TASK)
    assert not found["passed"]
    assert found["found"].startswith(name) and found["found"].count("first on") == 1


def test_ranges_of_the_next_day_in_the_study_itself_are_noticed(
    study: Study, tmp_path: Path
) -> None:
    prices = load_prices(tmp_path / "XYZ.parquet")
    assert checks.moves_are_their_days(study, "XYZ", prices)["passed"]
    late = dataclasses.replace(study, ranges=np.roll(study.ranges, -1))
    found = checks.moves_are_their_days(late, "XYZ", prices)
    assert not found["passed"] and found["found"].startswith("range differs on")


def test_each_market_has_a_garch_of_its_own_and_hears_nothing_of_the_others(world: World) -> None:
    """One market's prices after a change of another's: the same forecasts, to the last bit."""
    both = planted(1.0)
    cut = {"CALM": slice(0, 800), "WILD": slice(800, 1600)}
    close = world.history.close[:1600].copy()
    close[:800] = 100 * (close[:800] / 100) ** 0.3
    samples = {
        "train": np.r_[60:500, 860:1300],
        "validation": np.r_[1300:1450],
        "test": np.r_[1450:1600],
    }
    study = dataclasses.replace(both, assets=cut, judged=("WILD",), close=close, samples=samples)
    stormy = dataclasses.replace(study, close=np.r_[close[:800] ** 2, close[800:]])
    rows = samples["test"]
    p = [baselines._garch(one, UP).predict(one, rows) for one in (study, stormy)]
    assert np.array_equal(*p)
    assert list(baselines._garch(study, UP).settings) == ["WILD"]
