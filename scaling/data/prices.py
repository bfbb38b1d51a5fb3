"""Daily prices: the one form that every command reads, and the checks that hold them to it."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.config import Market
from scaling.data.calendars import WEEKDAYS, week_end
from scaling.data.manifest import facts_of
from scaling.errors import UserError

Frame = pd.DataFrame
QUOTES = ("open", "high", "low", "close")
PRICE_COLUMNS = (*QUOTES, "volume")
# An index may have no volume, and a fixing is one price a day.
COLUMN_SETS = (PRICE_COLUMNS, QUOTES, ("close",))
SHOWN = 5  # a message lists this many dates and counts the rest


def rows_named(dates: pd.Index, wrong: Any) -> str:
    """The number of rows where `wrong` is true, and the dates of the first few."""
    found = dates[np.asarray(wrong, dtype=bool)]
    shown = ", ".join(str(d)[:10] if str(d).endswith("00:00:00") else str(d) for d in found[:SHOWN])
    return f"{len(found)} row(s): {shown}{', …' if len(found) > SHOWN else ''}"


def check_prices(prices: Frame, where: str | Path, calendar: str = WEEKDAYS) -> Frame:
    """Return `prices` unchanged if they are sound daily prices.

    Sound prices have a sorted, unique DatetimeIndex named `date`, without time of day or time zone
    and without weekends (days shifted by a time zone show up as Sundays) unless the `calendar` is
    every_day. Their columns are one of `COLUMN_SETS`: open, high, low, close (float64, positive,
    finite, low <= open, close <= high) and volume (int64, not negative), or these without volume,
    or close alone. Anything else is a `UserError` that names `where` and the rows.
    """
    if tuple(prices.columns) not in COLUMN_SETS:
        raise UserError(
            f"{where}: columns are {', '.join(map(str, prices.columns))}; "
            f"allowed: {', or '.join(', '.join(names) for names in COLUMN_SETS)}"
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
    columns = [str(name) for name in prices]
    quotes = prices[[name for name in QUOTES if name in columns]]
    faults = [
        ("date missing", dates.isna()),
        ("date with a time of day", dates.notna() & (dates != dates.normalize())),
        ("date twice", dates.duplicated()),
        ("date not after the one before", np.r_[False, np.diff(dates.asi8) < 0]),
        ("date on a weekend", dates.day_of_week > week_end(calendar)),
        *((f"{n} not a finite number", ~np.isfinite(prices[n])) for n in columns),
        *((f"{n} not above zero", quotes[n] <= 0) for n in quotes),
    ]
    if "high" in prices:
        faults += [
            ("high below open, close or low", prices["high"] < quotes.max(axis=1)),
            ("low above open or close", prices["low"] > quotes.min(axis=1)),
        ]
    if "volume" in prices:
        faults += [
            ("volume not a whole number", prices["volume"] % 1 > 0),
            ("volume below zero", prices["volume"] < 0),
        ]
    found = [f"{fault} in {rows_named(dates, wrong)}" for fault, wrong in faults if np.any(wrong)]
    if found:
        raise UserError(f"{where}: {'; '.join(found)}; mend those rows in the source and fetch it")
    if not (quotes.dtypes == np.float64).all():
        raise UserError(
            f"{where}: {', '.join(map(str, quotes))} must be float64: {dict(prices.dtypes)}"
        )
    if "volume" in prices and prices["volume"].dtype != np.int64:
        raise UserError(f"{where}: volume is {prices['volume'].dtype}, must be int64")
    return prices


def read_parquet(path: Path) -> Frame:
    """The table in a parquet file; a `UserError` if the file is not parquet."""
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable parquet file: {first}") from None


def load_prices(path: str | Path, calendar: str = WEEKDAYS) -> Frame:
    """Read a registered parquet file and check it with `check_prices`."""
    return check_prices(read_parquet(Path(path)), path, calendar)


def prices_of(market: Market, manifest: Path) -> Frame:
    """The prices of a market, checked for the calendar that the manifest says they have."""
    return load_prices(market.prices, facts_of(market.prices, manifest)["calendar"])


def daily_ranges(prices: Frame) -> npt.NDArray[np.float64]:
    """The range of each day, log(high / low) in per cent, [rows]; 0 where only closes are known."""
    if "high" not in prices:
        return np.zeros(len(prices))
    ranges: npt.NDArray[np.float64] = 100 * np.log((prices["high"] / prices["low"]).to_numpy())
    return ranges


def compare(path: Path, new: Frame, calendar: str) -> tuple[str, str]:
    """How `new` relates to the prices in a file, and what it would change there, in words.

    It is the "same" numbers, or "longer" (the same with later days), or "other".
    """
    if not path.exists():
        return "other", f"{path}: there is no such file yet"
    try:
        current = load_prices(path, calendar)
    except UserError as error:
        return "other", f"the file on disk cannot be compared: {error}"
    longer = new.loc[: current.index[-1]].equals(current)
    relation = "same" if current.equals(new) else "longer" if longer else "other"
    return relation, describe_change(current, new)


def describe_change(old: Frame, new: Frame) -> str:
    """Count the days that are added, removed and changed, and name the first few."""
    both = old.index.intersection(new.index)
    was, now = old.loc[both].align(new.loc[both], axis=1)  # a column may come or go
    changed = both[was.ne(now).any(axis=1).to_numpy()]
    groups = {
        "added": new.index.difference(old.index),
        "removed": old.index.difference(new.index),
        "changed": changed,
    }
    lines = []
    for name, dates in groups.items():
        days = ", ".join(str(d.date()) for d in dates[:SHOWN])
        more = f", … {dates[-1].date()}" if len(dates) > SHOWN else ""
        lines.append(f"  {name:8}{len(dates):6,} rows{': ' if days else ''}{days}{more}")
    for day in changed[:SHOWN]:
        cells = [
            f"{name} {before} -> {after}"
            for name, before, after in zip(was.columns, was.loc[day], now.loc[day], strict=True)
            if before != after
        ]
        lines.append(f"    {day.date()}: {', '.join(cells)}")
    return "\n".join(lines)
