"""Check the data of an experiment and write the stamp that all its costly steps depend on.

    python -m scaling.check_data --config configs/daily/threshold_1pct.yaml \\
        --output results/daily/threshold_1pct/data.md5
"""

import argparse
from pathlib import Path

from scaling.config import TrainingConfig, load_config
from scaling.errors import UserError, run_command
from scaling.identities import newest_of, of_fold, origins_of
from scaling.names import artefact, experiment_name
from scaling.record import atomic_file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.check_data",
        description="Check prices and features, and write a stamp that `md5sum --check` can read.",
    )
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--origin", type=int, help="of a fold: a stamp of the rows that it may see")
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Verify prices and features, and that each fold of a walk has enough days in its blocks.

    Equal data give an equal stamp, so that nothing is rebuilt.
    """
    args = _parser().parse_args(argv)
    config = load_config(args.config)
    asked = config if args.origin is None else of_fold(config, args.origin)
    from scaling.data.features import check_dates, load_features, verified_data
    from scaling.data.prices import prices_of

    stamp, manifest = "", config.data.manifest
    digests = (found.split(", ") for found in verified_data(asked))
    for market, of_prices, of_features in zip(config.data.markets, *digests, strict=True):
        check_dates(prices_of(market, manifest), load_features(market.features), market.features)
        stamp += f"{of_prices}  {market.prices}\n{of_features}  {market.features}\n"
    if args.origin is None:
        refuse_thin_folds(config)
    with atomic_file(args.output) as stream:
        stream.write(stamp.encode())
    run = newest_of(config).written(config.seed)
    print(
        f"wrote {args.output}: the prices are registered, and the features are theirs; "
        f"next: snakemake {artefact(experiment_name(args.config), run, 'ckpt')}"
    )


def refuse_thin_folds(config: TrainingConfig) -> None:
    """A fold that cannot be trained or judged is a `UserError`, before any fold is trained."""
    if not (origins := origins_of(config)):
        return
    from scaling.data.dataset import BEFORE_TEST, load_study

    for origin in origins:
        try:
            load_study(of_fold(config, origin), (*BEFORE_TEST, "test"))
        except UserError as error:
            raise UserError(f"from{origin}: {error}") from None


if __name__ == "__main__":
    run_command(main)
