"""Bring daily prices in, show what they change, and register them in the manifest.

python -m scaling.fetch SPY --source yahoo
python -m scaling.fetch SPY --source file PATH
"""

import argparse
import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from scaling.data.manifest import register, registered_md5, resource_path
from scaling.errors import UserError, run_command
from scaling.record import file_md5, write_parquet

if TYPE_CHECKING:
    import pandas as pd

SPY_INCEPTION = "1993-01-29"
EXCHANGE_ZONE = ZoneInfo("America/New_York")
DEFAULT_PRICES = Path("data/raw/SPY.parquet")
SHOWN = 5


def normalise(raw: "pd.DataFrame", where: str) -> "pd.DataFrame":
    """Anybody's daily table as sound OHLCV: lower-case columns, plain dates, one row a day.

    Adjusted closes are left out: each dividend rewrites their whole history. A time zone is
    dropped and not converted, for the exchange's own day is meant, and a time of day is cut off.
    Raises `UserError` for missing columns, unreadable dates or values, and what `check_prices`
    refuses.
    """
    import numpy as np
    import pandas as pd

    from scaling.data.prices import PRICE_COLUMNS, check_prices

    table = raw.rename(columns=lambda name: str(name).strip().lower())
    dated = isinstance(raw.index, pd.DatetimeIndex) or str(raw.index.name).lower() == "date"
    if dated and "date" not in table.columns:
        table = table.rename_axis(index="date").reset_index()
    twice = table.columns[table.columns.duplicated()]
    missing = [name for name in ("date", *PRICE_COLUMNS) if name not in table.columns]
    if missing or len(twice):
        raise UserError(
            f"{where}: columns are {', '.join(map(str, raw.columns))}; needed once each, in any "
            f"case and order: date, {', '.join(PRICE_COLUMNS)}"
        )
    column = table["date"]
    if not pd.api.types.is_datetime64_any_dtype(column):
        # The day as written: offsets that change with summer time would not parse as one type.
        try:
            column = pd.to_datetime(column.astype("str").str[:10], format="%Y-%m-%d")
        except ValueError as error:
            first = str(error).splitlines()[0]
            raise UserError(f"{where}: date: {first}; allowed: days such as 1993-01-29") from None
    dates = pd.DatetimeIndex(column, name="date").tz_localize(None).normalize().as_unit("us")
    if dates.hasnans:
        missing = [str(row) for row, day in enumerate(dates, start=1) if pd.isna(day)]
        shown = ", ".join(missing[:SHOWN])
        raise UserError(f"{where}: date missing in {len(missing)} row(s), number {shown}")
    numbers = table[list(PRICE_COLUMNS)].apply(pd.to_numeric, errors="coerce").astype("float64")
    prices = numbers.set_axis(dates).rename_axis(columns=None).sort_index()
    volume = prices["volume"]
    if np.isfinite(volume).all() and (volume == volume.round()).all():
        prices["volume"] = volume.astype("int64")
    return check_prices(prices, where)


def read_file(path: Path) -> "pd.DataFrame":
    """A user's own CSV or parquet file, as `normalise` makes it."""
    import pandas as pd

    if not path.is_file():
        raise UserError(f"{path}: no such file; give --source file PATH, a CSV or parquet file")
    try:
        raw = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's parse errors are ValueErrors
        raise UserError(
            f"{path}: not readable as {'parquet' if path.suffix == '.parquet' else 'CSV'}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return normalise(raw, str(path))


def read_yahoo(symbol: str, start: str) -> "pd.DataFrame":
    """Unadjusted daily prices (Yahoo takes splits into account) from `start` to yesterday.

    Today's row is left out: until the close it is not a day yet.
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
    except Exception as error:  # whatever the network and Yahoo do, it is not this code's fault
        raise UserError(
            f"{where}: {type(error).__name__}: {error}; try again later, or give --source file PATH"
        ) from error
    if raw is None or raw.empty:
        raise UserError(
            f"{where}: no rows from {start} on; check the symbol and the network, or give "
            "--source file PATH"
        )
    return normalise(raw, where)


def describe_change(old: "pd.DataFrame", new: "pd.DataFrame") -> str:
    """Which days are added, removed and changed, the first few by date."""
    both = old.index.intersection(new.index)
    differs = old.loc[both].ne(new.loc[both]).any(axis=1).to_numpy()
    groups: list[tuple[str, Any]] = [
        ("added", new.index.difference(old.index)),
        ("removed", old.index.difference(new.index)),
        ("changed", both[differs]),
    ]
    lines = []
    for name, dates in groups:
        days = ", ".join(str(d.date()) for d in dates[:SHOWN])
        more = f", … {dates[-1].date()}" if len(dates) > SHOWN else ""
        lines.append(f"  {name:8}{len(dates):6,} rows{': ' if days else ''}{days}{more}")
    for day in both[differs][:SHOWN]:
        cells = [
            f"{name} {was} -> {now}"
            for name, was, now in zip(old.columns, old.loc[day], new.loc[day], strict=True)
            if was != now
        ]
        lines.append(f"    {day.date()}: {', '.join(cells)}")
    return "\n".join(lines)


def _current(output: Path) -> "pd.DataFrame | None":
    """The prices now on disk; None, with a word, if there are none that can be read."""
    from scaling.data.prices import load_prices

    if not output.exists():
        print(f"{output}: not there yet")
        return None
    try:
        return load_prices(output)
    except UserError as error:
        print(f"the file now on disk cannot be compared: {error}")
        return None


def _digest(prices: "pd.DataFrame") -> str:
    """The MD5 that the file will have."""
    with tempfile.TemporaryDirectory() as directory:
        write_parquet(Path(directory) / "prices.parquet", prices)
        return file_md5(Path(directory) / "prices.parquet")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.fetch", description=__doc__)
    parser.add_argument("symbol", help="ticker, for example SPY")
    parser.add_argument("--source", nargs="+", required=True, metavar="yahoo | file PATH")
    parser.add_argument("--start", default=SPY_INCEPTION, help="first day to ask Yahoo for")
    parser.add_argument("--output", type=Path, help="default: data/raw/SYMBOL.parquet")
    parser.add_argument("--manifest", type=Path, default=Path("data/manifest.json"))
    parser.add_argument("--origin", help="where the numbers come from, for the manifest")
    parser.add_argument("--licence", help="SPDX identifier, for the manifest, for example MIT")
    parser.add_argument("--replace", action="store_true", help="replace a file that differs")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fetch, compare, refuse or write, register."""
    args = _parser().parse_args(argv)
    match args.source:
        case ["yahoo"]:
            origin = f"Yahoo Finance through yfinance, {args.symbol}, unadjusted"
            prices = read_yahoo(args.symbol, _day(args.start))
        case ["file", path]:
            origin = Path(path).name
            prices = read_file(Path(path))
        case other:
            raise UserError(f"--source {' '.join(other)}: allowed: yahoo, or file PATH")
    output = args.output or Path("data/raw") / f"{args.symbol}.parquet"
    resource_path(output, args.manifest)  # refused here, before anything is written
    registered = registered_md5(output, args.manifest) if args.manifest.exists() else None
    on_disk = file_md5(output) if output.is_file() else None
    new = _digest(prices)
    first, last = (str(day.date()) for day in (prices.index[0], prices.index[-1]))

    print(f"{args.symbol}: {len(prices):,} rows, {first} to {last}, MD5 {new}")
    print(f"{output}: registered MD5 {registered or 'none'}, on disk {on_disk or 'none'}")
    current = _current(output)
    if current is not None:
        print(describe_change(current, prices))
        # Values and not bytes: another pyarrow may write the same numbers as other bytes.
        if registered == on_disk and current.equals(prices):
            print(f"nothing changes; {_next(output)}")
            return
    if not args.replace and ({registered, on_disk} - {None, new}):
        raise UserError(
            f"{output}: holds or registers other prices (above), and results were made from them; "
            "to replace them, give the same command with --replace"
        )
    write_parquet(output, prices)
    register(
        output,
        args.manifest,
        rows=len(prices),
        first_date=first,
        last_date=last,
        origin=args.origin or origin,
        licence=args.licence,
    )
    print(f"wrote {output}, registered in {args.manifest}; {_next(output)}")


def _next(output: Path) -> str:
    if output == DEFAULT_PRICES:
        return "next: snakemake results/daily/threshold_1pct/2m.ckpt"
    features = f"data/processed/v1/{output.stem}_features_a20.parquet"
    return (
        f"next: name both in a config, data: {{prices: {output}, features: {features}}}, "
        "and train that"
    )


def _day(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"--start {text}: not a date; allowed: a day such as 1993-01-29") from None


if __name__ == "__main__":
    run_command(main)
