"""The workflow on a study of two markets, from prices to the report: real runs."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import MakeOnce
from tests.miniature import EXPERIMENT, REPOSITORY, make_miniature, run, run_here
from tests.workflow.test_workflow import jobs, made, planned, refused, replace, trainings

CONFIG = Path("configs/daily/markets.yaml")
REPORT = "results/daily/markets/report.html"
TARGET = "results/daily/markets/20k.ckpt"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reported(make_once: MakeOnce) -> Path:
    """A miniature in which SPY and the S&P 500 train one network, and both are judged."""

    def make(root: Path) -> None:
        make_miniature(root)
        prices = pd.read_parquet(REPOSITORY / "data/raw/SP500.parquet")
        prices.loc["1993-01-29":"1998-08-14"].to_csv(root / "index.csv")
        run_here(root, "fetch", "SP500", "--source", "file", "index.csv")
        data = "data: {assets: [SPY, SP500], judged: [SPY, SP500]}\n"
        (root / CONFIG).write_text(EXPERIMENT + data)
        grid = "experiments: [daily/markets]\nbudgets: [6k, 20k]\nseeds: [42]\n"
        (root / "configs/full.yaml").write_text(grid)
        run(root, "snakemake", REPORT)

    return make_once("workflow-of-markets", make)


@pytest.fixture
def study(reported: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will; file times stay."""
    return Path(shutil.copytree(reported, tmp_path / "study"))


def test_two_markets_go_from_prices_to_the_report_and_another_run_does_nothing(
    reported: Path,
) -> None:
    page = (reported / REPORT).read_text()
    assert "(SP500)" in page and "CHECKS FAILED" not in page
    assert "these 2 markets are worth" in page and "logistic regression per market" in page
    assert planned(reported, REPORT) == set()


def test_touched_prices_of_the_second_market_train_nothing(study: Path) -> None:
    os.utime(study / "data/raw/SP500.parquet")
    assert trainings(planned(study, TARGET)) == set()
    assert trainings(made(study, TARGET)) == set()


def test_a_market_that_is_no_longer_judged_trains_and_judges_again(study: Path) -> None:
    replace(study / CONFIG, "judged: [SPY, SP500]", "judged: [SPY]")
    listed = planned(study, REPORT)
    assert len(trainings(listed)) == 2
    assert any(job.startswith("baselines ") for job in listed)


def test_altered_prices_of_the_second_market_stop_everything(study: Path) -> None:
    path = study / "data/raw/SP500.parquet"
    prices = pd.read_parquet(path)
    prices.loc[prices.index[700], "volume"] += 1
    prices.to_parquet(path)
    assert trainings(jobs(refused(study, TARGET))) == set()
    logs = "".join(log.read_text() for log in (study / "logs").rglob("*.log"))
    assert "data/raw/SP500.parquet: MD5 is" in logs
