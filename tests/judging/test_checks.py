"""Each check passes on sound input, and fails on the mistake that it stands for."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from scaling.config import TaskConfig
from scaling.data.dataset import threshold_labels
from scaling.data.features import build_features
from scaling.errors import UserError
from scaling.judging import checks
from scaling.run import RunName
from scaling.splits import SplitConfig
from tests.figures.planted_study import control_losses, planted

SPLITS = SplitConfig(
    train=("2000-01-01", "2009-12-31"),  # type: ignore[arg-type]
    validation=("2010-01-01", "2013-12-31"),  # type: ignore[arg-type]
    test=("2014-01-01", "2019-12-31"),  # type: ignore[arg-type]
)
TASK = TaskConfig(threshold=0.01, horizon=3)


def block(n: int, positives: int) -> np.ndarray:
    return np.r_[np.ones(positives), np.zeros(n - positives)].astype(np.int8)


def random_blocks(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(5, 2, (400, 3)) for name in ("train", "validation", "test")}


def drift(blocks: dict[str, np.ndarray]) -> checks.Check:
    return checks.no_gross_drift(checks.drift_table(blocks, ("a", "b", "c")))


@pytest.mark.parametrize(
    ("validation", "passed"),
    [((1000, 100), True), ((19, 10), False), ((1000, 9), False), ((1000, 995), False)],
    ids=["enough", "19 samples", "9 positives", "5 negatives"],
)
def test_a_block_with_too_few_samples_or_of_one_class_fails(
    validation: tuple[int, int], passed: bool
) -> None:
    labels = {"train": block(1000, 100), "validation": block(*validation), "test": block(999, 99)}
    assert checks.enough_samples(labels, SPLITS)["passed"] is passed


def test_a_calmer_period_of_one_standard_deviation_is_not_gross_drift() -> None:
    blocks = random_blocks()
    blocks["test"] = blocks["test"] - 2.0
    assert drift(blocks)["passed"]


def test_a_price_level_feature_fails_the_drift_check_by_name() -> None:
    # An average in dollars: 45 to 155 in the train years, 170 to 330 in the test years.
    blocks = random_blocks()
    blocks["train"][:, 1] = np.linspace(45, 155, 400)
    blocks["validation"][:, 1] = np.linspace(110, 185, 400)
    blocks["test"][:, 1] = np.linspace(170, 330, 400)
    found = drift(blocks)
    assert not found["passed"]
    assert "moved: b" in found["found"]


@pytest.mark.parametrize("period", ["validation", "test"])
@pytest.mark.parametrize("factor", [0.0, 100.0], ids=["stale", "percent for fractions"])
def test_a_feature_that_stops_moving_or_changes_unit_fails(period: str, factor: float) -> None:
    blocks = {name: rows - 5 for name, rows in random_blocks().items()}
    blocks[period][:, 2] *= factor
    found = drift(blocks)
    assert not found["passed"]
    assert "moved: c" in found["found"]


def test_a_missing_value_counts_as_drift_not_as_none() -> None:
    blocks = random_blocks()
    blocks["test"][3, 0] = np.nan
    assert not drift(blocks)["passed"]


def test_a_feature_constant_in_training_is_refused_by_name() -> None:
    blocks = random_blocks()
    blocks["train"][:, 1] = 1
    with pytest.raises(UserError, match="constant in the training rows: b"):
        checks.drift_table(blocks, ("a", "b", "c"))


def test_forecasts_of_a_fitted_model_vary() -> None:
    p = 1 / (1 + np.exp(-np.random.default_rng(0).normal(-2, 0.5, 500)))
    assert checks.predictions_vary(p)["passed"]


@pytest.mark.parametrize("level", [0.52, 0.154, 1e-9])
def test_a_network_settled_on_the_prior_fails(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 500) * level
    assert not checks.predictions_vary(level + noise)["passed"]


def test_causal_features_are_the_same_when_the_future_is_removed(prices: pd.DataFrame) -> None:
    assert checks.features_ignore_the_future(prices, build_features(prices), build_features)[
        "passed"
    ]


@pytest.mark.parametrize("leak", ["tomorrow", "whole-sample z-score", "this week's Friday"])
def test_a_feature_that_sees_the_future_fails_by_name(prices: pd.DataFrame, leak: str) -> None:
    def leaking(prices: pd.DataFrame) -> pd.DataFrame:
        built = build_features(prices)
        close = prices["close"]
        if leak == "tomorrow":
            column = built["rsi_14"].shift(-1).fillna(50.0)
        elif leak == "whole-sample z-score":
            column = (built["rsi_14"] - built["rsi_14"].mean()) / built["rsi_14"].std()
        else:
            friday = close.groupby(close.index.to_period("W")).transform("last")
            column = friday / close
        return built.assign(rsi_14=column)

    found = checks.features_ignore_the_future(prices, leaking(prices), leaking)
    assert not found["passed"]
    assert found["found"].startswith("rsi_14")
    assert "dema_9" not in found["found"]


def test_a_stale_feature_table_fails(prices: pd.DataFrame) -> None:
    table = build_features(prices).copy()
    table.iloc[:, 4] += 1e-9
    assert not checks.features_ignore_the_future(prices, table, build_features)["passed"]


DIRECTIONS = ("up", "down", "either")
Closes = npt.NDArray[np.float64]


def moves(prices: pd.DataFrame, horizon: int, rise: str, fall: str) -> tuple[Closes, Closes]:
    """Largest and smallest price of the next days, relative to each day's close, [days]."""
    days = len(prices) - horizon
    close = prices["close"].to_numpy()[:days]
    ahead = [prices.iloc[k : k + days] for k in range(1, horizon + 1)]
    highest = np.max([rows[rise].to_numpy() for rows in ahead], axis=0)
    lowest = np.min([rows[fall].to_numpy() for rows in ahead], axis=0)
    return highest / close, lowest / close


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mistake", ["none", "inverted", "last day left out", "highs and lows"])
def test_labels_of_each_direction_pass_and_each_planted_mistake_fails(
    prices: pd.DataFrame, direction: str, mistake: str
) -> None:
    task = dataclasses.replace(TASK, direction=direction)
    horizon = task.horizon - 1 if mistake == "last day left out" else task.horizon
    columns = ("high", "low") if mistake == "highs and lows" else ("close", "close")
    highest, lowest = moves(prices, horizon, *columns)
    up, down = highest >= 1 + task.threshold, lowest <= 1 - task.threshold
    if mistake == "inverted":
        up, down = highest <= 1 + task.threshold, lowest >= 1 - task.threshold
    labels = {"up": up, "down": down, "either": up | down}[direction].astype(np.int8)
    labels = labels[: len(prices) - task.horizon]
    found = checks.labels_from_raw_closes(prices["close"].to_numpy(), labels, task)
    assert found["passed"] is (mistake == "none")
    assert found["allowed"].endswith(task.question())


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("asked", DIRECTIONS)
def test_labels_of_another_direction_fail(prices: pd.DataFrame, direction: str, asked: str) -> None:
    close = prices["close"].to_numpy()
    labels = threshold_labels(close, TASK.threshold, TASK.horizon, direction)
    found = checks.labels_from_raw_closes(close, labels, dataclasses.replace(TASK, direction=asked))
    assert found["passed"] is (direction == asked)


def test_labels_from_scaled_closes_fail(prices: pd.DataFrame) -> None:
    close = prices["close"].to_numpy()
    scaled = (close - close.mean()) / close.std() + 10  # positive, so that nothing else refuses
    labels = threshold_labels(scaled, TASK.threshold, TASK.horizon)
    assert not checks.labels_from_raw_closes(close, labels, TASK)["passed"]


def test_labels_of_another_horizon_fail(prices: pd.DataFrame) -> None:
    close = prices["close"].to_numpy()
    one_day = threshold_labels(close, TASK.threshold, 1)
    assert not checks.labels_from_raw_closes(close, one_day, TASK)["passed"]
    assert not checks.labels_from_raw_closes(close, one_day[:-2], TASK)["passed"]


def test_labels_of_highs_in_place_of_closes_fail(prices: pd.DataFrame) -> None:
    close, high = prices["close"].to_numpy(), prices["high"].to_numpy()
    days = len(close) - TASK.horizon
    highs = np.stack([high[k : k + days] for k in range(1, TASK.horizon + 1)]).max(axis=0)
    labels = (highs >= close[:days] * (1 + TASK.threshold)).astype(np.int8)
    assert not checks.labels_from_raw_closes(close, labels, TASK)["passed"]


@pytest.mark.parametrize(
    ("budget", "counted", "passed"),
    [("2m", 2_090_000, True), ("2m", 230_000, False), ("20m", 1_200_000, False)],
)
def test_a_size_far_from_its_label_fails(budget: str, counted: int, passed: bool) -> None:
    assert checks.counted_parameters(budget, counted)["passed"] is passed


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_second_sigmoid_breaks_parity(precision: str) -> None:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-rng.normal(-2, 1, 500)))
    y = (rng.random(500) < p).astype(int)
    recorded = float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert checks.train_evaluate_parity(recorded, y, p, precision)["passed"]
    twice = 1 / (1 + np.exp(-p))
    assert not checks.train_evaluate_parity(recorded, y, twice, precision)["passed"]


@pytest.mark.parametrize(
    ("skills", "passed"),
    [
        ([-0.02, -0.01, -0.03, -0.02, -0.015], True),
        ([0.001, -0.002, 0.002, -0.001, 0.0005], True),
        ([0.02, -0.01, 0.01, -0.02, 0.005], None),
        ([0.06, 0.05, 0.07, 0.055, 0.06], False),
    ],
    ids=["fitted noise", "hardly any", "luck both ways", "a leak"],
)
def test_skill_from_shuffled_labels_fails_unless_it_is_luck(
    skills: list[float], passed: bool | None
) -> None:
    found = checks.shuffled_labels_teach_nothing(*control_losses(skills))
    assert found["passed"] is passed
    assert found["found"].startswith("inconclusive: ") is (passed is None)


def test_a_control_passes_by_its_precision_and_not_by_its_noise() -> None:
    """The same mean skill of five permutations, on days that tell more or less."""
    quiet, noisy = (([0.0, 0.001, -0.001, 0.0005, -0.0005], noise) for noise in (0.01, 0.1))
    assert checks.shuffled_labels_teach_nothing(*control_losses(*quiet))["passed"] is True
    assert checks.shuffled_labels_teach_nothing(*control_losses(*noisy))["passed"] is None
    longer = control_losses(*noisy, days=40_000)
    assert checks.shuffled_labels_teach_nothing(*longer)["passed"] is True


def test_a_leak_is_no_less_a_leak_where_its_permutations_agree_to_the_last_digit() -> None:
    found = checks.shuffled_labels_teach_nothing(*control_losses([0.02] * 5, noise=0.05))
    assert found["passed"] is False
    assert "the answer leaks in somewhere" in found["meaning"]


ASKED = {"learning_rate": 0.001, "weight_decay": 0.01, "epochs": 5}


def trained_record(used: dict[str, float]) -> dict[str, Any]:
    made = planted(RunName(budget="2m", seed=42))
    settings = {**made.settings, "optimiser": {**made.settings["optimiser"], **ASKED}}
    return {
        "run": "2m",
        "identity": dataclasses.replace(made, settings=settings).as_json(),
        "used": used,
    }


@pytest.mark.parametrize(
    "used", [{"learning_rate": 0.0003}, {"weight_decay": 0.1}, {"epochs": 4}], ids=str
)
def test_a_setting_that_training_ignored_fails(used: dict[str, float]) -> None:
    assert checks.trained_as_asked(trained_record(ASKED))["passed"]
    assert not checks.trained_as_asked(trained_record(ASKED | used))["passed"]
