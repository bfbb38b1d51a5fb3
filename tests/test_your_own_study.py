"""A study of one's own, from CSV to evaluation: other prices, another question, another tier."""

from pathlib import Path

import pandas as pd
import pytest

from scaling.record import read_json
from tests.miniature import EXPERIMENT, REPOSITORY, make_miniature, run

# The files that the reader of docs/your-own.md writes.
TIER = '''\
"""Tier r4: returns of a day, a week and a month, and the volatility, from closes alone."""

import numpy as np
import pandas as pd
import talib

from scaling.data.indicators import Columns, log_volatility

FEATURE_NAMES = ("return_1", "return_5", "return_20", "log_volatility_20")
ROWS_DROPPED = 20  # the first days, in which some feature is not yet defined
NEEDS_VOLUME = False


def build(prices: pd.DataFrame, calendar: str) -> Columns:
    """The features by name, each with a value for every row of the prices."""
    close = prices["close"].to_numpy(np.float64)
    returns = {f"return_{days}": talib.ROCP(close, days) for days in (1, 5, 20)}
    return {**returns, "log_volatility_20": log_volatility(close)}
'''
FETCH = "python -m scaling.fetch COIN --source file coin.csv --no-volume --calendar every_day"
SPLITS = """\
  train: [1993-01-29, 1995-06-30]
  validation: [1995-07-01, 1996-02-28]
  test: [1996-03-01, 1996-10-31]
"""


def config(tier: str, task: str) -> str:
    """The miniature's experiment for COIN."""
    before, after = EXPERIMENT.split("  train:")
    text = f"{before}{SPLITS}  min_samples{after.split('  min_samples')[1]}"
    features = f"data/processed/v1/COIN_features_{tier}.parquet"
    data = f"data: {{prices: data/raw/COIN.parquet, features: {features}}}\n"
    return text.replace("{threshold: 0.01, horizon: 1}", task) + data


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with prices of every day, without volume, registered as they are."""
    directory = make_miniature(tmp_path_factory.mktemp("own"))
    prices = pd.read_parquet(REPOSITORY / "data/raw/SPY.parquet").iloc[:1400]
    days = pd.date_range("1993-01-29", periods=len(prices), name="date")
    prices.set_axis(days).drop(columns="volume").to_csv(directory / "coin.csv")
    assert "COIN_features_c14.parquet" in run(directory, *FETCH.split()).stdout
    return directory


def evaluated(place: Path, name: str, text: str) -> dict[str, dict[str, object]]:
    """The checks of a network that was trained for a config, by their names."""
    (place / f"configs/daily/{name}.yaml").write_text(text)
    run(place, "snakemake", "--quiet", "all", "--", f"results/daily/{name}/20k.eval.json")
    checks = read_json(place / f"results/daily/{name}/20k.eval.json")["checks"]
    return {check["name"]: check for check in checks}


@pytest.mark.slow
def test_a_coin_and_a_fall_need_no_more_than_a_csv_and_a_config(place: Path) -> None:
    task = "{threshold: 0.01, horizon: 2, direction: down}"
    checks = evaluated(place, "fall", config("c14", task))
    labels = checks["labels come from raw closes"]
    assert labels["passed"]
    assert "the close falls by 1 % or more within 2 days" in str(labels["allowed"])
    for name in ("features do not see the future", "models do not see the future"):
        assert checks[name]["passed"]


@pytest.mark.slow
def test_a_tier_of_ones_own_is_one_more_file_and_a_leak_in_it_is_found(place: Path) -> None:
    tier = place / "scaling/data/tiers/r4.py"
    tier.write_text(TIER)
    text = config("r4", "{threshold: 0.01, horizon: 1}")
    checks = evaluated(place, "own", text)
    assert checks["features do not see the future"]["passed"]
    assert len(read_json(place / "results/daily/own/20k.json")["feature_names"]) == 4
    tier.write_text(TIER.replace("ROCP(close", "ROCP(np.roll(close, -1)"))
    found = evaluated(place, "own", text)["features do not see the future"]
    assert not found["passed"]
    assert "return_1 " in str(found["found"])
