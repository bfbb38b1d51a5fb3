"""Bring daily prices in, show what they change, and register them in the manifest.

python -m scaling.fetch SPY --source yahoo
python -m scaling.fetch SPY --source file PATH
"""

import argparse
import datetime
import hashlib
from pathlib import Path
from typing import Any

from scaling.config import DEFAULT_TIER
from scaling.data.manifest import FACTS, register, registered_entry, resource_path
from scaling.errors import UserError, run_command
from scaling.record import file_md5, write_parquet

SPY_INCEPTION = "1993-01-29"
DEFAULT_PRICES = Path("data/raw/SPY.parquet")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.fetch", description=__doc__)
    add = parser.add_argument
    add("symbol", help="ticker, for example SPY")
    add("--source", nargs="+", required=True, metavar="yahoo | file PATH")
    add("--start", help=f"leave out the days before; default for Yahoo: {SPY_INCEPTION}")
    add("--output", type=Path, help="default: data/raw/SYMBOL.parquet")
    add("--manifest", type=Path, default=Path("data/manifest.json"))
    add("--origin", help="where the numbers come from, for the manifest")
    add("--licence", help="SPDX identifier, for the manifest, for example MIT")
    add("--replace", action="store_true", help="replace a file that differs")
    add("--delimiter", default=",", help="between the columns of a CSV file, for example ';'")
    add("--decimal", default=".", help="the decimal point of a CSV file, for example ,")
    add("--date-format", help="the days of a CSV file, for example %%d/%%m/%%Y; default: ISO")
    add("--adjusted", action="store_true", help="the prices are adjusted for dividends")
    add("--no-volume", dest="volume", action="store_false", help="leave it out, for tier c14")
    add("--calendar", choices=("weekdays", "every_day"), default="weekdays", help="days with rows")
    add(
        "--allow",
        nargs=3,
        action="append",
        default=[],
        metavar=("KIND", "DATES", "REASON"),
        help="a finding that is true, for example: gap 2001-09-11/2001-09-14 'exchange closed'",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Read the prices, show what they change, refuse or write them, and register them."""
    args = _parser().parse_args(argv)
    output = args.output or Path("data/raw") / f"{args.symbol}.parquet"
    resource_path(output, args.manifest)  # raises before anything is read or written
    from scaling.data.plausibility import join_allowed, refuse_implausible
    from scaling.data.prices import compare

    prices, origin = _read(args)
    first, last = (str(day.date()) for day in (prices.index[0], prices.index[-1]))
    entry = (registered_entry(output, args.manifest) if args.manifest.exists() else None) or {}
    registered = entry["hash"].removeprefix("md5:") if entry else None
    on_disk = file_md5(output) if output.is_file() else None
    new = hashlib.md5(prices.to_parquet(), usedforsecurity=False).hexdigest()
    print(f"{args.symbol}: {len(prices):,} rows, {first} to {last}, MD5 {new}")
    print(f"{output}: registered MD5 {registered or 'none'}, on disk {on_disk or 'none'}")

    # Numbers are compared and not MD5s: another pyarrow may write the same numbers as other bytes.
    equal, change = compare(output, prices, args.calendar)
    former = FACTS | entry
    print(change)
    known = {key: getattr(args, key) for key in ("adjusted", "volume", "calendar")}
    known["allowed"] = join_allowed(former["allowed"], args.allow)
    refuse_implausible(prices, known, args.source[-1])
    unchanged = equal and registered == on_disk
    if unchanged and known == {key: former[key] for key in known}:
        print(f"nothing changes; {_next(output, args.volume)}")
        return
    if not args.replace and not unchanged and ({registered, on_disk} - {None, new}):
        raise UserError(
            f"{output}: other prices are on disk or registered (see above), and results were made "
            "from them; to replace them, give the same command with --replace"
        )
    if not unchanged:
        write_parquet(output, prices)
    register(
        output,
        args.manifest,
        rows=len(prices),
        first_date=first,
        last_date=last,
        origin=args.origin or (None if unchanged or registered == new else origin),
        licence=args.licence,
        **known,
    )
    print(f"registered {output} in {args.manifest}; {_next(output, args.volume)}")


def _read(args: argparse.Namespace) -> tuple[Any, str]:
    """The prices (a data frame), and their origin, which `--origin` can replace."""
    from scaling.data.sources import Layout, read_file, read_yahoo

    try:
        start = args.start and datetime.date.fromisoformat(args.start).isoformat()
    except ValueError:
        raise UserError(
            f"--start {args.start}: not a date; allowed: a day such as {SPY_INCEPTION}"
        ) from None
    market = {"volume": args.volume, "calendar": args.calendar}
    match args.source:
        case ["yahoo"]:
            origin = f"Yahoo Finance through yfinance, {args.symbol}, unadjusted"
            return read_yahoo(args.symbol, start or SPY_INCEPTION, **market), origin
        case ["file", path]:
            layout = Layout(args.delimiter, args.decimal, args.date_format)
            return read_file(Path(path), layout, start, **market), Path(path).name
    raise UserError(f"--source {' '.join(args.source)}: allowed: yahoo, or file PATH")


def _next(output: Path, volume: bool) -> str:
    if output == DEFAULT_PRICES:
        return "next: snakemake results/daily/threshold_1pct/2m.ckpt"
    tier = DEFAULT_TIER if volume else "c14"
    named = f"prices: {output}, features: data/processed/v1/{output.stem}_features_{tier}.parquet"
    return f"next: name both in a config, data: {{{named}}}, and train that"


if __name__ == "__main__":
    run_command(main)
