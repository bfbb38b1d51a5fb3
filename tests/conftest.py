"""Small data that several test files share."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.tseries.holiday import GoodFriday


def random_prices(rows: int = 700, seed: int = 0) -> pd.DataFrame:
    """A plausible random walk as daily OHLCV in cents; some Fridays are holidays."""
    random = np.random.default_rng(seed)
    days = pd.bdate_range("2000-01-03", periods=rows + rows // 10, name="date", unit="us")
    closed = days.isin(GoodFriday.dates(days[0], days[-1]))
    days = days[~closed & ~((days.month == 12) & (days.day == 25))][: rows + rows // 20]
    days = days.delete(random.choice(len(days), rows // 20, replace=False))
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.012, rows)))
    open_ = close * np.exp(random.normal(0, 0.004, rows))
    spread = np.abs(random.normal(0, 0.006, rows))
    return pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * (1 + spread),
            "low": np.minimum(open_, close) * (1 - spread),
            "close": close,
            "volume": random.integers(10**6, 10**8, rows),
        },
        index=days,
    ).round(2)


@pytest.fixture
def prices() -> pd.DataFrame:
    """700 days of random prices."""
    return random_prices()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study of tests/trained_study.py, which no test may change."""
    from tests.trained_study import make_study

    root = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(root):
        make_study()
    return root


@pytest.fixture
def study(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small study as working directory."""
    copy = shutil.copytree(trained, tmp_path / "study")
    monkeypatch.chdir(copy)
    return copy
