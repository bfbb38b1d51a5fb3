"""Several markets: one network's windows, each market's own calendar, and no row of another."""

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from scaling.config import TrainingConfig
from scaling.data import dataset as datasets
from scaling.data.dataset import Study, load_study, split_samples, threshold_labels
from scaling.data.features import build_features, load_features
from scaling.data.manifest import register
from scaling.data.prices import load_prices
from scaling.errors import UserError
from scaling.identities import run_of
from scaling.judging import checks
from scaling.record import write_parquet
from scaling.run import TrainingDays
from scaling.shuffled_control import with_shuffled_labels
from scaling.sizes import PatchTSTShape
from scaling.training.trainer import refuse_test_rows
from tests.conftest import random_prices

ALL = ("train", "validation", "test")
BOTH = ("ABC", "XYZ")


def add_market(name: str, prices: pd.DataFrame) -> None:
    """Register prices under a name and build their features, as `fetch` and `prepare` do."""
    path = Path(f"data/raw/{name}.parquet")
    write_parquet(path, prices)
    ends = {"first_date": str(prices.index[0])[:10], "last_date": str(prices.index[-1])[:10]}
    register(path, "data/manifest.json", rows=len(prices), origin="random", **ends)
    write_parquet(Path(f"data/processed/v1/{name}_features_a20.parquet"), build_features(prices))


def asked(assets: tuple[str, ...] = BOTH, judged: tuple[str, ...] = ("ABC",)) -> TrainingConfig:
    return TrainingConfig(
        task={"threshold": 0.01, "horizon": 2},  # type: ignore[arg-type]
        window={"context_length": 16, "patch_length": 8, "warmup": 15},  # type: ignore[arg-type]
        splits={  # type: ignore[arg-type]
            "train": (date(2000, 1, 3), date(2002, 12, 31)),
            "validation": (date(2003, 1, 1), date(2003, 12, 31)),
            "test": (date(2004, 1, 1), date(2004, 12, 31)),
            "min_samples": 100,
        },
        optimiser={  # type: ignore[arg-type]
            "batch_size": 32,
            "epochs": 1,
            "learning_rate": 0.001,
            "weight_decay": 0.01,
            "warmup_fraction": 0.1,
            "gradient_clip": 1.0,
        },
        data={"assets": assets, "judged": judged},  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def two_markets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two random markets, each closed on some days when the other one is open."""
    monkeypatch.chdir(tmp_path)
    add_market("ABC", random_prices(rows=1300, seed=0))
    add_market("XYZ", random_prices(rows=1300, seed=1))


def prices_of(name: str) -> pd.DataFrame:
    return load_prices(f"data/raw/{name}.parquet")


@pytest.mark.parametrize("judged", [("ABC",), ("XYZ",), BOTH])
def test_every_window_and_every_label_is_of_one_market_alone(judged: tuple[str, ...]) -> None:
    study = load_study(asked(judged=judged), ALL)
    for name in BOTH:
        table = load_features(f"data/processed/v1/{name}_features_a20.parquet")
        known = study.normaliser(torch.from_numpy(table.to_numpy(np.float32, copy=True)))
        labels = threshold_labels(prices_of(name)["close"].loc[table.index[0] :], 0.01, 2)
        own = study.of([name])
        for block in ALL:
            days = own.samples[block]
            assert (len(days) > 0) == (block == "train" or name in judged)
            places = table.index.get_indexer(pd.DatetimeIndex(study.dates[days]))
            windows, targets = study.dataset.batch(torch.from_numpy(days))
            for window, place in zip(windows, places, strict=True):
                assert torch.equal(window, known[place - 15 : place + 1])
            assert (own.labels(block) == labels[places]).all()
            assert (targets[:, 0].numpy() == labels[places]).all()


def test_each_market_is_split_and_purged_by_its_own_calendar() -> None:
    """ABC is closed on the last three weekdays of the training block; XYZ is open."""
    prices = prices_of("ABC")
    add_market("ABC", prices.drop(prices.loc["2002-12-27":"2002-12-31"].index))
    study = load_study(asked(judged=BOTH), ALL)
    for name in BOTH:
        days = prices_of(name).index[199:].to_numpy().astype("datetime64[D]")
        alone = split_samples(days, asked().splits, warmup=15, horizon=2)
        for block in ALL:
            found = study.of([name]).days(block)
            assert (found["date"].astype("datetime64[D]") == days[alone[block]]).all()
            assert set(found["asset"]) == {name}


def test_rows_between_two_markets_are_no_items_and_have_no_label() -> None:
    study = load_study(asked(), ALL)
    end = study.assets["ABC"].stop
    gap = set(range(end - 2, end + 15))
    assert not gap & set(study.dataset.items.tolist())
    assert study.dataset.labels[end - 2 : end].isnan().all()
    assert set(np.concatenate(list(study.samples.values()))) <= set(study.dataset.items.tolist())
    first_of_second = len(study.dataset) - (len(study.dates) - 2 - end - 15)
    window, _ = study.dataset[first_of_second]
    assert torch.equal(window, study.dataset.features[end : end + 16])


def test_a_window_that_spans_two_markets_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake: the second market's first rows count as days with a whole window behind them."""
    config, real = asked(), datasets._samples

    def without_warmup(rows, config, blocks):  # type: ignore[no-untyped-def]
        start = rows.assets["XYZ"].start
        found = real(rows, config, blocks)
        return {**found, "train": np.union1d(found["train"], np.arange(start, start + 15))}

    assert all(item["passed"] for item in sight(load_study(config, ALL), config))
    monkeypatch.setattr(datasets, "_samples", without_warmup)
    failed = [item["name"] for item in sight(load_study(config, ALL), config) if not item["passed"]]
    assert failed == ["models do not see the future (XYZ)"]


def sight(study: Study, config: TrainingConfig) -> list[checks.Check]:
    found = checks.study_checks(study, config)
    assert len({item["name"] for item in found}) == len(found)
    return [item for item in found if "models do not see the future" in item["name"]]


def test_labels_of_the_other_market_are_noticed() -> None:
    config = asked(judged=BOTH)
    study = load_study(config, ALL)
    planted = study.dataset.to(torch.device("cpu"))
    planted.labels = planted.labels.clone()
    rows = study.assets["XYZ"]
    planted.labels[rows.start : rows.start + 500] = study.dataset.labels[:500]
    found = checks.study_checks(dataclasses.replace(study, dataset=planted), config)
    failed = {item["name"] for item in found if not item["passed"]}
    assert failed == {"labels come from raw closes (XYZ)"}


def test_training_holds_no_row_after_validation_and_of_other_markets_none_after_training() -> None:
    for blocks, last in ((ALL[:2], "2003-12-31"), (ALL, "2004-12-31")):
        study = load_study(asked(), blocks)
        assert study.dates[study.assets["ABC"]].max() <= np.datetime64(last)
        assert study.dates[study.assets["XYZ"]].max() <= np.datetime64("2002-12-31")
    refuse_test_rows(load_study(asked()))


@pytest.mark.parametrize("assets", [BOTH, BOTH[::-1]])
def test_test_rows_of_any_one_market_are_refused_by_training(assets: tuple[str, ...]) -> None:
    whole = load_study(asked(assets), ALL)
    leaking = {block: whole.samples[block] for block in ("train", "validation")}
    with pytest.raises(UserError, match="days after validation"):
        refuse_test_rows(dataclasses.replace(whole, samples=leaking))


def test_the_normaliser_is_of_the_training_rows_of_all_markets() -> None:
    study = load_study(asked())
    rows = [
        load_features(f"data/processed/v1/{name}_features_a20.parquet").loc[:"2002-12-31"]
        for name in BOTH
    ]
    everything = pd.concat(rows).to_numpy()
    np.testing.assert_allclose(study.normaliser.mean, everything.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(study.normaliser.std, everything.std(axis=0, ddof=1), rtol=1e-4)


def test_validation_and_base_rate_are_of_the_judged_market_alone() -> None:
    both, alone = load_study(asked(), ALL), load_study(asked(("ABC",)), ALL)
    assert both.train_base_rate == alone.train_base_rate
    for block in ("validation", "test"):
        assert np.array_equal(both.labels(block), alone.labels(block))
        assert set(both.days(block)["asset"]) == {"ABC"}
    assert len(both.samples["train"]) > 1.9 * len(alone.samples["train"])
    assert both.label_hash != alone.label_hash
    assert both.label_hash != load_study(asked(judged=BOTH)).label_hash


def test_one_market_by_its_name_is_the_study_of_its_two_files() -> None:
    named = asked(("ABC",))
    files = {
        "prices": "data/raw/ABC.parquet",
        "features": "data/processed/v1/ABC_features_a20.parquet",
    }
    one = load_study(named, ALL)
    other = load_study(dataclasses.replace(named, data=files), ALL)  # type: ignore[arg-type]
    assert torch.equal(one.dataset.features, other.dataset.features)
    assert torch.equal(one.dataset.labels, other.dataset.labels)
    assert one.label_hash == other.label_hash and one.days("test").keys() == {"date"}
    assert all(np.array_equal(one.samples[block], other.samples[block]) for block in ALL)


@pytest.mark.parametrize("draw", ["recent", "blocks"])
def test_a_number_of_training_days_counts_dates_and_not_rows(draw: str) -> None:
    config = dataclasses.replace(asked(), days=TrainingDays(300, draw))  # type: ignore[arg-type]
    whole, few = load_study(asked()), load_study(config)
    dates = np.unique(few.dates[few.samples["train"]])
    assert len(dates) == 300
    rows = whole.samples["train"]
    assert np.array_equal(few.samples["train"], rows[np.isin(whole.dates[rows], dates)])
    if draw == "recent":
        assert np.array_equal(dates, np.unique(whole.dates[rows])[-300:])
    assert few.train_base_rate == whole.train_base_rate
    refuse_test_rows(few)


def test_a_market_without_enough_days_in_a_block_is_named() -> None:
    add_market("XYZ", random_prices(rows=1300, seed=1).loc[:"2003-03-31"])
    load_study(asked(), ALL)
    with pytest.raises(UserError, match="splits.validation of XYZ: .*widen the block"):
        load_study(asked(judged=BOTH))


def test_what_is_judged_is_part_of_what_was_trained() -> None:
    shape = PatchTSTShape(d_model=8, layers=1, heads=2, ffn_dim=8, dropout=0.1)
    one, two = (run_of(asked(judged=judged), shape, "x") for judged in (("ABC",), BOTH))
    (found,) = one.difference(two)
    assert (found.key, found.there) == ("data.judged", ["ABC"])


def test_shuffled_labels_are_those_of_training_samples_and_no_others() -> None:
    study = load_study(asked())
    before, after = study.dataset.labels, with_shuffled_labels(study, seed=1).dataset.labels
    rows = study.samples["train"]
    assert after[rows].sum() == before[rows].sum() and not torch.equal(after[rows], before[rows])
    others = np.setdiff1d(np.arange(len(before)), rows)
    assert torch.equal(after[others].nan_to_num(-1), before[others].nan_to_num(-1))
