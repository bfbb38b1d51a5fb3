"""A fold sees nothing of its test block and later: planted look-aheads are refused by name."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
import yaml

from scaling import check_data, identities
from scaling.config import TrainingConfig, load_config
from scaling.data import dataset
from scaling.data.dataset import Indices, Normaliser, Study, load_study
from scaling.data.features import verified_data
from scaling.errors import UserError
from scaling.judging.evaluation import refuse_other_normaliser
from scaling.record import file_md5
from scaling.splits import SplitConfig
from tests.conftest import random_prices
from tests.trained_study import (
    CONFIG,
    EXPERIMENT,
    MODEL,
    build_features,
    checks_of,
    evaluate_it,
    register_prices,
    train_it,
)

BLOCKS = ("train", "validation", "test")
ORIGINS = (2003, 2004)
PRICES = random_prices(rows=1400)  # 2000 to 2005, and features from the end of 2000 on
WALK = {
    "first_test": 2003,
    "test_years": 1,
    "validation_years": 1,
    "train_years": 1,
    "min_samples": 100,
}


def write_walk(**changes: object) -> Path:
    content = {key: value for key, value in EXPERIMENT.items() if key != "splits"}
    CONFIG.write_text(yaml.safe_dump({**content, "walk_forward": WALK} | changes))
    return CONFIG


def lay_out(prices: pd.DataFrame) -> None:
    """Prices, features and a walk of two folds, in the working directory."""
    for folder in ("daily", "model"):
        Path("configs", folder).mkdir(parents=True, exist_ok=True)
    Path("configs/model/patchtst_1k.yaml").write_text(yaml.safe_dump(MODEL))
    register_prices(prices)
    build_features()
    write_walk()


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingConfig:
    monkeypatch.chdir(tmp_path)
    lay_out(PRICES)
    return load_config(CONFIG)


def fold(walk: TrainingConfig, origin: int = ORIGINS[0]) -> TrainingConfig:
    return identities.of_fold(walk, origin)


Split = Callable[[npt.NDArray[np.datetime64], SplitConfig, int, int], dict[str, Indices]]


def plant(monkeypatch: pytest.MonkeyPatch, change: Callable[[Split], Split]) -> None:
    """Another way of splitting days into blocks."""
    monkeypatch.setattr(dataset, "split_samples", change(dataset.split_samples))


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_fold_that_is_trained_holds_no_row_of_its_test_block_and_no_answer_from_it(
    walk: TrainingConfig, origin: int
) -> None:
    study = load_study(fold(walk, origin))
    assert study.dates.max() < np.datetime64(f"{origin}-01-01")
    judged = load_study(fold(walk, origin), BLOCKS)
    years = {b: {str(d)[:4] for d in judged.dates[days]} for b, days in judged.samples.items()}
    assert years == {
        "train": {str(origin - 2)},
        "validation": {str(origin - 1)},
        "test": {str(origin)},
    }


def test_training_days_that_reach_into_the_test_block_are_refused(
    walk: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reaching(split: Split) -> Split:
        def changed(*arguments: object) -> dict[str, Indices]:
            found = split(*arguments)  # type: ignore[arg-type]
            return {**found, "train": np.concatenate([found["train"], found["test"][:7]])}

        return changed

    plant(monkeypatch, reaching)
    with pytest.raises(UserError, match=r"splits.train of SPY: 7 samples are of other days"):
        load_study(fold(walk), BLOCKS)


def test_labels_that_are_answered_across_the_boundary_are_refused(
    walk: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpurged(split: Split) -> Split:
        return lambda dates, splits, warmup, horizon: split(dates, splits, warmup, horizon=0)

    plant(monkeypatch, unpurged)
    with pytest.raises(UserError, match=r"splits.train of SPY: 1 samples .* or look at them"):
        load_study(fold(walk))


def test_a_normaliser_of_all_years_is_refused(walk: TrainingConfig) -> None:
    study, path = load_study(fold(walk), BLOCKS), Path("1k.from2003.ckpt")
    refuse_other_normaliser({"normaliser": dataclasses.asdict(study.normaliser)}, study, path)
    every = Normaliser.fit(torch.from_numpy(study.raw_features), study.feature_names)
    with pytest.raises(UserError, match="1k.from2003.ckpt: its normaliser is not that of the tra"):
        refuse_other_normaliser({"normaliser": dataclasses.asdict(every)}, study, path)


def same(one: Study, other: Study) -> bool:
    return (
        torch.equal(one.dataset.features, other.dataset.features)
        and torch.equal(one.dataset.labels, other.dataset.labels)
        and all(np.array_equal(one.samples[b], other.samples[b]) for b in one.samples)
        and (one.label_hash, one.train_base_rate) == (other.label_hash, other.train_base_rate)
    )


def test_no_price_from_the_test_block_on_changes_what_a_fold_is_trained_on(
    walk: TrainingConfig,
) -> None:
    before = {origin: load_study(fold(walk, origin)) for origin in ORIGINS}
    spoiled = PRICES.copy()
    spoiled.loc["2003":, ["open", "high", "low", "close"]] *= 1.25
    register_prices(spoiled)
    build_features()
    assert same(load_study(fold(walk, 2003)), before[2003])
    assert not same(load_study(fold(walk, 2004)), before[2004]), "nothing was spoiled"


def test_the_data_of_a_fold_are_the_rows_up_to_the_end_of_its_test_block(
    walk: TrainingConfig,
) -> None:
    def digests(prices: pd.DataFrame) -> dict[int, tuple[str, str]]:
        register_prices(prices)
        build_features()
        return {origin: verified_data(fold(walk, origin)) for origin in ORIGINS}

    whole = digests(PRICES)
    assert whole[2003] != whole[2004]
    assert digests(PRICES.loc[:"2004-12-31"]) == whole, "later days are no part of a fold"
    corrected = PRICES.copy()
    corrected.loc[PRICES.loc["2004-06"].index[0], "volume"] += 1
    changed = digests(corrected)
    assert changed[2003] == whole[2003]
    assert not set(changed[2004]) & set(whole[2004])
    config = dataclasses.replace(walk, origin=None)
    assert verified_data(config)[0] == file_md5("data/raw/SPY.parquet")


def test_a_fold_that_is_too_thin_is_refused_with_its_counts_before_any_is_trained(
    walk: TrainingConfig,
) -> None:
    check_data.refuse_thin_folds(walk)
    large_moves = load_config(write_walk(task={"threshold": 0.03, "horizon": 1}))
    with pytest.raises(UserError, match=r"from2003: splits\.\w+: \d+ samples, \d of them positive"):
        check_data.refuse_thin_folds(large_moves)


def test_a_fold_is_trained_and_judged_under_its_name_and_no_other_fold_takes_it(
    walk: TrainingConfig,
) -> None:
    path = Path("results/daily/tiny/1k.from2004.ckpt")
    train_it(str(path), "--origin", "2004")
    checked = checks_of(evaluate_it(str(path)))
    rows = pd.read_parquet("results/1k.predictions.parquet")
    assert set(rows["origin"]) == {2004}
    assert set(rows.loc[rows["split"] == "test", "date"].dt.year) == {2004}
    for name in ("models do not see the future", "training and evaluation agree"):
        assert checked[name]["passed"]
    renamed = path.with_name("1k.from2003.ckpt")
    renamed.write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="holds the run 1k.from2004, not 1k.from2003"):
        evaluate_it(str(renamed))
