"""Build the feature table from registered prices, or register one that was made elsewhere.

    python -m scaling.prepare --prices data/raw/SPY.parquet --manifest data/manifest.json \\
        --output data/processed/v1/SPY_features_a20.parquet
    python -m scaling.prepare --prices data/raw/SPY.parquet --manifest data/manifest.json \\
        --table mine.parquet --output data/raw/SPY_features_external.parquet
"""

import argparse
from pathlib import Path
from typing import Any

from scaling.data.manifest import facts_of, verify
from scaling.digest import features_digest
from scaling.errors import UserError, run_command
from scaling.names import EXTERNAL, features_record, tier_named
from scaling.record import file_md5, provenance, write_json, write_parquet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.prepare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--prices", type=Path, required=True)
    add("--manifest", type=Path, required=True)
    add(
        "--output",
        type=Path,
        required=True,
        help="such as SPY_features_a20.parquet, for tier a20; its record goes beside it as .json",
    )
    add("--table", type=Path, help="parquet with dates and features, to be registered as it is")
    add("--origin", help="where the table comes from, for the manifest (default: its file name)")
    add("--replace", action="store_true", help="replace a registered table that differs")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Verify the prices, then build the features, or check and register the table."""
    args = _parser().parse_args(argv)
    tier = tier_named(args.output)
    if (tier == EXTERNAL) != (args.table is not None):
        raise UserError(
            f"--output {args.output}: {'no' if args.table is None else 'a'} --table is given; "
            f"allowed: a table with an output such as SPY_features_{EXTERNAL}.parquet, and only it"
        )
    from scaling.data.prices import load_prices

    prices_md5 = verify(args.prices, args.manifest)
    calendar = facts_of(args.prices, args.manifest)["calendar"]
    prices = load_prices(args.prices, calendar)
    if args.table:
        _register(args, prices)
    else:
        _build(args, prices, tier, {"prices_md5": prices_md5, "calendar": calendar})


def _build(args: argparse.Namespace, prices: Any, tier: str, made_from: dict[str, str]) -> None:
    """Build the features of a tier, and write them with their record."""
    from scaling.data import features
    from scaling.data.tiers import tier_of

    if missing := [name for name in tier_of(tier).NEEDS if name not in prices]:
        raise UserError(
            f"{args.prices}: has no {', '.join(missing)}, and tier {tier} needs it; in the config "
            "name features of a tier that needs closes alone, such as c14"
        )
    table = features.build_features(prices, tier, made_from["calendar"])
    features.check_dates(prices, table, args.output)
    write_parquet(args.output, table)
    first, last = (str(day)[:10] for day in (table.index[0], table.index[-1]))
    record = {
        "kind": "features",
        "features_md5": file_md5(args.output),
        "prices": str(args.prices),
        "rows": len(table),
        "rows_dropped": len(prices) - len(table),
        "first_date": first,
        "last_date": last,
        "names": list(table.columns),
        "tier": tier,
        **made_from,
        "code_digest": features_digest(tier),
        **provenance(),
    }
    write_json(features_record(args.output, args.manifest), record)
    print(
        f"wrote {args.output}: {len(table):,} days, {first} to {last}, {table.shape[1]} features "
        f"(the first {record['rows_dropped']} of {len(prices):,} days only fill the averages); "
        "next: python -m scaling.check_data --config CONFIG --output STAMP"
    )


def _register(args: argparse.Namespace, prices: Any) -> None:
    """Register a table that was made elsewhere."""
    from scaling.data.external import take_in

    table = take_in(args.table, args.output, prices, args.manifest, args.origin, args.replace)
    first, last = (str(day)[:10] for day in (table.index[0], table.index[-1]))
    print(
        f"registered {args.output} in {args.manifest}: {len(table):,} days, {first} to {last}, "
        f"{table.shape[1]} features; whether they look ahead cannot be checked here\n"
        f"next: name it in a config, data: {{prices: {args.prices}, features: {args.output}}}"
    )


if __name__ == "__main__":
    run_command(main)
