"""Where prices come from: the user's own file, the ECB's, or Yahoo. They leave here sound."""

import datetime
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from scaling.data.calendars import ECB, NEW_YORK, WEEKDAYS
from scaling.data.prices import PRICE_COLUMNS, QUOTES, SHOWN, check_prices
from scaling.errors import UserError

Frame = pd.DataFrame
EXCHANGE_ZONE = ZoneInfo("America/New_York")
SPY_INCEPTION = "1993-01-29"
FEATURE_DAYS = 20  # the features divide by the volume and by the spread of so many days
# The currencies without a gap since 1999, but for those that hardly moved against the euro or the
# dollar: DKK is pegged, HKD follows USD, and CZK was held at a floor from 2013 to 2017.
CURRENCIES = (
    *("USD", "JPY", "GBP", "HUF", "PLN", "SEK", "CHF"),
    *("NOK", "AUD", "CAD", "KRW", "NZD", "SGD", "ZAR"),
)
# The terms are those of https://www.ecb.europa.eu/services/disclaimer.
ECB_LICENCE = "LicenseRef-ECB-free-reuse-with-source"


@dataclass(frozen=True)
class Layout:
    """How a CSV file writes numbers and days; `date_format` is for `strptime`, None means ISO."""

    delimiter: str = ","
    decimal: str = "."
    date_format: str | None = None


def split_symbols(source: list[str], symbols: list[str]) -> tuple[list[str], list[str]]:
    """The source and, once each, the symbols; those of the ECB's file may stand after it."""
    if source[0] == "ecb":
        source, symbols = source[:2], [*symbols, *source[2:]] or [*CURRENCIES]
    return source, list(dict.fromkeys(symbols))


def usual_calendar(source: list[str]) -> str:
    """The calendar of prices that nobody named one for."""
    return ECB if source[0] == "ecb" else NEW_YORK


def read_source(
    source: list[str], symbol: str, start: str | None, layout: Layout, **facts: Any
) -> tuple[Frame, str, str | None]:
    """The prices of a symbol from the day `start` on, where they come from, and their licence.

    `source` is ["yahoo"], ["file", path] or ["ecb", path]. Raises `UserError` for another one, and
    as `normalise` does, which is told the `facts`.
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
            return read_yahoo(symbol, start or SPY_INCEPTION, **facts), origin, None
        case ["file", path]:
            raw = _read_table(Path(path), layout)
            prices = normalise(raw, path, layout.date_format, start, **facts)
            return prices, Path(path).name, None
        case ["ecb", path]:
            rates = read_ecb(Path(path), symbol, start, **facts)
            origin = (
                f"Source: European Central Bank. 1 / the euro foreign exchange reference rate of "
                f"{symbol}, from {Path(path).name} up to {rates.index[-1].date()}"
            )
            return rates, origin, ECB_LICENCE
    raise UserError(f"--source {' '.join(source)}: allowed: yahoo, or file PATH, or ecb PATH")


def _read_table(path: Path, layout: Layout) -> Frame:
    if not path.is_file():
        raise UserError(f"{path}: no such file; give --source file PATH, a CSV or parquet file")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, layout)
    except (ValueError, OSError, zipfile.BadZipFile) as error:  # those of pandas and pyarrow
        raise UserError(
            f"{path}: not readable as {'parquet' if path.suffix == '.parquet' else 'CSV'}: "
            f"{str(error).splitlines()[0]}"
        ) from None


def read_ecb(path: Path, symbol: str, start: str | None = None, **facts: Any) -> Frame:
    """The price of one unit of a currency in euro, from the ECB's file of all its reference rates.

    The file, a zip or a CSV, has a column of units per euro for each currency. The newest day
    stands first, and a day without a rate has N/A. Such days are left out, for the search for gaps
    to find. Raises `UserError` for a currency that the file does not have.
    """
    table = _read_table(path, Layout()).rename(columns=str.strip)
    names = [name for name in table.columns if name.isalpha() and name.isupper()]
    if "Date" not in table or symbol not in names:
        raise UserError(
            f"{path}: has no {symbol if names else 'column Date'}; allowed: the ECB's "
            f"eurofxref-hist.zip, and of its currencies {', '.join(names) or 'one'}"
        )
    rates = table[["Date", symbol]].dropna()
    closes = rates.assign(close=1 / pd.to_numeric(rates[symbol], errors="coerce"))
    return normalise(closes[["Date", "close"]], f"{path}, {symbol}", None, start, **facts)


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
    calendar: str = WEEKDAYS,
) -> Frame:
    """Any daily table as sound prices: lower-case columns, plain dates, one row a day, sorted.

    Rows before the day `start` are left out before anything is checked. Adjusted closes are left
    out, because each dividend rewrites their whole history. A time of day is cut off. A time zone
    is dropped without conversion, because the day that counts is the exchange's own. A table of
    dates and closes gives closes alone. Any other one needs open, high and low too, and a volume
    unless `volume` says that it is left out. Raises `UserError` for missing columns, unreadable
    dates, closes that do not move or a volume of only zeros for so long that features are
    undefined, and everything that `check_prices` refuses for the `calendar`.
    """
    table = raw.rename(columns=lambda name: str(name).strip().lower())
    dated = isinstance(raw.index, pd.DatetimeIndex) or str(raw.index.name).lower() == "date"
    if dated and "date" not in table.columns:
        table = table.rename_axis(index="date").reset_index()
    names: tuple[str, ...] = ("close",)
    if {*PRICE_COLUMNS}.intersection(table.columns) != {"close"}:
        names = PRICE_COLUMNS if volume else QUOTES
    missing = [name for name in ("date", *names) if name not in table.columns]
    if missing or table.columns.has_duplicates:
        raise UserError(
            f"{where}: columns are {', '.join(map(str, raw.columns))}; needed once each, in any "
            f"case and order: date, {', '.join(names)}, or date and close alone; other separators "
            "than commas are named with --delimiter"
        )
    days = _days(table["date"], where, date_format)
    prices = _numbers(table[list(names)], where).set_axis(days)
    prices = prices.rename_axis(columns=None).sort_index().loc[start:]
    if "volume" in prices:
        traded = prices["volume"]
        if np.isfinite(traded).all() and (traded == traded.round()).all():
            prices["volume"] = traded.astype("int64")
    check_prices(prices, where, calendar)
    _refuse_undefined_features(prices, where)
    return prices


def _numbers(table: Frame, where: str) -> Frame:
    """The columns as float64. Text that is no number becomes NaN, for `check_prices`."""
    numbers: Frame = table.apply(pd.to_numeric, errors="coerce").astype("float64")
    for name in map(str, numbers):
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


def _refuse_undefined_features(prices: Frame, where: str) -> None:
    """Refuse days of which every tier that is shipped has a feature without a value."""
    closes = prices["close"].rolling(FEATURE_DAYS)
    if days := _stretch_ending(closes.max().eq(closes.min())):
        raise UserError(
            f"{where}: the close is the same on {FEATURE_DAYS} or more days in a row between "
            f"{days}, and without a move the feature bollinger_b_20_2 is undefined; take another "
            "market, or leave those days out with --start DAY"
        )
    if "volume" not in prices:
        return
    if days := _stretch_ending(prices["volume"].rolling(FEATURE_DAYS).max().eq(0)):
        raise UserError(
            f"{where}: volume is zero on {FEATURE_DAYS} or more days in a row between {days}: the "
            "source gives none there, and the features obv_change_20, adosc_3_10 and vwap_20 "
            "divide by it; take a source with volume (for an index, a fund that follows it), leave "
            "those days out with --start DAY, or leave the volume out with --no-volume for "
            "features of closes alone (tier c14)"
        )


def _stretch_ending(rows: pd.Series) -> str | None:
    """The first and last of the days that end where `rows` is true, or None where it never is."""
    ends = np.flatnonzero(rows)
    if not len(ends):
        return None
    first, last = (str(rows.index[row])[:10] for row in (ends[0] - FEATURE_DAYS + 1, ends[-1]))
    return f"{first} and {last}"
