"""The shipped prices and the shipped study, as several files of this folder read them."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from scaling.config import TrainingConfig, load_config
from scaling.data.features import build_features
from scaling.data.prices import load_prices
from scaling.record import write_parquet

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def spy() -> pd.DataFrame:
    """The committed prices of SPY, which no test may change."""
    return load_prices(ROOT / "data/raw/SPY.parquet")


@pytest.fixture(scope="session")
def spy_features(spy: pd.DataFrame) -> pd.DataFrame:
    """Their features of tier a20."""
    return build_features(spy)


@pytest.fixture(scope="session")
def shipped(spy_features: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """The shipped experiment, with these features."""
    features = tmp_path_factory.mktemp("features") / "SPY_features_a20.parquet"
    write_parquet(features, spy_features)
    config = load_config("configs/daily/threshold_1pct.yaml")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, features=features))
