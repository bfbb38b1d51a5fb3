"""Where prices come from: a user's own file, or Yahoo; either way they leave here sound."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from scaling.data.prices import PRICE_COLUMNS, SHOWN, check_prices
from scaling.errors import UserError

Frame = pd.DataFrame
EXCHANGE_ZONE = ZoneInfo("America/New_York")
SPY_INCEPTION = "1993-01-29"
VOLUME_DAYS = 20  # the features divide by the volume of so many days


@dataclass(frozen=True)
class Layout:
    """How a CSV file writes numbers and days; `date_format` is for `strptime`, None means ISO."""

    delimiter: str = ","
    decimal: str = "."
    date_format: str | None = None


def read_source(
    source: list[str], symbol: str, start: str | None, layout: Layout, **facts: Any
) -> tuple[Frame, str]:
    """The prices of a symbol from the day `start` on, and where they come from.

    `source` is ["yahoo"] or ["file", path]. Raises `UserError` for another one, and as `normalise`
    does, which is told the `facts`.
    """
    try:
        start = start and datetime.date.fromisoformat(start).isoformat()
    except ValueError:
        raise UserError(
            f"--start {start}: not a date; allowed: a day such as {SPY_INCEPTION}"
        ) from None
    match source:
        case ["yahoo"]:
            origin = f"Yahoo Finance through yfinance, {symbol}, unadjusted"
            return read_yahoo(symbol, start or SPY_INCEPTION, **facts), origin
        case ["file", path]:
            return read_file(Path(path), layout, start, **facts), Path(path).name
    raise UserError(f"--source {' '.join(source)}: allowed: yahoo, or file PATH")


def read_file(path: Path, layout: Layout, start: str | None = None, **facts: Any) -> Frame:
    """A user's own CSV or parquet file from the day `start` on, in the form of `normalise`.

    `facts` are the volume and calendar that `normalise` is told of.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give --source file PATH, a CSV or parquet file")
    try:
        raw = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, layout)
    except (ValueError, OSError) as error:  # the parse errors of pandas and pyarrow
        raise UserError(
            f"{path}: not readable as {'parquet' if path.suffix == '.parquet' else 'CSV'}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return normalise(raw, str(path), layout.date_format, start, **facts)


def _read_csv(path: Path, layout: Layout) -> Frame:
    """Read a CSV file, and also the one that yfinance writes, which has three rows of header.

    They are `Price,Close,High,...`, then `Ticker,SPY,SPY,...`, then `Date,,,...`.
    """
    raw = pd.read_csv(path, sep=layout.delimiter, decimal=layout.decimal)
    corner = [raw.columns[0], *raw.iloc[:2, 0]]
    if corner != ["Price", "Ticker", "Date"]:
        return raw
    if len(tickers := raw.iloc[0, 1:].unique()) > 1:
        raise ValueError(f"holds {', '.join(tickers)}; allowed: one symbol a file")
    return raw.iloc[2:].rename(columns={"Price": "date"})


def read_yahoo(symbol: str, start: str, **facts: Any) -> Frame:
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
    return normalise(raw, where, **facts)


def normalise(
    raw: Frame,
    where: str,
    date_format: str | None = None,
    start: str | None = None,
    *,
    volume: bool = True,
    calendar: str = "weekdays",
) -> Frame:
    """Any daily table as sound OHLCV: lower-case columns, plain dates, one row a day, sorted.

    Rows before the day `start` are left out before anything is checked. Adjusted closes are left
    out, because each dividend rewrites their whole history. A time of day is cut off. A time zone
    is dropped without conversion, because the day that counts is the exchange's own. If the prices
    are to have no `volume`, it is zero on every day, whatever the table holds. Raises `UserError`
    for missing columns, unreadable dates, a volume that is only zeros, and everything that
    `check_prices` refuses for the `calendar`.
    """
    table = raw.rename(columns=lambda name: str(name).strip().lower())
    dated = isinstance(raw.index, pd.DatetimeIndex) or str(raw.index.name).lower() == "date"
    if dated and "date" not in table.columns:
        table = table.rename_axis(index="date").reset_index()
    if not volume:
        table["volume"] = 0
    missing = [name for name in ("date", *PRICE_COLUMNS) if name not in table.columns]
    if missing or table.columns.has_duplicates:
        raise UserError(
            f"{where}: columns are {', '.join(map(str, raw.columns))}; needed once each, in any "
            f"case and order: date, {', '.join(PRICE_COLUMNS)}; other separators than commas are "
            "named with --delimiter"
        )
    days = _days(table["date"], where, date_format)
    prices = _numbers(table, where).set_axis(days).rename_axis(columns=None).sort_index()
    prices = prices.loc[start:]
    traded = prices["volume"]
    if np.isfinite(traded).all() and (traded == traded.round()).all():
        prices["volume"] = traded.astype("int64")
    check_prices(prices, where, calendar)
    if volume:
        _refuse_without_volume(prices, where)
    return prices


def _numbers(table: Frame, where: str) -> Frame:
    """The price columns as float64. Text that is no number becomes NaN, for `check_prices`."""
    numbers: Frame = (
        table[list(PRICE_COLUMNS)].apply(pd.to_numeric, errors="coerce").astype("float64")
    )
    for name in PRICE_COLUMNS:
        unread = table.loc[numbers[name].isna().to_numpy(), name].astype("str")
        if (commas := unread[unread.str.contains(",")]).any():
            raise UserError(
                f"{where}: {name} holds {commas.iloc[0]!r}; allowed: no thousands separators; "
                "decimal commas are read with: --decimal ,"
            )
    return numbers


def _days(column: pd.Series, where: str, date_format: str | None) -> pd.DatetimeIndex:
    if not pd.api.types.is_datetime64_any_dtype(column):
        # In ISO form only the day is read: offsets that change with summer time are no one type.
        text = column.astype("str").str.strip()
        text = text.str[:10] if date_format is None else text
        try:
            column = pd.to_datetime(text, format=date_format or "%Y-%m-%d")
        except ValueError as error:
            raise UserError(
                f"{where}: date: {str(error).split('. You')[0]}; allowed: days such as 1993-01-29, "
                "or of the form that --date-format names, for example %d/%m/%Y"
            ) from None
    days = pd.DatetimeIndex(column, name="date").tz_localize(None).normalize().as_unit("us")
    if days.hasnans:
        empty = [str(row) for row, day in enumerate(days, start=1) if pd.isna(day)]
        shown = ", ".join(empty[:SHOWN])
        raise UserError(f"{where}: date missing in {len(empty)} row(s), number {shown}")
    return days


def _refuse_without_volume(prices: Frame, where: str) -> None:
    idle = np.flatnonzero(prices["volume"].eq(0).rolling(VOLUME_DAYS).sum().eq(VOLUME_DAYS))
    if len(idle):
        first, last = (str(prices.index[row])[:10] for row in (idle[0] - VOLUME_DAYS + 1, idle[-1]))
        raise UserError(
            f"{where}: volume is zero on {VOLUME_DAYS} or more days in a row between {first} and "
            f"{last}: the source gives none there, and the features obv_change_20, adosc_3_10 and "
            "vwap_20 divide by it; take a source with volume (for an index, a fund that follows "
            "it), leave those days out with --start DAY, or register the prices with --no-volume "
            "for features of closes alone (tier c14)"
        )
