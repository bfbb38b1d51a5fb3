"""Prices, checked on entry, and the 20 indicators of tier a20 in scale-free form.

Every feature of day t is made from days up to t alone: cutting the future off changes no bit of
it. All are relative to a price, a volume or a fixed range, for price levels drift (an average in
dollars grows sixfold from train to test) and models trained on levels fail out of sample.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib

from scaling.config import TrainingConfig, features_record
from scaling.data.manifest import verify
from scaling.data.prices import read_parquet, rows_named
from scaling.errors import UserError
from scaling.record import code_digest, file_md5, read_json

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
# The longest memory: SMA 200 is defined from the 200th day on, the weekly StochRSI from the 21st
# week on, everything else sooner.
ROWS_DROPPED = max(SMA_DAYS) - 1


def _relative(close: Array, average: Array) -> Array:
    relative: Array = close / average - 1
    return relative


def _weekly(close: pd.Series) -> Frame:
    """RSI and StochRSI of completed weeks, as known at each day's close.

    A week is complete at its Friday's close. If that Friday is a holiday, its last trading day
    cannot know it (without a calendar of closures, some of them unforeseen), so the week counts
    from the next trading day on. Both cases are one as-of merge on the date of the Friday.
    """
    dates = pd.DatetimeIndex(close.index)
    fridays = dates + pd.to_timedelta(4 - dates.day_of_week, unit="D")
    closes = close.groupby(fridays).last()
    values = closes.to_numpy()
    weekly = pd.DataFrame(
        {
            "weekly_rsi_14": talib.RSI(values, 14),
            "weekly_stochrsi_14_5_3": talib.STOCHRSI(values, 14, 5, 3)[1],
        },
        index=closes.index,
    )
    return weekly.reindex(dates, method="ffill")


def build_features(prices: Frame) -> Frame:
    """The 20 indicators, float64 [len(prices) - 199, 20], indexed by date.

    `prices` as from `load_prices`. The first 199 rows, where SMA 200 is not yet defined, are
    dropped. Raises `UserError` when there are too few rows, or when an indicator is undefined
    later on (a flat price or no volume for 20 days), naming it and the rows.
    """
    if len(prices) <= ROWS_DROPPED:
        raise UserError(
            f"prices: {len(prices)} rows; allowed: at least {ROWS_DROPPED + 1}, for the first "
            f"{ROWS_DROPPED} only fill the 200-day average"
        )
    high, low, close = (prices[n].to_numpy(np.float64) for n in ("high", "low", "close"))
    volume = prices["volume"].to_numpy(np.float64)
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    typical = (high + low + close) / 3
    weekly = _weekly(prices["close"])
    with np.errstate(divide="ignore", invalid="ignore"):  # checked by name below
        # TA-Lib's running sums keep a residue where the true answer is zero, so that a division
        # by it would pass for a number: what is undefined is said to be.
        volume_20 = talib.SUM(volume, 20)
        volume_20 = np.where(volume_20 > 0, volume_20, np.nan)
        band = np.where(talib.MAX(close, 20) > talib.MIN(close, 20), upper - lower, np.nan)
        columns: dict[str, Array] = {
            **{f"dema_{n}": _relative(close, talib.DEMA(close, n)) for n in DEMA_DAYS},
            **{f"sma_{n}": _relative(close, talib.SMA(close, n)) for n in SMA_DAYS},
            "rsi_14": talib.RSI(close, 14),
            # The slow line (%D): %K alone would leave the smoothing over 3 unused.
            "stochrsi_14_5_3": talib.STOCHRSI(close, 14, 5, 3)[1],
            **{str(name): weekly[name].to_numpy() for name in weekly},
            "macd_12_26": talib.MACD(close, 12, 26, 9)[0] / close,
            "obv_change_20": talib.MOM(talib.OBV(close, volume), 20) / volume_20,
            "adosc_3_10": talib.ADOSC(high, low, close, volume, 3, 10) / (volume_20 / 20),
            "log_atr_14": np.log(talib.ATR(high, low, close, 14) / close),
            "adx_14": talib.ADX(high, low, close, 14),
            "bollinger_b_20_2": (close - lower) / band,
            # TA-Lib has no rolling VWAP, and a cumulative one never forgets.
            "vwap_20": _relative(close, talib.SUM(typical * volume, 20) / volume_20),
        }
    features = pd.DataFrame(columns, index=prices.index)[list(FEATURE_NAMES)]
    features = features.iloc[ROWS_DROPPED:]
    undefined = ~np.isfinite(features.to_numpy())
    if undefined.any():
        names = [n for n, bad in zip(FEATURE_NAMES, undefined.any(axis=0), strict=True) if bad]
        raise UserError(
            f"prices: {', '.join(names)} undefined in "
            f"{rows_named(features.index, undefined.any(axis=1))}; look there for a flat price or "
            "days without volume"
        )
    return features


def load_features(path: str | Path) -> Frame:
    """The feature table, float64 [rows, 20], indexed by date; a `UserError` if it is another's."""
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
    """The MD5 of a features file, which must be as it was built, from these prices, by this code.

    Raises `UserError` saying which of the three does not hold, and how to build it again.
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
        "code_digest": "built by other code: scaling/features.py now has digest",
    }
    for key, reason in reasons.items():
        if found[key] != built[key]:
            raise UserError(
                f"{path}: {reason} {found[key]}, its record says {built[key]}; {_rebuild(path)}"
            )
    return found["features_md5"]


def check_dates(prices: Frame, features: Frame, where: str | Path) -> None:
    """Feature rows must be the price rows after the first 199, day by day; else a `UserError`."""
    expected = prices.index[ROWS_DROPPED:]
    if not features.index.equals(expected):
        missing, extra = expected.difference(features.index), features.index.difference(expected)
        raise UserError(
            f"{where}: {len(features)} rows, the prices ask for {len(expected)}; missing "
            f"{rows_named(missing, [True] * len(missing))}; too many "
            f"{rows_named(extra, [True] * len(extra))}; {_rebuild(where)}"
        )


def verified_data(config: TrainingConfig, stamp: Path | None = None) -> tuple[str, str]:
    """MD5 of prices and features, each checked against what registered it, whoever calls.

    `stamp` is the file that `check_data` wrote; one of other data is a `UserError`.
    """
    prices_md5 = verify(config.data.prices, config.data.manifest)
    features_md5 = verify_features(config.data.features, prices_md5)
    if stamp and not {prices_md5, features_md5} <= set(stamp.read_text().split()):
        raise UserError(
            f"{stamp}: is not the stamp of {config.data.prices} (MD5 {prices_md5}) and "
            f"{config.data.features} (MD5 {features_md5}); make it again: snakemake {stamp}"
        )
    return prices_md5, features_md5
