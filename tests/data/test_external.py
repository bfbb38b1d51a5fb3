"""A feature table that was made elsewhere: what is taken in, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling import prepare
from scaling.config import DataConfig
from scaling.data.external import read_table
from scaling.data.features import check_dates, feature_days, feature_names, load_features
from scaling.data.manifest import register, registered_entry
from scaling.errors import UserError
from scaling.names import EXTERNAL, features_record, known_tiers, tier_named
from scaling.record import file_md5, write_parquet

PRICES, MANIFEST = Path("data/raw/XYZ.parquet"), Path("data/manifest.json")
OUTPUT = Path("data/raw/XYZ_features_external.parquet")
TABLE = Path("mine.parquet")


@pytest.fixture
def table(prices: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Two features of all price days but the first 33; the prices are registered."""
    monkeypatch.chdir(tmp_path)
    write_parquet(PRICES, prices)
    days = [str(day.date()) for day in prices.index]
    counts = {"rows": len(days), "first_date": days[0], "last_date": days[-1]}
    register(PRICES, MANIFEST, **counts, origin="a random walk")
    changes = prices["close"].pct_change()
    return pd.DataFrame({"change": changes, "mood": changes.rolling(33).mean()}).iloc[33:]


def take_in(table: pd.DataFrame, *options: str, output: Path = OUTPUT) -> None:
    table.to_parquet(TABLE)
    files = ["--prices", str(PRICES), "--manifest", str(MANIFEST), "--table", str(TABLE)]
    prepare.main([*files, "--output", str(output), *options])


def refusal(table: pd.DataFrame, *options: str) -> str:
    with pytest.raises(UserError) as caught:
        take_in(table, *options)
    assert "\n" not in str(caught.value)
    assert not OUTPUT.exists()
    return str(caught.value)


def test_a_table_is_registered_with_its_md5_its_columns_and_its_origin(
    table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    take_in(table, "--origin", "the mood of a newspaper")
    pd.testing.assert_frame_equal(load_features(OUTPUT), table, check_freq=False)
    entry = registered_entry(OUTPUT, MANIFEST)
    assert entry is not None
    assert entry["hash"] == f"md5:{file_md5(OUTPUT)}"
    assert [field["name"] for field in entry["schema"]["fields"]] == ["date", "change", "mood"]
    assert entry["sources"] == [{"title": "the mood of a newspaper"}]
    assert entry["first_date"] == str(table.index[0].date())
    assert registered_entry(PRICES, MANIFEST) is not None
    assert "whether they look ahead cannot be checked here" in capsys.readouterr().out


def test_a_table_that_is_registered_again_keeps_its_origin(table: pd.DataFrame) -> None:
    take_in(table, "--origin", "the mood of a newspaper")
    take_in(table.assign(mood=0.5), "--replace")
    entry = registered_entry(OUTPUT, MANIFEST)
    assert entry is not None and entry["sources"] == [{"title": "the mood of a newspaper"}]


def test_dates_may_be_a_column_in_any_order_and_numbers_of_any_kind(table: pd.DataFrame) -> None:
    whole = table.assign(change=np.arange(len(table)), mood=table["mood"].astype("float32"))
    take_in(whole.sample(frac=1, random_state=0).reset_index())
    taken = load_features(OUTPUT)
    pd.testing.assert_index_equal(taken.index, table.index)
    assert (taken.dtypes == np.float64).all()
    assert taken["change"].tolist() == list(range(len(table)))


MISTAKES = {
    "not a finite number in 1 row": lambda t: t.assign(mood=t["mood"].where(t.index != t.index[7])),
    "mood not a finite number": lambda t: t.assign(mood=1e39),  # no 32-bit number
    "date twice in 1 row": lambda t: pd.concat([t, t.iloc[[5]]]),
    "date with a time of day": lambda t: t.set_axis(t.index + pd.Timedelta(hours=16)),
    "without a time zone": lambda t: t.set_axis(t.index.tz_localize("UTC")),
    "none missing": lambda t: t.set_axis(t.index.where(t.index != t.index[3])),
    "allowed: dates": lambda t: t.reset_index(drop=True),
    "columns mood; allowed": lambda t: t.assign(mood="good"),
    "columns change; allowed": lambda t: t.assign(change=True),
    "columns are missing": lambda t: t[[]],
    "missing 1 row": lambda t: t.drop(t.index[100]),
    "missing 2 row": lambda t: t.iloc[:-2],
    "holds no rows": lambda t: t.iloc[:0],
    "too many 1 row": lambda t: pd.concat([t, t.iloc[[-1]].set_axis(t.index[-1:] + DAY)]),
}
DAY = pd.Timedelta(days=1)


@pytest.mark.parametrize("message", MISTAKES)
def test_a_table_that_is_no_table_of_features_is_refused(table: pd.DataFrame, message: str) -> None:
    assert message in refusal(MISTAKES[message](table).rename_axis("date"))
    assert registered_entry(OUTPUT, MANIFEST) is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; allowed: a parquet file"):
        read_table(tmp_path / "none.parquet")


def test_only_the_external_tier_takes_a_table_and_it_takes_nothing_else(
    table: pd.DataFrame,
) -> None:
    with pytest.raises(UserError, match="a --table is given"):
        take_in(table, output=Path("data/raw/XYZ_features_c14.parquet"))
    files = ["--prices", str(PRICES), "--manifest", str(MANIFEST), "--output", str(OUTPUT)]
    with pytest.raises(UserError, match="no --table is given"):
        prepare.main(files)
    with pytest.raises(UserError, match="lies outside data"):
        take_in(table, output=Path("elsewhere/XYZ_features_external.parquet"))


def test_another_table_in_its_place_needs_replace(table: pd.DataFrame) -> None:
    take_in(table)
    take_in(table)
    before = OUTPUT.read_bytes()
    with pytest.raises(UserError, match="another table.*--replace"):
        take_in(table * 2)
    assert OUTPUT.read_bytes() == before
    take_in(table * 2, "--replace")
    pd.testing.assert_frame_equal(load_features(OUTPUT), table * 2, check_freq=False)


def test_a_table_can_be_registered_where_it_lies(table: pd.DataFrame) -> None:
    table.to_parquet(OUTPUT)
    files = ["--prices", str(PRICES), "--manifest", str(MANIFEST), "--table", str(OUTPUT)]
    prepare.main([*files, "--output", str(OUTPUT)])
    assert registered_entry(OUTPUT, MANIFEST) is not None


def test_names_and_days_are_the_tables_own(table: pd.DataFrame, prices: pd.DataFrame) -> None:
    take_in(table)
    assert feature_names(OUTPUT) == ("change", "mood")
    pd.testing.assert_index_equal(feature_days(OUTPUT, prices), table.index)
    check_dates(prices, load_features(OUTPUT), OUTPUT)
    with pytest.raises(UserError, match="register it: python -m scaling.prepare"):
        check_dates(prices.iloc[:-1], load_features(OUTPUT), OUTPUT)


def test_names_and_days_of_a_tier_are_known_before_it_is_built(prices: pd.DataFrame) -> None:
    path = Path("nowhere/XYZ_features_a20.parquet")
    assert len(feature_names(path)) == 20
    pd.testing.assert_index_equal(feature_days(path, prices), prices.index[199:])


def test_the_manifest_is_the_record_of_a_table_and_no_tier_has_its_name() -> None:
    assert DataConfig(features=OUTPUT).tier == tier_named(OUTPUT) == EXTERNAL
    assert EXTERNAL not in known_tiers()
    assert features_record(OUTPUT, MANIFEST) == MANIFEST
    built = Path("data/processed/v1/XYZ_features_a20.parquet")
    assert features_record(built, MANIFEST) == built.with_suffix(".json")
