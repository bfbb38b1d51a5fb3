"""How the tests run side by side, and the small data that several test files share."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from pandas.tseries.holiday import GoodFriday

MOST_WORKERS = 4  # each holds torch, half a gigabyte
# Slurm and its ports, networks and features that only these files need.
TOGETHER = (
    "tests/data/test_currencies.py",
    "tests/machine/test_processes.py",
    "tests/test_commands_on_markets.py",
    "tests/test_your_own_study.py",
    "tests/workflow/test_cluster.py",
)
MakeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_configure() -> None:
    """One thread for each worker and each process that it starts: the workers use the cores."""
    os.environ["OMP_NUM_THREADS"] = "1"  # torch and OpenBLAS read it when they are loaded


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core; none for tests that are named, which start sooner in one process."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return 0 if named else min(os.cpu_count() or 1, MOST_WORKERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers begin with the slow tests, so that none is alone with one of them at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file that is TOGETHER run on one worker, which makes what they share."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return ByFile(config, log)


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
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines that are fitted soon, where it does not matter how well."""
    from scaling.judging import baselines

    monkeypatch.setattr(baselines, "TREES", 5)
    monkeypatch.setattr(baselines, "BOOSTING_ROUNDS", 10)
    monkeypatch.setattr(baselines, "LEAF_SIZES", (50,))


@pytest.fixture
def prices() -> pd.DataFrame:
    """700 days of random prices."""
    return random_prices()


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes a folder, unless another worker of this session has: all of them read the same one."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # of all workers' folders

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, unfinished = root / name, root / f"{name}.unfinished"
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)  # another worker's that failed
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def trained(make_once: MakeOnce) -> Path:
    """The small study of tests/trained_study.py, which no test may change."""

    def make(root: Path) -> None:
        from tests.trained_study import make_study

        with contextlib.chdir(root):
            make_study()

    return make_once("trained", make)


@pytest.fixture(scope="session")
def ladder(make_once: MakeOnce) -> Path:
    """The small ladder that a reader of the docs finds trained, which no test may change."""
    from tests.reader import lay_out_ladder

    return make_once("ladder", lay_out_ladder)


@pytest.fixture
def study(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small study as working directory."""
    copy = shutil.copytree(trained, tmp_path / "study")
    monkeypatch.chdir(copy)
    return copy
