"""The 20 indicators of tier a20 in scale-free form, and the checks that a feature table must pass.

Every feature of day t is computed from days up to t alone, so cutting off the future changes no
bit of it. Every feature is relative to a price, to a volume or to a fixed range. An average in
dollars grows sixfold from the training years to the test years, and models that are trained on
such levels fail out of sample.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib

from scaling.config import TrainingConfig, features_record
from scaling.data.manifest import verify
from scaling.data.prices import read_parquet, rows_named
from scaling.digest import code_digest
from scaling.errors import UserError
from scaling.record import file_md5, read_json

Frame = pd.DataFrame
Array = npt.NDArray[np.float64]
DEMA_DAYS = (9, 10, 20, 25, 90)
SMA_DAYS = (12, 50, 100, 200)
FEATURE_NAMES: tuple[str, ...] = (
    *(f"dema_{days}" for days in DEMA_DAYS),
    *(f"sma_{days}" for days in SMA_DAYS),
    "rsi_14",
    "stochrsi_14_5_3",
    "weekly_rsi_14",
    "weekly_stochrsi_14_5_3",
    "macd_12_26",
    "obv_change_20",
    "adosc_3_10",
    "log_atr_14",
    "adx_14",
    "bollinger_b_20_2",
    "vwap_20",
)
# SMA 200 needs the most history: it is defined from the 200th day on. The weekly StochRSI is
# defined from the 21st week on, and every other indicator earlier.
ROWS_DROPPED = max(SMA_DAYS) - 1


def build_features(prices: Frame) -> Frame:
    """The 20 indicators, float64 [len(prices) - 199, 20], indexed by date.

    `prices` come from `load_prices`. The first 199 rows are dropped, because SMA 200 is not yet
    defined there. Raises `UserError` when there are too few rows. Raises it too when an indicator
    is undefined in a later row (a flat price, or no volume, for 20 days), and names both.
    """
    if len(prices) <= ROWS_DROPPED:
        raise UserError(
            f"prices: {len(prices)} rows; allowed: at least {ROWS_DROPPED + 1}, because the first "
            f"{ROWS_DROPPED} only fill the 200-day average"
        )
    high, low, close = (prices[n].to_numpy(np.float64) for n in ("high", "low", "close"))
    volume = prices["volume"].to_numpy(np.float64)
    weekly = _weekly(prices["close"])
    columns: dict[str, Array] = {
        **_trend(close),
        **_momentum(close),
        **{str(name): weekly[name].to_numpy() for name in weekly},
        **_volatility(high, low, close),
        **_volume_flow(high, low, close, volume),
    }
    features = pd.DataFrame(columns, index=prices.index)[list(FEATURE_NAMES)].iloc[ROWS_DROPPED:]
    _refuse_undefined(features)
    return features


def _relative(close: Array, average: Array) -> Array:
    relative: Array = close / average - 1
    return relative


def _trend(close: Array) -> dict[str, Array]:
    return {
        **{f"dema_{n}": _relative(close, talib.DEMA(close, n)) for n in DEMA_DAYS},
        **{f"sma_{n}": _relative(close, talib.SMA(close, n)) for n in SMA_DAYS},
        "macd_12_26": talib.MACD(close, 12, 26, 9)[0] / close,
    }


def _momentum(close: Array) -> dict[str, Array]:
    return {
        "rsi_14": talib.RSI(close, 14),
        # %D, the slow line: with %K, the fast line, the smoothing over 3 days would go unused.
        "stochrsi_14_5_3": talib.STOCHRSI(close, 14, 5, 3)[1],
    }


def _weekly(close: pd.Series) -> Frame:
    """RSI and StochRSI of completed weeks, as they are known at each day's close.

    A week is complete at its Friday's close. If that Friday is a holiday, the week counts from the
    next trading day on: on the Thursday nobody can know, without a calendar of closures, that the
    week is over, and some closures were not foreseen. Forward-filling from the dates of the
    Fridays does both.
    """
    dates = pd.DatetimeIndex(close.index)
    fridays = dates + pd.to_timedelta(4 - dates.day_of_week, unit="D")
    closes = close.groupby(fridays).last()
    weekly = pd.DataFrame(_momentum(closes.to_numpy()), index=closes.index)
    return weekly.add_prefix("weekly_").reindex(dates, method="ffill")


def _volatility(high: Array, low: Array, close: Array) -> dict[str, Array]:
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    # TA-Lib's running sums keep a tiny residue where the true width is zero. Dividing by it would
    # give a number, so a flat price is set to NaN here and refused by name later.
    width = np.where(talib.MAX(close, 20) > talib.MIN(close, 20), upper - lower, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "log_atr_14": np.log(talib.ATR(high, low, close, 14) / close),
            "adx_14": talib.ADX(high, low, close, 14),
            "bollinger_b_20_2": (close - lower) / width,
        }


def _volume_flow(high: Array, low: Array, close: Array, volume: Array) -> dict[str, Array]:
    typical = (high + low + close) / 3
    volume_20 = talib.SUM(volume, 20)
    volume_20 = np.where(volume_20 > 0, volume_20, np.nan)  # the residue, as in `_volatility`
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "obv_change_20": talib.MOM(talib.OBV(close, volume), 20) / volume_20,
            "adosc_3_10": talib.ADOSC(high, low, close, volume, 3, 10) / (volume_20 / 20),
            # A 20-day VWAP made of sums: a cumulative one would never forget the first day.
            "vwap_20": _relative(close, talib.SUM(typical * volume, 20) / volume_20),
        }


def _refuse_undefined(features: Frame) -> None:
    undefined = ~np.isfinite(features.to_numpy())
    if undefined.any():
        names = [n for n, bad in zip(FEATURE_NAMES, undefined.any(axis=0), strict=True) if bad]
        raise UserError(
            f"prices: {', '.join(names)} undefined in "
            f"{rows_named(features.index, undefined.any(axis=1))}; look there for a flat price or "
            "for days without volume"
        )


def load_features(path: str | Path) -> Frame:
    """Read a feature table, float64 [rows, 20], indexed by date.

    Raises `UserError` if its columns are not the 20 features.
    """
    features = read_parquet(Path(path))
    if tuple(features.columns) != FEATURE_NAMES:
        raise UserError(
            f"{path}: columns are {', '.join(map(str, features.columns))}; "
            f"allowed: {', '.join(FEATURE_NAMES)}; {_rebuild(path)}"
        )
    return features


def _rebuild(path: str | Path) -> str:
    return f"build it again with: snakemake --force {path}"


def verify_features(path: str | Path, prices_md5: str) -> str:
    """Check a features file against the record of its build, and return its MD5.

    Raises `UserError` if the file was altered since, or was built from other prices or by other
    code. The message says which of these holds and how to build the file again.
    """
    record_path = features_record(Path(path))
    for file in (Path(path), record_path):
        if not file.is_file():
            raise UserError(f"{file}: no such file; {_rebuild(path)}")
    try:
        record = read_json(record_path)
        built = {k: record[k] for k in ("features_md5", "prices_md5", "code_digest")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{record_path}: not a record of features; {_rebuild(path)}") from None
    found = {
        "features_md5": file_md5(path),
        "prices_md5": prices_md5,
        "code_digest": code_digest("data.features:build_features"),
    }
    reasons = {
        "features_md5": "altered since it was built: MD5 is",
        "prices_md5": "built from other prices: the prices now have MD5",
        "code_digest": "built by other code: scaling/data/features.py now has digest",
    }
    for key, reason in reasons.items():
        if found[key] != built[key]:
            raise UserError(
                f"{path}: {reason} {found[key]}, its record says {built[key]}; {_rebuild(path)}"
            )
    return found["features_md5"]


def check_dates(prices: Frame, features: Frame, where: str | Path) -> None:
    """Raise `UserError` unless the feature days are exactly the price days after the first 199."""
    expected = prices.index[ROWS_DROPPED:]
    if not features.index.equals(expected):
        missing, extra = expected.difference(features.index), features.index.difference(expected)
        raise UserError(
            f"{where}: {len(features)} rows, but the prices give {len(expected)}; missing "
            f"{rows_named(missing, [True] * len(missing))}; too many "
            f"{rows_named(extra, [True] * len(extra))}; {_rebuild(where)}"
        )


def verified_data(config: TrainingConfig, stamp: Path | None = None) -> tuple[str, str]:
    """Check prices against the manifest and features against their record; return both MD5s.

    `stamp` is the file that `check_data` wrote. A stamp of other data is a `UserError`.
    """
    prices_md5 = verify(config.data.prices, config.data.manifest)
    features_md5 = verify_features(config.data.features, prices_md5)
    if stamp and not {prices_md5, features_md5} <= set(stamp.read_text().split()):
        raise UserError(
            f"{stamp}: is not the stamp of {config.data.prices} (MD5 {prices_md5}) and "
            f"{config.data.features} (MD5 {features_md5}); make it again: snakemake {stamp}"
        )
    return prices_md5, features_md5
