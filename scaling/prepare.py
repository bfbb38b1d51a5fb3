"""Build the feature table from registered prices, and record what it was built from.

    python -m scaling.prepare --prices data/raw/SPY.parquet --manifest data/manifest.json \\
        --output data/processed/v1/SPY_features_a20.parquet
"""

import argparse
from pathlib import Path

from scaling.config import features_record
from scaling.data.manifest import verify
from scaling.digest import code_digest
from scaling.errors import UserError, run_command
from scaling.record import file_md5, provenance, write_json, write_parquet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.prepare", description="Build the feature table from prices."
    )
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument(
        "--output", type=Path, required=True, help="a .parquet; its record goes beside it as .json"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Verify the prices, build the features, and write them with their record."""
    args = _parser().parse_args(argv)
    if args.output.suffix != ".parquet":
        raise UserError(f"--output {args.output}: allowed: a name that ends in .parquet")
    from scaling.data import features
    from scaling.data.prices import load_prices

    prices_md5 = verify(args.prices, args.manifest)
    prices = load_prices(args.prices)
    table = features.build_features(prices)
    features.check_dates(prices, table, args.output)
    write_parquet(args.output, table)
    first, last = (str(day)[:10] for day in (table.index[0], table.index[-1]))
    record = {
        "kind": "features",
        "features_md5": file_md5(args.output),
        "prices": str(args.prices),
        "prices_md5": prices_md5,
        "rows": len(table),
        "rows_dropped": features.ROWS_DROPPED,
        "first_date": first,
        "last_date": last,
        "names": list(features.FEATURE_NAMES),
        "code_digest": code_digest("data.features:build_features"),
        **provenance(),
    }
    write_json(features_record(args.output), record)
    print(
        f"wrote {args.output}: {len(table):,} days, {first} to {last}, {table.shape[1]} features "
        f"(the first {features.ROWS_DROPPED} of {len(prices):,} days only fill the averages); "
        "next: python -m scaling.check_data --config CONFIG --output STAMP"
    )


if __name__ == "__main__":
    run_command(main)
