"""Tier c14: 14 indicators from closes alone, such as currencies, or indices without volume."""

import numpy as np
import pandas as pd

from scaling.data.indicators import (
    Columns,
    bollinger_b,
    log_volatility,
    momentum,
    trend,
    weekly_momentum,
)

DEMA_DAYS = (10, 25, 90)
SMA_DAYS = (12, 50, 100, 200)
FEATURE_NAMES = (
    *(f"dema_{days}" for days in DEMA_DAYS),
    *(f"sma_{days}" for days in SMA_DAYS),
    "rsi_14",
    "stochrsi_14_5_3",
    "weekly_rsi_14",
    "weekly_stochrsi_14_5_3",
    "macd_12_26",
    "bollinger_b_20_2",
    "log_volatility_20",
)
# SMA 200 needs the most history. The weekly StochRSI needs 21 weeks, at most 147 days.
ROWS_DROPPED = max(SMA_DAYS) - 1
NEEDS = ("close",)


def build(prices: pd.DataFrame, calendar: str) -> Columns:
    """The 14 indicators by name, float64 [rows]."""
    close = prices["close"].to_numpy(np.float64)
    return {
        **trend(close, DEMA_DAYS, SMA_DAYS),
        **momentum(close),
        **weekly_momentum(prices["close"], calendar),
        "bollinger_b_20_2": bollinger_b(close),
        "log_volatility_20": log_volatility(close),
    }
