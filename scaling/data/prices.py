"""Daily prices as every command wants them, and what is refused on entry."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.errors import UserError

Frame = pd.DataFrame
PRICE_COLUMNS = ("open", "high", "low", "close", "volume")


def rows_named(dates: pd.Index, wrong: Any) -> str:
    """The first few offending dates, and how many there are."""
    found = dates[np.asarray(wrong, dtype=bool)]
    shown = ", ".join(str(d)[:10] if str(d).endswith("00:00:00") else str(d) for d in found[:5])
    return f"{len(found)} row(s): {shown}{', …' if len(found) > 5 else ''}"


def check_prices(prices: Frame, where: str | Path) -> Frame:
    """The same frame if it is sound daily OHLCV; a `UserError` naming `where` and the rows if not.

    Sound: a DatetimeIndex named `date`, without time of day or zone, sorted, unique, no weekend
    (a shifted time zone shows as Sundays); columns open, high, low, close (float, positive, finite,
    low <= open, close <= high) and volume (integer, not negative).
    """
    if tuple(prices.columns) != PRICE_COLUMNS:
        raise UserError(
            f"{where}: columns are {', '.join(map(str, prices.columns))}; "
            f"allowed: {', '.join(PRICE_COLUMNS)}"
        )
    dates = prices.index
    if not isinstance(dates, pd.DatetimeIndex) or dates.tz is not None or dates.name != "date":
        raise UserError(
            f"{where}: rows are labelled by {dates.name!r} of type {dates.dtype}; allowed: dates "
            "without a time zone, named 'date'; make such a file with: "
            "python -m scaling.fetch SYMBOL --source file PATH"
        )
    if prices.empty:
        raise UserError(f"{where}: holds no rows; allowed: one row a day")
    o, h, low, c = (prices[name] for name in PRICE_COLUMNS[:4])
    faults = [
        ("date missing", dates.isna()),
        ("date with a time of day", dates.notna() & (dates != dates.normalize())),
        ("date twice", dates.duplicated()),
        ("date not after the one before", np.r_[False, np.diff(dates.asi8) < 0]),
        ("date on a weekend", dates.day_of_week >= 5),
        *((f"{n} not a finite number", ~np.isfinite(prices[n])) for n in PRICE_COLUMNS),
        *((f"{n} not above zero", prices[n] <= 0) for n in PRICE_COLUMNS[:4]),
        ("volume not a whole number", prices["volume"] % 1 > 0),
        ("volume below zero", prices["volume"] < 0),
        ("high below open, close or low", h < np.maximum(np.maximum(o, c), low)),
        ("low above open or close", low > np.minimum(o, c)),
    ]
    found = [f"{fault} in {rows_named(dates, wrong)}" for fault, wrong in faults if np.any(wrong)]
    if found:
        raise UserError(f"{where}: {'; '.join(found)}; mend those rows in the source and fetch it")
    if not all(prices[n].dtype == np.float64 for n in PRICE_COLUMNS[:4]):
        raise UserError(f"{where}: open, high, low, close must be float64: {dict(prices.dtypes)}")
    if prices["volume"].dtype != np.int64:
        raise UserError(f"{where}: volume is {prices['volume'].dtype}, must be int64")
    return prices


def read_parquet(path: Path) -> Frame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable parquet file: {first}") from None


def load_prices(path: str | Path) -> Frame:
    """Daily prices as `check_prices` wants them, read from a registered parquet file."""
    return check_prices(read_parquet(Path(path)), path)
