"""Check the data of an experiment and write the stamp that all its costly steps depend on.

    python -m scaling.check_data --config configs/daily/threshold_1pct.yaml \\
        --output results/daily/threshold_1pct/data.md5
"""

import argparse
from pathlib import Path

from scaling.config import load_config
from scaling.errors import run_command
from scaling.record import atomic_file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.check_data",
        description="Check prices and features, and write a stamp that `md5sum --check` can read.",
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Verify prices and features. Equal data give an equal stamp, so that nothing is rebuilt."""
    args = _parser().parse_args(argv)
    config = load_config(args.config)
    from scaling.data.features import check_dates, load_features, verified_market
    from scaling.data.prices import prices_of

    stamp, manifest = "", config.data.manifest
    for market in config.data.markets:
        prices_md5, features_md5 = verified_market(market, manifest)
        check_dates(prices_of(market, manifest), load_features(market.features), market.features)
        stamp += f"{prices_md5}  {market.prices}\n{features_md5}  {market.features}\n"
    with atomic_file(args.output) as stream:
        stream.write(stamp.encode())
    print(
        f"wrote {args.output}: the prices are registered, and the features are theirs; "
        f"next: python -m scaling.train --config {args.config}"
    )


if __name__ == "__main__":
    run_command(main)
