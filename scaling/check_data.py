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
    data = config.data
    from scaling.data.features import check_dates, load_features, verified_data
    from scaling.data.prices import prices_of

    prices_md5, features_md5 = verified_data(config)
    check_dates(prices_of(data), load_features(data.features), data.features)
    stamp = f"{prices_md5}  {data.prices}\n{features_md5}  {data.features}\n"
    with atomic_file(args.output) as stream:
        stream.write(stamp.encode())
    print(
        f"wrote {args.output}: the prices are registered, the features were built from them; "
        f"next: python -m scaling.train --config {args.config}"
    )


if __name__ == "__main__":
    run_command(main)
