"""Indicators of TA-Lib in scale-free form, as the tiers of features share them.

Every value of day t is computed from days up to t alone, so cutting off the future changes no bit
of it. Every value is relative to a price or to a fixed range. An average in dollars grows sixfold
from the training years to the test years, and models that are trained on such levels fail out of
sample. Closes are float64 [rows]; a value that is not yet defined is NaN.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import talib

from scaling.data.calendars import week_end

Array = npt.NDArray[np.float64]
Columns = dict[str, Array]


def relative(close: Array, average: Array) -> Array:
    """How far the close is above an average, as a fraction of it."""
    above: Array = close / average - 1
    return above


def trend(close: Array, dema_days: Sequence[int], sma_days: Sequence[int]) -> Columns:
    """Distances to double exponential and simple moving averages, and the MACD line."""
    return {
        **{f"dema_{n}": relative(close, talib.DEMA(close, n)) for n in dema_days},
        **{f"sma_{n}": relative(close, talib.SMA(close, n)) for n in sma_days},
        "macd_12_26": talib.MACD(close, 12, 26, 9)[0] / close,
    }


def momentum(close: Array) -> Columns:
    """RSI and StochRSI, 0 to 100."""
    return {
        "rsi_14": talib.RSI(close, 14),
        # %D, the slow line: with %K, the fast line, the smoothing over 3 days would go unused.
        "stochrsi_14_5_3": talib.STOCHRSI(close, 14, 5, 3)[1],
    }


def weekly_momentum(close: pd.Series, calendar: str) -> Columns:
    """RSI and StochRSI of completed weeks, as they are known at each day's close.

    A week is complete at the close of its last day: the Friday, or the Sunday of a market that
    trades every day. If there is no row on that day, the week counts from the next row on. On the
    day before nobody can know that the week is over, because some closures were not foreseen.
    Forward-filling from the dates of the last days does both.
    """
    dates = pd.DatetimeIndex(close.index)
    week_ends = dates + pd.to_timedelta(week_end(calendar) - dates.day_of_week, unit="D")
    closes = close.groupby(week_ends).last()
    weekly = pd.DataFrame(momentum(closes.to_numpy()), index=closes.index)
    known = weekly.reindex(dates, method="ffill")
    return {f"weekly_{name}": known[name].to_numpy() for name in known}


def unless_flat(close: Array, days: int, values: Array) -> Array:
    """`values`, and NaN where all closes of the last `days` are equal.

    TA-Lib's running sums keep a tiny residue where the true spread is zero. It would pass for a
    spread, so a flat price becomes NaN, which is refused by name later.
    """
    return np.where(talib.MAX(close, days) > talib.MIN(close, days), values, np.nan)


def bollinger_b(close: Array) -> Array:
    """%B of 20 days and 2 deviations: 0 at the lower band, 1 at the upper."""
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        percent: Array = (close - lower) / unless_flat(close, 20, upper - lower)
    return percent


def log_volatility(close: Array) -> Array:
    """Log of the standard deviation of the last 20 daily log returns."""
    returns = np.diff(np.log(close), prepend=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Array = np.log(unless_flat(close, 21, talib.STDDEV(returns, 20)))
    return logs
