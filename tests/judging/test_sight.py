"""What a model is given holds nothing of the future: the tensors themselves, and end to end."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scaling.config import TrainingConfig
from scaling.data.dataset import Study, WindowDataset, load_study
from scaling.data.features import build_features
from scaling.data.prices import load_prices
from scaling.judging import baselines, checks
from scaling.record import write_parquet
from scaling.sizes import load_model_config
from scaling.training.model import build_model
from scaling.training.step import predict
from tests.conftest import random_prices
from tests.trained_study import EXPERIMENT

BLOCKS = ("train", "validation", "test")


def written(folder: Path, prices: pd.DataFrame) -> TrainingConfig:
    """A study of these prices, its features built and written as the workflow does."""
    paths = {"prices": folder / "XYZ.parquet", "features": folder / "XYZ_features_a20.parquet"}
    write_parquet(paths["prices"], prices)
    write_parquet(paths["features"], build_features(prices))
    return TrainingConfig(**EXPERIMENT | {"task": {"threshold": 0.01, "horizon": 2}, "data": paths})


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    return written(tmp_path, random_prices(rows=1100))


def sees_no_future(study: Study, config: TrainingConfig) -> checks.Check:
    return checks.windows_ignore_the_future(study, load_prices(config.data.prices), build_features)


def test_the_windows_of_a_sound_study_hold_nothing_of_the_future(config: TrainingConfig) -> None:
    assert sees_no_future(load_study(config, BLOCKS), config)["passed"]


def test_features_shifted_by_a_day_after_loading_are_noticed(config: TrainingConfig) -> None:
    study = load_study(config, BLOCKS)
    shifted = study.dataset.to(torch.device("cpu"))
    shifted.features = torch.roll(shifted.features, -1, dims=0)
    found = sees_no_future(dataclasses.replace(study, dataset=shifted), config)
    assert not found["passed"] and "rsi_14" in found["found"]


def test_one_feature_that_knows_tomorrow_is_named(config: TrainingConfig) -> None:
    study = load_study(config, BLOCKS)
    leaking = study.dataset.to(torch.device("cpu"))
    leaking.features = leaking.features.clone()
    column = study.feature_names.index("adx_14")
    leaking.features[:, column] = torch.roll(leaking.features[:, column], -1)
    found = sees_no_future(dataclasses.replace(study, dataset=leaking), config)
    assert not found["passed"] and found["found"].endswith("in adx_14")


def test_a_window_that_ends_a_day_late_is_noticed(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = WindowDataset.batch

    def late(dataset: WindowDataset, days: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tomorrow = (days + 1).clamp(max=len(dataset.labels) - 1)
        return real(dataset, tomorrow)[0], real(dataset, days)[1]

    study = load_study(config, BLOCKS)
    monkeypatch.setattr(WindowDataset, "batch", late)
    assert not sees_no_future(study, config)["passed"]


def test_spoiled_prices_after_a_day_change_no_forecast_of_that_day(
    config: TrainingConfig, tmp_path: Path, few_trees: None
) -> None:
    """End to end, for a network and for every baseline: the past decides, to the last bit."""
    prices = load_prices(config.data.prices)
    study = load_study(config, BLOCKS)
    day = study.samples["test"][60]
    spoiled = prices.copy()
    future = spoiled.index > pd.Timestamp(study.dates[day])
    noise = np.exp(np.random.default_rng(0).normal(0, 0.2, future.sum()))
    for name in ("open", "high", "low", "close"):
        spoiled.loc[future, name] *= noise
    (tmp_path / "spoiled").mkdir()
    other = load_study(written(tmp_path / "spoiled", spoiled), BLOCKS)

    torch.manual_seed(0)
    model = build_model(load_model_config("200k"), config.window, len(study.feature_names))
    forecasts, rivals = [], []
    for one in (study, other):
        until = one.samples["test"][one.samples["test"] <= day]
        forecasts.append(predict(model, one.dataset, until, torch.device("cpu"), "fp32"))
        fitted, _ = baselines.fit_baselines(one, config.task)
        rivals.append({name: baseline.predict(one, until) for name, baseline in fitted.items()})
    assert np.array_equal(*forecasts)
    assert all(np.array_equal(rivals[0][name], rivals[1][name]) for name in rivals[0])
    after = study.samples["test"][study.samples["test"] > day]
    late = [predict(model, s.dataset, after, torch.device("cpu"), "fp32") for s in (study, other)]
    assert not np.array_equal(*late), "the future was not spoiled, so the test sees nothing"
