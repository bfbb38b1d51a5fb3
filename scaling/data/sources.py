"""Where prices come from: a user's own file, or Yahoo; either way they leave here sound."""

import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from scaling.data.prices import PRICE_COLUMNS, SHOWN, check_prices
from scaling.errors import UserError

Frame = pd.DataFrame
EXCHANGE_ZONE = ZoneInfo("America/New_York")


def read_file(path: Path) -> Frame:
    """A user's own CSV or parquet file, in the form that `normalise` gives it."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give --source file PATH, a CSV or parquet file")
    try:
        raw = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # the parse errors of pandas and pyarrow
        raise UserError(
            f"{path}: not readable as {'parquet' if path.suffix == '.parquet' else 'CSV'}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return normalise(raw, str(path))


def read_yahoo(symbol: str, start: str) -> Frame:
    """Daily prices from `start` to yesterday, adjusted for splits but not for dividends.

    Today's row is left out, because it is not final before the close.
    """
    try:
        import yfinance
    except ImportError:
        raise UserError(
            "yfinance is not installed; install it with: pip install -e '.[yahoo]', "
            "or give --source file PATH"
        ) from None
    today = datetime.datetime.now(EXCHANGE_ZONE).date()
    where = f"Yahoo Finance, {symbol}"
    try:
        raw = yfinance.download(
            symbol,
            start=start,
            end=today.isoformat(),
            auto_adjust=False,
            multi_level_index=False,
            progress=False,
            threads=False,
        )
    except Exception as error:  # the network and Yahoo may fail in any way
        raise UserError(
            f"{where}: {type(error).__name__}: {error}; try again later, or give --source file PATH"
        ) from error
    if raw is None or raw.empty:
        raise UserError(
            f"{where}: no rows from {start} on; check the symbol and the network, or give "
            "--source file PATH"
        )
    return normalise(raw, where)


def normalise(raw: Frame, where: str) -> Frame:
    """Any daily table as sound OHLCV: lower-case columns, plain dates, one row a day, sorted.

    Adjusted closes are left out, because each dividend rewrites their whole history. A time of day
    is cut off. A time zone is dropped without conversion, because the day that counts is the
    exchange's own. Raises `UserError` for missing columns, for unreadable dates, and for everything
    that `check_prices` refuses.
    """
    table = raw.rename(columns=lambda name: str(name).strip().lower())
    dated = isinstance(raw.index, pd.DatetimeIndex) or str(raw.index.name).lower() == "date"
    if dated and "date" not in table.columns:
        table = table.rename_axis(index="date").reset_index()
    missing = [name for name in ("date", *PRICE_COLUMNS) if name not in table.columns]
    if missing or table.columns.has_duplicates:
        raise UserError(
            f"{where}: columns are {', '.join(map(str, raw.columns))}; needed once each, in any "
            f"case and order: date, {', '.join(PRICE_COLUMNS)}"
        )
    numbers = table[list(PRICE_COLUMNS)].apply(pd.to_numeric, errors="coerce").astype("float64")
    dates = _days(table["date"], where)
    prices = numbers.set_axis(dates).rename_axis(columns=None).sort_index()
    volume = prices["volume"]
    if np.isfinite(volume).all() and (volume == volume.round()).all():
        prices["volume"] = volume.astype("int64")
    return check_prices(prices, where)


def _days(column: pd.Series, where: str) -> pd.DatetimeIndex:
    if not pd.api.types.is_datetime64_any_dtype(column):
        # Only the day is read: offsets that change with summer time do not parse as one type.
        try:
            column = pd.to_datetime(column.astype("str").str[:10], format="%Y-%m-%d")
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise UserError(f"{where}: date: {first}; allowed: days such as 1993-01-29") from None
    days = pd.DatetimeIndex(column, name="date").tz_localize(None).normalize().as_unit("us")
    if days.hasnans:
        empty = [str(row) for row, day in enumerate(days, start=1) if pd.isna(day)]
        shown = ", ".join(empty[:SHOWN])
        raise UserError(f"{where}: date missing in {len(empty)} row(s), number {shown}")
    return days
