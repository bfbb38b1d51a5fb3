"""docs/your-own-study.md, and a study of own prices in docs/data.md, are typed to their reports."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scaling.record import read_json
from tests.conftest import MakeOnce
from tests.miniature import EXPERIMENT, REPOSITORY, run
from tests.reader import LADDER, Reader, lay_out
from tests.trained_study import checks_of
from tests.training.test_families import SHAPE_FILE

PAGE = "your-own-study"
TIER = "scaling/data/tiers/r4.py"
PRICES = pd.read_parquet(REPOSITORY / "data/raw/SPY.parquet")
LEAK = "features do not see the future"
FAILED = f"<strong>{LEAK}</strong>"  # in the box of failed checks above the verdict
# A ladder takes a minute on an idle machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(lay_out(tmp_path), PAGE)


@pytest.fixture(scope="module")
def asked(make_once: MakeOnce) -> Reader:
    """A reader who followed the page to the report of an own question with own features."""

    def make(place: Path) -> None:
        reader = Reader(lay_out(place), PAGE)
        (place / TIER).write_text(reader.python("Your own features"))
        reader.write_config("Your own question", "Your own features")
        for section in ("Your own question", "Your own features"):
            reader.commands(section)

    return Reader(make_once("asked", make), PAGE)


def checks(reader: Reader) -> dict[str, Any]:
    """What the evaluation of the larger network found."""
    return checks_of(read_json(reader.place / "results/daily/mine/20k.eval.json"))


def record(reader: Reader) -> dict[str, Any]:
    return dict(read_json(reader.place / "results/daily/mine/20k.json"))


def test_a_question_of_ones_own_ends_in_a_report_that_asks_it(asked: Reader) -> None:
    question = "the close falls by 1 % or more within 2 days"
    assert question in asked.report()
    labels = checks(asked)["labels come from raw closes"]
    assert labels["passed"]
    assert question in labels["allowed"]


def test_a_tier_of_ones_own_ends_in_a_report_and_a_leak_in_it_is_found(
    asked: Reader, tmp_path: Path
) -> None:
    assert len(record(asked)["feature_names"]) == 4
    assert checks(asked)[LEAK]["passed"]
    assert FAILED not in asked.report()
    leaky = Reader(Path(shutil.copytree(asked.place, tmp_path / "leaky")), PAGE)
    source = (leaky.place / TIER).read_text()
    (leaky.place / TIER).write_text(source.replace("ROCP(close", "ROCP(np.roll(close, -1)"))
    leaky.enter("snakemake", "results/daily/mine/20k.eval.json")
    assert not checks(leaky)[LEAK]["passed"]
    assert "return_1 " in checks(leaky)[LEAK]["found"]


def test_a_table_made_elsewhere_ends_in_a_report_that_says_what_was_not_checked(
    reader: Reader,
) -> None:
    section = "Features that were made elsewhere"
    reader.program(section)
    reader.write_config(section)
    reader.commands(section)
    assert record(reader)["feature_names"] == ["change", "month", "weekday"]
    assert checks(reader)[LEAK]["passed"] is None
    assert f"Could not be checked: {LEAK}." in reader.report()
    assert FAILED not in reader.report()
    again = run(reader.place, "snakemake", "--dry-run", "results/daily/mine/20k.eval.json")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_coin_without_volume_that_trades_on_weekends_ends_in_a_report(reader: Reader) -> None:
    days = pd.date_range("2017-06-01", "2024-12-31", name="date")
    coin = PRICES.iloc[: len(days)].set_axis(days).drop(columns="volume")
    coin.to_csv(reader.place / "coin.csv")
    section = "Prices without volume"
    reader.write_config(section)
    reader.commands(section)
    assert len(record(reader)["feature_names"]) == 14
    assert checks(reader)[LEAK]["passed"]
    assert "2023-01-01 to 2024-12-31" in reader.report()


def test_a_second_family_ends_in_a_report_and_in_one_figure_with_the_first(
    ladder: Path, tmp_path: Path
) -> None:
    reader = Reader(Path(shutil.copytree(ladder, tmp_path / "study")), PAGE)
    configs, name = reader.place / "configs", "threshold_1pct_patchtsmixer"
    (configs / f"daily/{name}.yaml").write_text(f"family: patchtsmixer\n{EXPERIMENT}")
    (configs / "mixer_laptop.yaml").write_text(LADDER.format(name))
    for budget, d_model in (("6k", 22), ("20k", 42)):
        path = configs / f"model/patchtsmixer_{budget}.yaml"
        path.write_text(SHAPE_FILE.format(d_model=d_model))
    reader.commands("Your own network")
    assert "patchtsmixer" in reader.report(f"daily/{name}")
    assert "<svg" in (reader.place / "ladders.svg").read_text()


def test_prices_of_ones_own_end_in_a_report(tmp_path: Path) -> None:
    reader = Reader(lay_out(tmp_path), "data")
    PRICES.loc["2011":].to_csv(tmp_path / "prices.csv")  # these years need no --allow
    # The reader registers the prices before the config can name them.
    reader.write_config("Your own prices")
    reader.commands("Your own prices")
    assert "2018-01-01 to 2020-03-06" in reader.report()
    assert record(reader)["identity"]["prices"] in reader.report()
