"""Fourteen currencies on the same days: a join that takes another's rows fits by every date."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scaling import check_data, prepare
from scaling.config import MarketsConfig, TrainingConfig, load_config
from scaling.data import dataset as datasets
from scaling.data.dataset import Study, load_study
from scaling.data.sources import CURRENCIES
from scaling.errors import UserError
from scaling.judging.checks import study_checks

ROOT = Path(__file__).parents[2]
CONFIG = "configs/daily/currencies_05pct.yaml"
ALL = ("train", "validation", "test")
FEW = ("USD", "JPY", "CHF")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed prices, and the features of all currencies as `prepare` builds them."""
    root = tmp_path_factory.mktemp("currencies")
    for folder in ("configs", "data"):
        ignored = shutil.ignore_patterns("processed")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in CURRENCIES:
            arguments = ["--prices", f"data/raw/{name}.parquet", "--manifest", "data/manifest.json"]
            prepare.main([*arguments, "--output", features_of(name)])
    return root


@pytest.fixture(autouse=True)
def here(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built)


@pytest.fixture
def swapped() -> Iterator[None]:
    """The mistake on disk: the features of USD, with their record, under the name of JPY."""
    files = [Path(features_of("JPY")).with_suffix(suffix) for suffix in (".parquet", ".json")]
    own = [file.read_bytes() for file in files]
    for file in files:
        shutil.copy(Path(features_of("USD")).with_suffix(file.suffix), file)
    yield
    for file, content in zip(files, own, strict=True):
        file.write_bytes(content)


def features_of(name: str) -> str:
    return f"data/processed/v1/{name}_features_c14.parquet"


def asked(assets: tuple[str, ...] = FEW) -> TrainingConfig:
    data = MarketsConfig(assets=assets, judged=assets, tier="c14")
    return dataclasses.replace(load_config(CONFIG), data=data)


def failed(study: Study, config: TrainingConfig) -> set[str]:
    return {item["name"] for item in study_checks(study, config) if item["passed"] is False}


def test_the_shipped_experiment_trains_and_judges_all_fourteen() -> None:
    config = load_config(CONFIG)
    assert [market.name for market in config.data.markets] == list(CURRENCIES)
    assert all(market.judged for market in config.data.markets)
    study = load_study(config, ALL)
    counts = {block: len(days) for block, days in study.samples.items()}
    assert counts == {"train": 50_106, "validation": 14_308, "test": 31_640}
    assert study.train_base_rate == pytest.approx(0.165, abs=5e-4)
    days = study.days("test")
    rises = {name: study.labels("test")[days["asset"] == name].sum() for name in CURRENCIES}
    assert (min(rises.values()), max(rises.values())) == (79, 544)


def test_windows_are_gathered_from_one_table_and_never_copied() -> None:
    study = load_study(load_config(CONFIG))
    features = study.dataset.features
    assert features.untyped_storage().nbytes() == len(study.dates) * 14 * 4
    windows = features.unfold(0, 64, 1)
    assert windows.untyped_storage().data_ptr() == features.untyped_storage().data_ptr()


def test_the_checks_of_three_currencies_hold() -> None:
    config = asked()
    assert failed(load_study(config, ALL), config) == set()


def test_features_of_one_currency_under_the_name_of_another_are_refused(
    swapped: None, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="JPY_features_c14.parquet: built from other prices"):
        check_data.main(["--config", CONFIG, "--output", str(tmp_path / "data.md5")])


@pytest.mark.parametrize(
    ("field", "caught"),
    [
        ("features", {"models do not see the future (JPY)"}),
        (
            "close",
            {"labels come from raw closes (JPY)", "closes and ranges are their day's (JPY)"},
        ),
    ],
)
def test_a_join_of_one_currency_with_the_rows_of_another_is_noticed(
    monkeypatch: pytest.MonkeyPatch, field: str, caught: set[str]
) -> None:
    """The mistake in the code: the rows of JPY take a column of USD, which has the same days."""
    config, real = asked(), datasets._rows_until

    def mixed(last: np.datetime64, market: Any, config: TrainingConfig) -> Any:
        rows = real(last, market, config)
        if market.name != "JPY":
            return rows
        other = real(last, config.data.markets[0], config)
        return rows._replace(**{field: getattr(other, field)})

    monkeypatch.setattr(datasets, "_rows_until", mixed)
    assert failed(load_study(config, ALL), config) == caught


@pytest.mark.parametrize(
    ("block", "days", "example"),
    [
        ("train", "test", "2018-01-02"),
        ("train", "validation", "2014-01-02"),
        ("validation", "test", "2018-01-02"),
        ("test", "train", "2000-01-06"),
    ],
)
def test_days_of_another_block_in_that_of_one_currency_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, block: str, days: str, example: str
) -> None:
    config, real = asked(), datasets._samples

    def mixed(rows: Any, config: TrainingConfig, blocks: Any) -> dict[str, Any]:
        found = real(rows, config, blocks)
        own = datasets._rows_of(["JPY"], rows.assets, found[days])
        return {**found, block: np.union1d(found[block], own)}

    monkeypatch.setattr(datasets, "_samples", mixed)
    with pytest.raises(UserError, match=f"splits.{block} of JPY: .*such as {example}"):
        load_study(config, ALL)


def test_an_answer_after_the_block_of_one_currency_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mistake: the last training day of CHF is not purged, so its answer is validation's."""
    config, real = asked(), datasets._samples

    def unpurged(rows: Any, config: TrainingConfig, blocks: Any) -> dict[str, Any]:
        found = real(rows, config, blocks)
        last = datasets._rows_of(["CHF"], rows.assets, found["train"])[-1]
        return {**found, "train": np.union1d(found["train"], [last + 1])}

    monkeypatch.setattr(datasets, "_samples", unpurged)
    with pytest.raises(UserError, match="splits.train of CHF: 1 samples .*2013-12-31"):
        load_study(config)


def test_the_same_currency_under_two_names_has_the_same_rows_twice() -> None:
    for folder, end in (("data/raw", ""), ("data/processed/v1", "_features_c14")):
        for file in Path(folder).glob(f"JPY{end}.*"):
            shutil.copy(file, file.with_name(file.name.replace("JPY", "YEN")))
    alone, both = (load_study(asked(names), ALL) for names in (("JPY",), ("JPY", "YEN")))
    assert both.train_base_rate == alone.train_base_rate
    torch.testing.assert_close(both.normaliser.mean, alone.normaliser.mean)
    torch.testing.assert_close(both.normaliser.std, alone.normaliser.std, rtol=2e-4, atol=0)
    for name in ("JPY", "YEN"):
        own = both.of([name])
        for block in ALL:
            assert np.array_equal(own.days(block)["date"], alone.days(block)["date"])
            assert np.array_equal(own.labels(block), alone.labels(block))
