"""Tier a20: 20 indicators from high, low, close and volume."""

import numpy as np
import pandas as pd
import talib

from scaling.data.indicators import (
    Array,
    Columns,
    bollinger_b,
    momentum,
    relative,
    trend,
    weekly_momentum,
)

DEMA_DAYS = (9, 10, 20, 25, 90)
SMA_DAYS = (12, 50, 100, 200)
FEATURE_NAMES = (
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
NEEDS = ("high", "low", "close", "volume")


def build(prices: pd.DataFrame, calendar: str) -> Columns:
    """The 20 indicators by name, float64 [rows]."""
    high, low, close = (prices[n].to_numpy(np.float64) for n in ("high", "low", "close"))
    return {
        **trend(close, DEMA_DAYS, SMA_DAYS),
        **momentum(close),
        **weekly_momentum(prices["close"], calendar),
        "log_atr_14": np.log(talib.ATR(high, low, close, 14) / close),
        "adx_14": talib.ADX(high, low, close, 14),
        "bollinger_b_20_2": bollinger_b(close),
        **_volume_flow(high, low, close, prices["volume"].to_numpy(np.float64)),
    }


def _volume_flow(high: Array, low: Array, close: Array, volume: Array) -> Columns:
    typical = (high + low + close) / 3
    volume_20 = talib.SUM(volume, 20)
    # Running sums may keep a residue where there was no volume: such days are set to NaN.
    volume_20 = np.where(volume_20 > 0, volume_20, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "obv_change_20": talib.MOM(talib.OBV(close, volume), 20) / volume_20,
            "adosc_3_10": talib.ADOSC(high, low, close, volume, 3, 10) / (volume_20 / 20),
            # A 20-day VWAP made of sums: a cumulative one would never forget the first day.
            "vwap_20": relative(close, talib.SUM(typical * volume, 20) / volume_20),
        }
