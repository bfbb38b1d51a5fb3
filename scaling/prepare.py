"""Build the feature table from registered prices, and record what it was built from.

    python -m scaling.prepare --prices data/raw/SPY.parquet --manifest data/manifest.json \\
        --output data/processed/v1/SPY_features_a20.parquet
"""

import argparse
from pathlib import Path

from scaling.config import features_record, tier_named
from scaling.data.manifest import facts_of, verify
from scaling.digest import features_digest
from scaling.errors import UserError, run_command
from scaling.record import file_md5, provenance, write_json, write_parquet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.prepare", description="Build the feature table from prices."
    )
    parser.add_argument("--prices", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="such as SPY_features_a20.parquet, for tier a20; its record goes beside it as .json",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Verify the prices, build the features, and write them with their record."""
    args = _parser().parse_args(argv)
    tier = tier_named(args.output)
    from scaling.data import features
    from scaling.data.prices import load_prices
    from scaling.data.tiers import tier_of

    prices_md5 = verify(args.prices, args.manifest)
    facts = facts_of(args.prices, args.manifest)
    if tier_of(tier).NEEDS_VOLUME and not facts["volume"]:
        raise UserError(
            f"{args.prices} is registered without volume, and tier {tier} needs one; in the config "
            "name features of a tier that needs none, such as c14"
        )
    prices = load_prices(args.prices, facts["calendar"])
    table = features.build_features(prices, tier, facts["calendar"])
    features.check_dates(prices, table, args.output)
    write_parquet(args.output, table)
    first, last = (str(day)[:10] for day in (table.index[0], table.index[-1]))
    record = {
        "kind": "features",
        "features_md5": file_md5(args.output),
        "prices": str(args.prices),
        "prices_md5": prices_md5,
        "rows": len(table),
        "rows_dropped": len(prices) - len(table),
        "first_date": first,
        "last_date": last,
        "names": list(table.columns),
        "tier": tier,
        "calendar": facts["calendar"],
        "code_digest": features_digest(tier),
        **provenance(),
    }
    write_json(features_record(args.output), record)
    print(
        f"wrote {args.output}: {len(table):,} days, {first} to {last}, {table.shape[1]} features "
        f"(the first {record['rows_dropped']} of {len(prices):,} days only fill the averages); "
        "next: python -m scaling.check_data --config CONFIG --output STAMP"
    )


if __name__ == "__main__":
    run_command(main)
