"""The checks of prices, the 20 indicators, their record, and the commands behind them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from scaling import check_data, prepare
from scaling.data import features
from scaling.data.features import (
    build_features,
    check_dates,
    load_features,
    verify_features,
)
from scaling.data.manifest import register
from scaling.data.prices import check_prices, load_prices
from scaling.data.tiers import a20, tier_of
from scaling.data.tiers.a20 import FEATURE_NAMES, ROWS_DROPPED
from scaling.errors import UserError
from scaling.names import known_tiers
from scaling.record import file_md5, write_parquet
from tests.conftest import random_prices

ROOT = Path(__file__).parents[2]


def every_day_prices() -> pd.DataFrame:
    """Random prices of a market that trades on weekends too, with some days missing."""
    prices = random_prices()
    days = pd.date_range("2000-01-03", periods=len(prices), name="date", unit="us")
    return prices.set_axis(days).drop(days[[250, 251, 400, 419, 527]])


# Prices


@pytest.mark.parametrize("name", ["SPY", "SP500", "NASDAQ"])
def test_the_committed_prices_are_sound_and_give_features(name):
    prices = load_prices(ROOT / f"data/raw/{name}.parquet")
    assert len(build_features(prices)) == len(prices) - ROWS_DROPPED


def test_the_sp500_has_every_day_of_spy_and_moves_with_it(spy):
    index = load_prices(ROOT / "data/raw/SP500.parquet").loc["1993-01-29":"2020-03-06"]
    assert index.index.equals(spy.index)
    moves = np.log(index["close"]).diff().corr(np.log(spy["close"]).diff())
    assert moves > 0.97


def test_the_committed_close_is_not_adjusted_for_dividends(spy):
    assert spy.loc["1993-01-29", "close"] == 43.9375  # as adjusted in 2020: 26.45


def put(row: int, column: str, value: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def spoil(prices: pd.DataFrame) -> pd.DataFrame:
        if np.isnan(value) or np.isinf(value):
            prices = prices.astype("float64")
        prices.iloc[row, prices.columns.get_loc(column)] = value
        return prices

    return spoil


def move(row: int, to: Callable[[pd.DatetimeIndex], pd.Timestamp]):
    def spoil(prices: pd.DataFrame) -> pd.DataFrame:
        days = prices.index.to_list()
        days[row] = to(prices.index)
        return prices.set_axis(pd.DatetimeIndex(days, name="date"))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (put(7, "close", np.nan), "close not a finite number"),
        (put(7, "open", np.inf), "open not a finite number"),
        (put(7, "volume", np.nan), "volume not a finite number"),
        (put(7, "low", 0.0), "low not above zero"),
        (put(7, "close", -3.0), "close not above zero"),
        (put(7, "volume", -1), "volume below zero"),
        (put(7, "high", 1.0), "high below open, close or low"),
        (put(7, "low", 1e6), "low above open or close"),
        (put(7, "open", 1e6), "high below open"),
        (put(7, "close", 1e6), "high below open"),
        (put(7, "open", 1.0), "low above open or close"),
        (put(7, "close", 1.0), "low above open or close"),
        (move(7, lambda days: days[6]), "date twice"),
        (move(7, lambda days: pd.NaT), "date missing"),
        (move(7, lambda days: days[7] + pd.Timedelta(hours=5)), "date with a time of day"),
        (move(7, lambda days: days[7] - pd.Timedelta(days=30)), "date not after the one before"),
        (move(7, lambda days: pd.Timestamp("2000-01-15")), "date on a weekend"),
    ],
)
def test_each_fault_in_the_prices_is_refused_and_its_row_named(prices, spoil, fault):
    spoiled = spoil(prices.copy())
    with pytest.raises(UserError) as refusal:
        check_prices(spoiled, "prices.csv")
    message = str(refusal.value)
    assert message.startswith("prices.csv: ")
    assert f"{fault}" in message
    assert str(spoiled.index[7])[:10] in message
    assert "\n" not in message


def test_only_the_first_few_of_many_bad_rows_are_listed_and_all_are_counted(prices):
    prices.loc[prices.index[10:60], "low"] = -1.0
    with pytest.raises(UserError, match=r"50 row\(s\): (\S+, ){5}…"):
        check_prices(prices, "prices")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.drop(columns="open"),
        lambda p: p[["close", "volume"]],
        lambda p: p.assign(extra=1.0),
        lambda p: p[["close", "open", "high", "low", "volume"]],
        lambda p: p.reset_index(drop=True),
        lambda p: p.tz_localize("America/New_York"),
        lambda p: p.rename_axis(index="day"),
        lambda p: p.iloc[:0],
        lambda p: p.astype({"close": "float32"}).clip(lower=p["low"], upper=p["high"], axis=0),
        lambda p: p.astype({"volume": "float64"}),
    ],
)
def test_a_table_of_another_shape_or_type_is_refused(prices, spoil):
    with pytest.raises(UserError):
        check_prices(spoil(prices), "prices")


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 but not really PAR1"])
def test_a_file_that_is_no_parquet_is_one_clear_line(tmp_path, content):
    path = tmp_path / "prices.parquet"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable parquet") as refusal:
        load_prices(path)
    assert "\n" not in str(refusal.value)


# Features


def test_200_days_give_one_row_and_199_are_refused(prices):
    assert len(build_features(prices.iloc[:200])) == 1
    with pytest.raises(UserError, match="199 rows; allowed: at least 200"):
        build_features(prices.iloc[:199])


def cut_days(prices: pd.DataFrame) -> list[int]:
    """Random rows, and every last day before a Friday without trading."""
    random = np.random.default_rng(4)
    weekday = prices.index.day_of_week
    short_week = np.flatnonzero((weekday[:-1] < 4) & (weekday[1:] < weekday[:-1]))
    rows = np.r_[random.integers(ROWS_DROPPED, len(prices) - 1, 25), short_week[-12:]]
    return [int(row) for row in rows if row >= ROWS_DROPPED]


def changed_by_truncation(
    prices: pd.DataFrame, tier: str = "a20", calendar: str = "weekdays"
) -> list[str]:
    """Features of some day up to a cut that are not the same, bit for bit, without the future."""
    full, changed = build_features(prices, tier, calendar), set()
    for row in cut_days(prices):
        cut = build_features(prices.iloc[: row + 1], tier, calendar)
        differs = (cut != full.loc[: prices.index[row]]).any()
        changed |= set(differs.index[differs])
    return sorted(changed)


@pytest.mark.parametrize("tier", known_tiers())
@pytest.mark.parametrize("market", ["spy", "many holidays", "every_day"])
def test_no_feature_of_a_day_changes_when_its_future_is_cut_off(spy, prices, market, tier):
    known = {"spy": spy, "many holidays": prices, "every_day": every_day_prices()}[market]
    calendar = "every_day" if market == "every_day" else "weekdays"
    assert changed_by_truncation(known, tier, calendar) == []


def test_the_truncation_test_catches_the_unfinished_week(monkeypatch, spy):
    honest = a20.weekly_momentum

    def leaky(close: pd.Series, calendar: str) -> dict[str, np.ndarray]:
        fridays = close.index + pd.to_timedelta(4 - close.index.day_of_week, unit="D")
        closes = close.groupby(fridays).last()
        weeks = pd.DataFrame(honest(closes, calendar), index=closes.index)
        return {name: weeks[name].reindex(fridays).to_numpy() for name in weeks}

    monkeypatch.setattr(a20, "weekly_momentum", leaky)
    assert "weekly_rsi_14" in changed_by_truncation(spy)


def test_the_truncation_test_catches_a_week_known_on_the_thursday_before_a_free_friday(
    monkeypatch, spy
):
    honest = a20.weekly_momentum

    def eager(close: pd.Series, calendar: str) -> dict[str, np.ndarray]:
        weeks = pd.Series(close.index.to_period("W-SUN"), index=close.index)
        last_day = weeks.ne(weeks.shift(-1)).to_numpy()
        closes = close[last_day]
        on_fridays = closes.index + pd.to_timedelta(4 - closes.index.day_of_week, unit="D")
        known = pd.DataFrame(honest(closes.set_axis(on_fridays), calendar), index=closes.index)
        known = known.reindex(close.index, method="ffill")
        return {name: known[name].to_numpy() for name in known}

    monkeypatch.setattr(a20, "weekly_momentum", eager)
    assert "weekly_rsi_14" in changed_by_truncation(spy)


def test_the_truncation_test_catches_a_sunday_known_on_the_friday_before(monkeypatch):
    """A market of every day whose weeks are taken to end on Friday."""
    honest = a20.weekly_momentum
    monkeypatch.setattr(a20, "weekly_momentum", lambda close, calendar: honest(close, "weekdays"))
    assert changed_by_truncation(every_day_prices(), "a20", "every_day") == [
        "weekly_rsi_14",
        "weekly_stochrsi_14_5_3",
    ]


def test_a_weekly_value_is_that_of_the_last_completed_week_and_never_an_older_one(
    spy, spy_features
):
    for row in (300, 301, 302, 303, 304, *cut_days(spy.iloc[:1500])):
        today = spy.index[row]
        weeks: dict[pd.Timestamp, float] = {}
        for day, close in spy["close"].iloc[: row + 1].items():
            weeks[day + pd.Timedelta(days=4 - day.weekday())] = close
        completed = np.array([close for friday, close in weeks.items() if friday <= today])
        found = spy_features.loc[today]
        assert found["weekly_rsi_14"] == talib.RSI(completed, 14)[-1]
        assert found["weekly_stochrsi_14_5_3"] == talib.STOCHRSI(completed, 14, 5, 3)[1][-1]


@pytest.mark.parametrize("tier", ["a20", "c14"])
def test_the_week_of_a_market_that_trades_every_day_ends_on_sunday(tier):
    weekly = build_features(every_day_prices(), tier, "every_day")["weekly_rsi_14"]
    changed = weekly.index[weekly.diff().fillna(0) != 0]
    assert len(changed) > 50
    # A week without a row on its Sunday counts from the Monday on.
    late = changed[changed.day_of_week != 6]
    assert list(late.day_name()) == ["Monday", "Monday"]
    assert not (late - pd.Timedelta(days=1)).isin(weekly.index).any()


def test_features_do_not_depend_on_the_unit_of_price_or_volume(prices):
    # 2**k scales floats exactly, so only a feature in dollars or shares can differ.
    scaled = prices * {"open": 8, "high": 8, "low": 8, "close": 8, "volume": 4}
    pd.testing.assert_frame_equal(
        build_features(prices), build_features(scaled), rtol=1e-9, atol=1e-9
    )


def by_hand(prices: pd.DataFrame) -> dict[str, pd.Series]:
    """Some indicators, computed a second time with pandas from their definitions."""
    close, volume = prices["close"], prices["volume"]
    mean, deviation = close.rolling(20).mean(), close.rolling(20).std(ddof=0)
    typical = (prices["high"] + prices["low"] + close) / 3
    signed = volume * np.sign(close.diff()).fillna(0)
    rsi = pd.Series(talib.RSI(close.to_numpy(), 14), index=close.index)
    lowest, highest = rsi.rolling(5).min(), rsi.rolling(5).max()
    fast = 100 * (rsi - lowest) / (highest - lowest)
    return {
        **{f"sma_{n}": close / close.rolling(n).mean() - 1 for n in (12, 50, 100, 200)},
        "stochrsi_14_5_3": fast.rolling(3).mean(),
        "obv_change_20": signed.rolling(20).sum() / volume.rolling(20).sum(),
        "bollinger_b_20_2": (close - (mean - 2 * deviation)) / (4 * deviation),
        "vwap_20": close * volume.rolling(20).sum() / (typical * volume).rolling(20).sum() - 1,
    }


@pytest.mark.parametrize("name", by_hand(random_prices(30)))
def test_an_indicator_is_what_its_definition_says(prices, name):
    expected = by_hand(prices)[name].iloc[ROWS_DROPPED:]
    np.testing.assert_allclose(build_features(prices)[name], expected, rtol=1e-6, atol=1e-8)


def test_a_recursive_average_settles_on_its_definition(spy, spy_features):
    """EMA-based indicators forget their start, so after 27 years those of pandas agree."""
    close = spy["close"]

    def ema(series: pd.Series, days: int) -> pd.Series:
        return series.ewm(span=days, adjust=False).mean()

    def wilder(series: pd.Series) -> pd.Series:
        return series.ewm(alpha=1 / 14, adjust=False).mean()

    high, low, volume, previous = spy["high"], spy["low"], spy["volume"], close.shift()
    gain, loss = wilder(close.diff().clip(lower=0)), wilder(-close.diff().clip(upper=0))
    true_range = wilder(np.maximum(high, previous) - np.minimum(low, previous))
    rise, fall = high.diff(), -low.diff()
    up = wilder(rise.where((rise > fall) & (rise > 0), 0.0))
    down = wilder(fall.where((fall > rise) & (fall > 0), 0.0))
    flow = (volume * ((2 * close - high - low) / (high - low)).fillna(0)).cumsum()
    expected = {
        **{
            f"dema_{n}": close / (2 * ema(close, n) - ema(ema(close, n), n)) - 1
            for n in (9, 10, 20, 25, 90)
        },
        "macd_12_26": (ema(close, 12) - ema(close, 26)) / close,
        "log_atr_14": np.log(true_range / close),
        "rsi_14": 100 * gain / (gain + loss),
        "adx_14": wilder(100 * (up - down).abs() / (up + down)),
        "adosc_3_10": (ema(flow, 3) - ema(flow, 10)) / volume.rolling(20).mean(),
    }
    for name, series in expected.items():
        np.testing.assert_allclose(
            spy_features[name].iloc[-100:], series.iloc[-100:], rtol=1e-6, atol=1e-9
        )


# Every tier


@pytest.fixture(scope="module", params=known_tiers())
def tier(request) -> str:
    return request.param


def test_a_tier_gives_the_features_that_it_names_and_drops_no_more_rows_than_it_must(spy, tier):
    made = tier_of(tier)
    columns = pd.DataFrame(made.build(spy, "weekdays"), index=spy.index)
    assert set(columns) == set(made.FEATURE_NAMES)
    assert len(set(made.FEATURE_NAMES)) == len(made.FEATURE_NAMES)
    assert columns.iloc[made.ROWS_DROPPED - 1].isna().any()
    assert columns.iloc[made.ROWS_DROPPED :].notna().all(axis=None)


def test_a_tier_reads_the_columns_that_it_says_it_needs_and_no_others(prices, tier):
    needs = list(tier_of(tier).NEEDS)
    assert build_features(prices[needs], tier).equals(build_features(prices, tier))
    for name in needs:
        with pytest.raises(KeyError, match=name):
            build_features(prices.drop(columns=name), tier)


def test_the_volatility_of_c14_is_the_deviation_of_20_returns(prices):
    returns = np.log(prices["close"]).diff()
    expected = np.log(returns.rolling(20).std(ddof=0)).iloc[ROWS_DROPPED:]
    found = build_features(prices, "c14")["log_volatility_20"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["dema_10", "sma_200", "weekly_rsi_14", "bollinger_b_20_2"])
def test_c14_shares_its_indicators_with_a20(spy, spy_features, name):
    assert build_features(spy, "c14")[name].equals(spy_features[name])


# The record, and the commands


@pytest.fixture
def data(tmp_path: Path, prices: pd.DataFrame) -> dict[str, Path]:
    """Registered prices, their features, and a config that names both."""
    files = {
        "prices": tmp_path / "raw" / "XYZ.parquet",
        "manifest": tmp_path / "manifest.json",
        "features": tmp_path / "processed" / "XYZ_features_a20.parquet",
    }
    enter(prices, files)
    run_prepare(files)
    config = (ROOT / "configs/daily/threshold_1pct.yaml").read_text()
    named = "".join(f"  {key}: {path}\n" for key, path in files.items())
    files["config"] = tmp_path / "config.yaml"
    files["config"].write_text(f"{config}data:\n{named}")
    files["stamp"] = tmp_path / "data.md5"
    return files


def enter(prices: pd.DataFrame, files: dict[str, Path], **facts: object) -> None:
    write_parquet(files["prices"], prices)
    days = {"first_date": "2000-01-03", "last_date": "2002-09-06"}
    known = {"rows": len(prices), **days, "origin": "random numbers"}
    register(files["prices"], files["manifest"], **known, **facts)


def run_prepare(files: dict[str, Path]) -> None:
    arguments = ["--prices", files["prices"], "--manifest", files["manifest"]]
    prepare.main([str(a) for a in (*arguments, "--output", files["features"])])


def run_check(files: dict[str, Path]) -> str:
    """The stamp of these data."""
    check_data.main(["--config", str(files["config"]), "--output", str(files["stamp"])])
    return files["stamp"].read_text()


def record_of(files: dict[str, Path]) -> dict:
    return json.loads(files["features"].with_suffix(".json").read_text())


def test_prepare_writes_the_features_and_a_record_of_what_made_them(data, prices, capsys):
    record = record_of(data)
    pd.testing.assert_frame_equal(load_features(data["features"]), build_features(prices))
    assert record["rows"] + record["rows_dropped"] == len(prices)
    assert record["names"] == list(FEATURE_NAMES)
    assert verify_features(data["features"], record["prices_md5"]) == record["features_md5"]
    assert "git_commit" in record


def test_prepare_refuses_altered_prices_and_writes_nothing(data, prices):
    data["features"].unlink()
    prices.iloc[5, 3] += 0.01
    write_parquet(data["prices"], prices)
    with pytest.raises(UserError, match="MD5 is"):
        run_prepare(data)
    assert not data["features"].exists()


def test_altered_features_are_refused(data):
    md5 = record_of(data)["prices_md5"]
    content = bytearray(data["features"].read_bytes())
    content[1000] ^= 1
    data["features"].write_bytes(content)
    with pytest.raises(UserError, match="altered since it was built.*snakemake --force"):
        verify_features(data["features"], md5)


def test_features_of_other_prices_are_refused(data):
    with pytest.raises(UserError, match="built from other prices.*snakemake --force"):
        verify_features(data["features"], "0" * 32)


def test_features_of_other_code_are_refused(data, monkeypatch):
    monkeypatch.setattr(features, "features_digest", lambda tier: "another")
    with pytest.raises(UserError, match="built by other code.*snakemake --force"):
        verify_features(data["features"], record_of(data)["prices_md5"])


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_features_without_file_or_record_are_refused(data, suffix):
    md5 = record_of(data)["prices_md5"]
    data["features"].with_suffix(suffix).unlink()
    with pytest.raises(UserError, match="no such file.*snakemake --force"):
        verify_features(data["features"], md5)


def test_a_features_record_that_is_no_record_is_refused(data):
    data["features"].with_suffix(".json").write_text("{}")
    with pytest.raises(UserError, match="not a record of features"):
        verify_features(data["features"], "0" * 32)


def test_the_stamp_holds_both_md5s_as_md5sum_writes_them_and_is_the_same_when_built_again(data):
    record = record_of(data)
    stamp = run_check(data)
    assert stamp == (
        f"{record['prices_md5']}  {data['prices']}\n{record['features_md5']}  {data['features']}\n"
    )
    data["prices"].touch()
    run_prepare(data)
    assert run_check(data) == stamp


def test_changed_prices_must_be_registered_need_new_features_and_give_another_stamp(data, prices):
    first = run_check(data)
    data["stamp"].unlink()
    prices.iloc[400, 4] += 1
    write_parquet(data["prices"], prices)
    with pytest.raises(UserError, match="git checkout"):
        run_check(data)
    enter(prices, data)
    with pytest.raises(UserError, match="built from other prices"):
        run_check(data)
    assert not data["stamp"].exists()
    run_prepare(data)
    assert run_check(data) != first


def test_a_build_that_loses_a_day_is_refused_before_anything_is_written(data, monkeypatch):
    data["features"].unlink()
    monkeypatch.setattr(
        features,
        "build_features",
        lambda prices, *asked: build_features(prices, *asked).drop(prices.index[300]),
    )
    with pytest.raises(UserError, match="missing 1 row"):
        run_prepare(data)
    assert not data["features"].exists()


def test_a_table_short_of_a_day_is_refused_whatever_its_record_says(data):
    write_parquet(data["features"], load_features(data["features"]).drop("2001-06-01"))
    record = record_of(data) | {"features_md5": file_md5(data["features"])}
    data["features"].with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="missing 1 row.s.: 2001-06-01"):
        run_check(data)
    assert not data["stamp"].exists()


def test_feature_days_that_are_not_the_price_days_are_refused_and_named(prices):
    table = build_features(prices)
    missing = table.drop(table.index[10])
    with pytest.raises(UserError, match=f"missing 1 row.s.: {table.index[10].date()}"):
        check_dates(prices, missing, "XYZ_features_a20.parquet")
    with pytest.raises(UserError, match="too many 1 row"):
        check_dates(prices.iloc[:-1], table, "XYZ_features_a20.parquet")
    shifted = table.set_axis(table.index + pd.Timedelta(hours=5))
    with pytest.raises(UserError, match="missing 501 row"):
        check_dates(prices, shifted, "XYZ_features_a20.parquet")


def test_an_output_that_names_no_tier_is_refused_with_those_there_are(data):
    for name in ("XYZ_features_a21.parquet", "XYZ_features.parquet", "XYZ_features_a20.json"):
        with pytest.raises(UserError, match="ends in a tier: a20, "):
            run_prepare({**data, "features": data["features"].with_name(name)})


@pytest.mark.parametrize(
    ("columns", "missing"),
    [(["open", "high", "low", "close"], "volume"), (["close"], "high, low, volume")],
)
def test_a_tier_is_refused_for_prices_without_what_it_needs_and_another_is_built(
    data, prices, columns, missing
):
    enter(prices[columns], data, columns=columns)
    with pytest.raises(UserError, match=f"has no {missing}, and tier a20 .*such as c14"):
        run_prepare(data)
    data["features"] = data["features"].with_name("XYZ_features_c14.parquet")
    run_prepare(data)
    record = record_of(data)
    assert (record["tier"], record["calendar"], len(record["names"])) == ("c14", "weekdays", 14)
    assert verify_features(data["features"], record["prices_md5"]) == record["features_md5"]


def test_features_of_another_calendar_are_refused(data, prices):
    enter(prices, data, calendar="every_day")
    with pytest.raises(UserError, match="built for another calendar"):
        run_check(data)


def test_prices_of_every_day_are_registered_built_and_checked(data):
    enter(every_day_prices(), data)
    with pytest.raises(UserError, match="date on a weekend"):
        run_prepare(data)
    enter(every_day_prices(), data, calendar="every_day")
    run_prepare(data)
    run_check(data)
    assert load_features(data["features"]).index.day_of_week.nunique() == 7
