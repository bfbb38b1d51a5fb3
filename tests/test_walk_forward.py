"""Folds follow from the data, each trained before its own test block, and each run has a fold."""

import dataclasses
import json
import re
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaling import identities
from scaling.config import TrainingConfig, load_config
from scaling.errors import UserError
from scaling.grid import load_grid
from scaling.reading import read_yaml
from scaling.registry import days_of
from scaling.run import ALL_DAYS, BASELINES, RunName
from scaling.sizes import load_model_config
from scaling.splits import SplitConfig, WalkForward

WALK = Path("configs/daily/sp500_walk.yaml")
PLAIN = Path("configs/daily/sp500_1pct.yaml")
YEARS: dict[str, Any] = {
    "first_test": 1996,
    "test_years": 2,
    "validation_years": 1,
    "train_years": 10,
}


@pytest.fixture
def walk() -> TrainingConfig:
    return load_config(WALK)


def years(**others: Any) -> WalkForward:
    return WalkForward(**YEARS | others)


def extended(tmp_path: Path, content: dict[str, Any], base: str = "daily/sp500_1pct.yaml") -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump({"extends": base, **content}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the folds -------------------------------------------------------------------------------


def test_a_fold_is_trained_then_validated_then_tested_in_whole_years() -> None:
    assert years().splits(1996) == SplitConfig(
        train=(date(1985, 1, 1), date(1994, 12, 31)),
        validation=(date(1995, 1, 1), date(1995, 12, 31)),
        test=(date(1996, 1, 1), date(1997, 12, 31)),
    )


def test_a_window_that_expands_begins_before_all_data_and_ends_where_the_other_one_does() -> None:
    rolling, expanding = (years(train_years=n).splits(2006) for n in (10, "all"))
    assert expanding.train[0] < date(1896, 5, 26), "the Dow Jones is older"
    assert dataclasses.replace(expanding, train=rolling.train) == rolling
    assert expanding.train[1] == rolling.train[1]


@pytest.mark.parametrize("test_years", [1, 2, 3])
@pytest.mark.parametrize("train_years", [10, "all"])
def test_the_test_blocks_cover_every_day_once_and_no_fold_has_one_in_another_block(
    test_years: int, train_years: Any
) -> None:
    walk = years(train_years=train_years, test_years=test_years)
    folds = [walk.splits(origin) for origin in walk.origins(date(2013, 12, 31))]
    assert folds[0].test[0] == date(1996, 1, 1) and folds[-1].test[1] >= date(2013, 12, 31)
    for fold, after in pairwise(folds):
        assert (after.test[0] - fold.test[1]).days == 1
    for fold in folds:
        assert fold.train[1] < fold.validation[0] <= fold.validation[1] < fold.test[0]


@pytest.mark.parametrize(
    ("last", "newest"),
    [
        ("1996-12-24", None),  # the first test year is not over
        ("1996-12-27", 1996),
        ("1998-06-30", 1996),
        ("1998-12-31", 1998),  # half of the block: its other year follows
        ("1999-12-31", 1998),
        ("2024-06-26", 2022),
        ("2024-12-31", 2024),
    ],
)
def test_the_newest_fold_has_its_whole_first_test_year(last: str, newest: int | None) -> None:
    origins = years().origins(date.fromisoformat(last))
    assert origins == ([] if newest is None else list(range(1996, newest + 1, 2)))


def test_the_origins_follow_from_the_registered_prices(walk: TrainingConfig) -> None:
    (market,) = walk.data.markets
    assert days_of(market.prices, walk.data.manifest) == (date(1982, 4, 20), date(2024, 6, 26))
    assert identities.origins_of(walk) == list(range(1996, 2023, 2))
    assert identities.judged_block(walk) == (date(1996, 1, 1), date(2023, 12, 31))
    assert "2024 is no origin yet: the prices end on 2024-06-26" in str(identities.left_out(walk))


def registered_until(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    """The shipped manifest, with another last day of the S&P 500, in a copy of configs."""
    manifest = json.loads(Path("data/manifest.json").read_text())
    for entry in manifest["resources"]:
        if entry["path"] == "raw/SP500.parquet":
            entry["last_date"] = last
    for folder in ("configs", "data/raw"):
        (tmp_path / folder).parent.mkdir(exist_ok=True)
        (tmp_path / folder).symlink_to(Path(folder).resolve())
    (tmp_path / "data/manifest.json").write_text(json.dumps(manifest))
    monkeypatch.chdir(tmp_path)


def test_another_year_of_prices_adds_a_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered_until(tmp_path, monkeypatch, "2024-12-31")
    found = identities.origins_of(load_config(WALK))
    assert found == list(range(1996, 2025, 2))
    assert identities.left_out(load_config(WALK)) is None


@pytest.mark.parametrize(
    ("judged", "newest"),
    [({}, 2022), ({"data": {"judged": ["SP500", "NASDAQ"]}}, 2018)],
    ids=["S&P 500", "and the NASDAQ, which ends in 2018"],
)
def test_the_judged_market_that_ends_first_ends_the_walk(
    tmp_path: Path, judged: dict[str, Any], newest: int
) -> None:
    path = extended(tmp_path, {"walk_forward": YEARS, **judged}, "daily/markets_1pct.yaml")
    assert identities.origins_of(load_config(path))[-1] == newest


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"first_test": 1990}, "from 1979 on, but the prices begin on 1982-04-20; allowed: 1993"),
        ({"first_test": 2024}, "but the prices end on 2024-06-26; allowed: a year that they hold"),
    ],
)
def test_folds_outside_the_prices_are_refused(
    tmp_path: Path, change: dict[str, int], complaint: str
) -> None:
    path = extended(tmp_path, {"walk_forward": {**YEARS, **change}})
    with pytest.raises(UserError, match=re.escape(complaint)):
        identities.origins_of(load_config(path))


# --- the config ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"test_years": 0}, "walk_forward.test_years: got 0"),
        ({"validation_years": 0}, "walk_forward.validation_years: got 0"),
        ({"train_years": 0}, "walk_forward.train_years"),
        ({"train_years": "most"}, "walk_forward.train_years"),
        ({"first_test": "1996"}, "walk_forward.first_test: got '1996'"),
        ({"first_tests": 1996}, "first_tests: unknown key; did you mean `first_test`?"),
    ],
    ids=str,
)
def test_a_walk_that_means_nothing_is_refused_by_its_key(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    path = extended(tmp_path, {"walk_forward": {**YEARS, **change}})
    assert complaint in refusal(path)
    assert "splits" not in refusal(path)


def test_splits_beside_a_walk_are_refused(tmp_path: Path) -> None:
    both = {"walk_forward": YEARS, "splits": {"min_samples": 100}}
    assert "splits: given beside walk_forward; allowed: one of them" in refusal(
        extended(tmp_path, both)
    )


def test_an_experiment_with_neither_is_refused(tmp_path: Path) -> None:
    neither = read_yaml("configs/daily/threshold_1pct.yaml")
    del neither["splits"]
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(neither))
    assert "splits: required, and not given; allowed: splits, or walk_forward" in refusal(path)


def test_a_walk_takes_the_place_of_inherited_splits_and_splits_that_of_an_inherited_walk(
    tmp_path: Path,
) -> None:
    assert load_config(WALK).walk_forward is not None
    splits = read_yaml("configs/daily/threshold_1pct.yaml")["splits"]
    plain = load_config(extended(tmp_path, {"splits": splits}, "daily/sp500_walk.yaml"))
    assert plain.walk_forward is None
    assert plain.splits == load_config("configs/daily/threshold_1pct.yaml").splits


def test_a_fold_asks_for_as_many_samples_as_the_walk_says(tmp_path: Path) -> None:
    few = {**YEARS, "min_samples": 100, "min_positives": 5}
    config = load_config(extended(tmp_path, {"walk_forward": few}))
    splits = identities.of_fold(config, 1998).splits
    assert (splits.min_samples, splits.min_positives) == (100, 5)
    assert years().min_samples == load_config(PLAIN).splits.min_samples


# --- the runs --------------------------------------------------------------------------------


def test_a_fold_is_the_experiment_with_other_splits(walk: TrainingConfig) -> None:
    name = RunName(budget="2m", origin=2004, seed=43)
    fold = identities.with_name(walk, name)
    assert identities.name_of(fold) == name
    assert fold.walk_forward is not None
    assert fold.splits == fold.walk_forward.splits(2004)
    asked = identities.run_of(fold, load_model_config("2m"), "daily/sp500_walk")
    plain = dataclasses.replace(load_config(PLAIN), splits=fold.splits, seed=43)
    there = identities.run_of(plain, load_model_config("2m"), "daily/sp500_walk")
    assert [d.key for d in asked.difference(there)] == ["origin"]


def test_the_baselines_of_a_fold_are_named_by_it(walk: TrainingConfig) -> None:
    fold = identities.with_name(walk, RunName(budget=BASELINES, origin=2004, seed=42))
    made = identities.baselines_run(fold, "daily/sp500_walk")
    assert made.name.written(own_seed=0) == "baselines.from2004"
    assert made.settings["splits"]["test"] == ["2004-01-01", "2005-12-31"]


def test_every_run_of_a_walk_has_an_origin_that_is_one(walk: TrainingConfig) -> None:
    for origin in (None, 1997, 2024):
        with pytest.raises(UserError) as caught:
            identities.with_name(walk, RunName(budget="2m", origin=origin, seed=42))
        found = "no origin" if origin is None else f"from{origin}"
        assert str(caught.value).startswith(f"{found}: the experiment walks forward")
        assert "allowed: from1996, from1998" in str(caught.value)
        assert "2m.from2022.ckpt or --origin 2022 (2024 is no origin yet" in str(caught.value)


def test_a_plain_experiment_has_no_origin() -> None:
    with pytest.raises(UserError, match="from1996: the experiment does not walk forward; allowed"):
        identities.config_of(PLAIN, RunName(budget="2m", origin=1996, seed=42))
    with pytest.raises(UserError, match="from1996: the experiment does not walk forward"):
        identities.load_run(PLAIN, days=ALL_DAYS, markets=None, origin=1996)


def test_a_walk_is_no_run_before_it_has_an_origin(walk: TrainingConfig) -> None:
    with pytest.raises(UserError, match="no origin: the experiment walks forward"):
        identities.run_of(walk, load_model_config("2m"), "daily/sp500_walk")
    with pytest.raises(UserError, match="no origin: the experiment walks forward"):
        identities.baselines_run(walk, "daily/sp500_walk")
    assert identities.newest_of(walk).origin == 2022


def test_the_grid_has_every_size_and_seed_of_every_fold_and_one_of_a_plain_experiment() -> None:
    grid = load_grid(read_yaml("configs/walk.yaml"))
    names = [run.written(own_seed=42) for run in grid.runs_of(load_config(WALK))]
    assert len(names) == len(set(names)) == 14 * len(grid.budgets) * len(grid.seeds)
    assert [names[0], names[len(grid.seeds)]] == ["200k.from1996", "200k.from1998"]
    assert len(grid.runs_of(load_config(PLAIN))) == len(grid.budgets) * len(grid.seeds)


def test_a_grid_with_a_walk_outside_its_prices_is_refused_with_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered_until(tmp_path, monkeypatch, "1990-12-31")
    with pytest.raises(UserError, match="configs/daily/sp500_walk.yaml: walk_forward.first_test"):
        load_grid(read_yaml("configs/walk.yaml"))


def test_each_fold_draws_random_numbers_of_its_own_and_a_plain_experiment_those_of_its_seed() -> (
    None
):
    walk = load_config("configs/daily/sp500_walk.yaml", "200k")
    drawn = [
        identities.of_fold(dataclasses.replace(walk, seed=seed), year).random_seed
        for seed in (42, 43)
        for year in (1996, 1998)
    ]
    assert len({*drawn}) == 4
    assert load_config("configs/daily/threshold_1pct.yaml", "200k", 43).random_seed == 43
