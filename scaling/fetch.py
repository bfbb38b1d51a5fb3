"""Bring daily prices in, show what they change, and register them in the manifest.

python -m scaling.fetch SPY QQQ --source yahoo
python -m scaling.fetch SPY --source file PATH
python -m scaling.fetch --source ecb eurofxref-hist.zip [USD JPY]
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from scaling.data.manifest import FACTS, register, resource_path
from scaling.errors import UserError, run_command
from scaling.names import DEFAULT_TIER
from scaling.record import file_md5, write_parquet
from scaling.registry import registered_entry


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.fetch", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("symbols", nargs="*", metavar="SYMBOL", help="ticker, for example SPY; file: one alone")
    add("--source", nargs="+", required=True, metavar="yahoo | file PATH | ecb PATH")
    add("--start", help="leave out the days before; default for Yahoo: 1993-01-29")
    add("--output", type=Path, help="default: data/raw/SYMBOL.parquet")
    add("--manifest", type=Path, default=Path("data/manifest.json"))
    add("--origin", help="where the numbers come from, for the manifest")
    add("--licence", help="SPDX identifier, for the manifest, for example MIT")
    add("--replace", action="store_true", help="replace a file that differs")
    add("--delimiter", default=",", help="between the columns of a CSV file, for example ';'")
    add("--decimal", default=".", help="the decimal point of a CSV file, for example ,")
    add("--date-format", help="the days of a CSV file, for example %%d/%%m/%%Y; default: ISO")
    add("--adjusted", action="store_true", help="the prices are adjusted for dividends")
    add("--no-volume", dest="volume", action="store_false", help="without: tier c14 needs none")
    add("--calendar", help="its days: XNYS (default), XECB (ecb), every_day, weekdays, XLON, …")
    true = "a finding that is true, for example: outlier 2010-05-06 'the flash crash'"
    parts = ("KIND", "DATES", "REASON")
    add("--allow", nargs=3, action="append", default=[], metavar=parts, help=true)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Bring in each symbol. One that fails does not keep the others from being registered."""
    args = _parser().parse_args(argv)
    from scaling.data.sources import split_symbols

    args.source, symbols = split_symbols(args.source, args.symbols)
    if len(symbols) == 1:
        return _bring_in(symbols[0], args)
    if not symbols or args.output or args.allow or args.source[0] == "file":
        raise UserError(
            f"got the symbols {', '.join(symbols) or 'none'}; allowed: one, or several with "
            "--source yahoo or ecb and without --output or --allow; give them one by one"
        )
    failed = []
    for symbol in symbols:
        try:
            _bring_in(symbol, args)
        except UserError as error:
            print(f"{symbol}: failed: {error}")
            failed.append(symbol)
    if failed:
        done = ", ".join(symbol for symbol in symbols if symbol not in failed) or "none"
        raise UserError(f"failed: {', '.join(failed)} (see above); brought in: {done}")


def _bring_in(symbol: str, args: argparse.Namespace) -> None:
    """Read the prices, show what they change, refuse or write them, and register them."""
    output = args.output or Path("data/raw") / f"{symbol}.parquet"
    resource_path(output, args.manifest)  # raises before anything is read or written
    from scaling.data.plausibility import join_allowed, refuse_implausible
    from scaling.data.prices import compare
    from scaling.data.sources import Layout, read_source, usual_calendar

    entry = (registered_entry(output, args.manifest) if args.manifest.exists() else None) or {}
    former = FACTS | {"calendar": usual_calendar(args.source)} | entry
    calendar = args.calendar or former["calendar"]
    layout = Layout(args.delimiter, args.decimal, args.date_format)
    market = {"volume": args.volume, "calendar": calendar}
    prices, origin, licence = read_source(args.source, symbol, args.start, layout, **market)
    first, last = (str(day.date()) for day in (prices.index[0], prices.index[-1]))
    registered = entry["hash"].removeprefix("md5:") if entry else None
    on_disk = file_md5(output) if output.is_file() else None
    new = hashlib.md5(prices.to_parquet(), usedforsecurity=False).hexdigest()
    print(f"{symbol}: {len(prices):,} rows, {first} to {last}, MD5 {new}")
    # Numbers are compared and not MD5s: another pyarrow may write the same numbers as other bytes.
    relation, change = compare(output, prices, calendar)
    print(f"{output}: registered MD5 {registered or 'none'}, on disk {on_disk or 'none'}\n{change}")
    known = {"adjusted": args.adjusted, "calendar": calendar}
    known["allowed"] = join_allowed(former["allowed"], args.allow)
    refuse_implausible(prices, known, args.source[-1])
    unchanged = relation == "same" and registered == on_disk
    if unchanged and known == {key: entry.get(key) for key in known}:
        print(f"nothing changes; {_next(output, prices)}")
        return
    kept = relation != "other" and registered == on_disk
    if not args.replace and not kept and ({registered, on_disk} - {None, new}):
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
        licence=args.licence or licence,
        columns=[*map(str, prices)],
        **known,
    )
    print(f"registered {output} in {args.manifest}; {_next(output, prices)}")


def _next(output: Path, prices: Any) -> str:
    if output == Path("data/raw/SPY.parquet"):
        return "next: snakemake results/daily/threshold_1pct/2m.ckpt"
    tier = DEFAULT_TIER if "volume" in prices else "c14"
    named = f"prices: {output}, features: data/processed/v1/{output.stem}_features_{tier}.parquet"
    return f"next: name both in a config, data: {{{named}}}, and train that"


if __name__ == "__main__":
    run_command(main)
