"""Bring daily prices in, show what they change, and register them in the manifest.

python -m scaling.fetch SPY --source yahoo
python -m scaling.fetch SPY --source file PATH
"""

import argparse
import datetime
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.data.manifest import register, registered_md5, resource_path
from scaling.errors import UserError, run_command
from scaling.record import file_md5, write_parquet

if TYPE_CHECKING:
    import pandas as pd

SPY_INCEPTION = "1993-01-29"
DEFAULT_PRICES = Path("data/raw/SPY.parquet")


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
    """Read the prices, show what they change, refuse or write them, and register them."""
    args = _parser().parse_args(argv)
    output = args.output or Path("data/raw") / f"{args.symbol}.parquet"
    resource_path(output, args.manifest)  # raises before anything is read or written
    prices, origin = _read(args)
    registered = registered_md5(output, args.manifest) if args.manifest.exists() else None
    on_disk = file_md5(output) if output.is_file() else None
    new = _digest(prices)
    first, last = (str(day.date()) for day in (prices.index[0], prices.index[-1]))

    print(f"{args.symbol}: {len(prices):,} rows, {first} to {last}, MD5 {new}")
    print(f"{output}: registered MD5 {registered or 'none'}, on disk {on_disk or 'none'}")
    # The numbers are compared and not the MD5s, because another pyarrow may write the same numbers
    # as other bytes.
    if _same_on_disk(prices, output) and registered == on_disk:
        print(f"nothing changes; {_next(output)}")
        return
    if not args.replace and ({registered, on_disk} - {None, new}):
        raise UserError(
            f"{output}: other prices are on disk or registered (see above), and results were made "
            "from them; to replace them, give the same command with --replace"
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


def _read(args: argparse.Namespace) -> "tuple[pd.DataFrame, str]":
    """The prices, and what the manifest says of their origin unless the user says it."""
    from scaling.data.sources import read_file, read_yahoo

    match args.source:
        case ["yahoo"]:
            origin = f"Yahoo Finance through yfinance, {args.symbol}, unadjusted"
            return read_yahoo(args.symbol, _day(args.start)), origin
        case ["file", path]:
            return read_file(Path(path)), Path(path).name
    raise UserError(f"--source {' '.join(args.source)}: allowed: yahoo, or file PATH")


def _day(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UserError(f"--start {text}: not a date; allowed: a day such as 1993-01-29") from None


def _digest(prices: "pd.DataFrame") -> str:
    """The MD5 that the prices have once they are written."""
    with tempfile.TemporaryDirectory() as directory:
        write_parquet(Path(directory) / "prices.parquet", prices)
        return file_md5(Path(directory) / "prices.parquet")


def _same_on_disk(prices: "pd.DataFrame", output: Path) -> bool:
    """Print what `prices` change in the file on disk; true if they change nothing."""
    from scaling.data.prices import describe_change, load_prices

    if not output.exists():
        print(f"{output}: there is no such file yet")
        return False
    try:
        current = load_prices(output)
    except UserError as error:
        print(f"the file on disk cannot be compared: {error}")
        return False
    print(describe_change(current, prices))
    return current.equals(prices)


def _next(output: Path) -> str:
    if output == DEFAULT_PRICES:
        return "next: snakemake results/daily/threshold_1pct/2m.ckpt"
    features = f"data/processed/v1/{output.stem}_features_a20.parquet"
    return (
        f"next: name both in a config, data: {{prices: {output}, features: {features}}}, "
        "and train that"
    )


if __name__ == "__main__":
    run_command(main)
