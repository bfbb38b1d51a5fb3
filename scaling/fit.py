"""Fit the scaling law of a study, or of a published table, and say what it supports.

python -m scaling.fit --config configs/daily/threshold_1pct.yaml \\
    --predictions results/daily/threshold_1pct/[0-9]*.predictions.parquet \\
    --baselines results/daily/threshold_1pct/baselines.predictions.parquet \\
    --output results/daily/threshold_1pct/scaling_law.json
python -m scaling.fit --table published.csv --output published_law.json
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import UserError, run_command

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("N", "D", "loss")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags of the two forms; which go together is checked in `main`."""
    parser = argparse.ArgumentParser(prog="python -m scaling.fit", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", type=Path, help="the experiment: horizon, test dates, delta")
    parser.add_argument(
        "--predictions", type=Path, nargs="+", help="one *.predictions.parquet for each run"
    )
    parser.add_argument("--baselines", type=Path, help="baselines.predictions.parquet")
    parser.add_argument(
        "--table", type=Path, help="a CSV of N, D, loss: fit E + A N^-alpha + B D^-beta to it"
    )
    parser.add_argument("--output", type=Path, required=True, help="the JSON to write")
    return parser.parse_args(argv)


def fit_study(config_path: Path, predictions: list[Path], baselines: Path) -> dict[str, Any]:
    """The law of one study's predictions, with what it was made of."""
    import pandas as pd

    from scaling import record
    from scaling.config import experiment_name, load_config
    from scaling.judging import law
    from scaling.judging.ladder import read_ladder

    config = load_config(config_path)
    twice = {str(path) for path in predictions if predictions.count(path) > 1}
    if twice:
        raise UserError(f"--predictions names {', '.join(sorted(twice))} twice; give each run once")
    networks = pd.concat([_read_parquet(path) for path in predictions], ignore_index=True)
    ladder = read_ladder(networks, _read_parquet(baselines))
    first, last = config.splits.test
    if ladder.dates[0].date() < first or ladder.dates[-1].date() > last:
        raise UserError(
            f"test rows run from {ladder.dates[0].date()} to {ladder.dates[-1].date()}, the test "
            f"block of {config_path} from {first} to {last}; evaluate again with this config"
        )
    result = law.fit_law(
        ladder,
        horizon=config.task.horizon,
        delta=config.law.delta,
        samples=config.law.bootstrap_samples,
    )
    return {
        "kind": "fit",
        "experiment": experiment_name(config_path),
        **result,
        "inputs": {str(path): record.file_md5(path) for path in (*predictions, baselines)},
        "code_digest": record.code_digest("fit"),
        **record.provenance(),
    }


def fit_table(path: Path) -> dict[str, Any]:
    """The two-variable law of a CSV with the columns N, D and loss."""
    import pandas as pd

    from scaling import record
    from scaling.judging import curves

    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV ({error}); columns: N,D,loss") from None
    missing = [name for name in TABLE_COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}; "
            "needed: N (parameters), D (samples or tokens), loss"
        )
    n, d, loss = (pd.to_numeric(table[name], errors="coerce").to_numpy() for name in TABLE_COLUMNS)
    return {
        "kind": "fit",
        **curves.fit_two_variable_law(n, d, loss),
        "inputs": {str(path): record.file_md5(path)},
        **record.provenance(),
    }


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow

    try:
        return pd.read_parquet(path)
    except pyarrow.ArrowInvalid:
        raise UserError(
            f"{path}: not a parquet file; write it again with python -m scaling.evaluate"
        ) from None


def main(argv: list[str] | None = None) -> None:
    """Fit and write; prints the sentence and where it stands."""
    args = parse_args(argv)
    study = (args.config, args.predictions, args.baselines)
    if any(study) if args.table else not all(study):
        raise UserError(
            "give --config, --predictions and --baselines for a study, or --table alone for "
            "published runs; see python -m scaling.fit --help"
        )
    from scaling.record import write_json

    if args.table:
        result = fit_table(args.table)
        said = (
            f"E = {result['E']:.4g}, alpha = {result['alpha']:.3f}, beta = {result['beta']:.3f} "
            f"from {result['runs']} runs"
        )
        then = "95 % intervals stand in it."
    else:
        result = fit_study(*study)
        for warning in result["warnings"]:
            print(f"warning: {warning}")
        said = f"{result['verdict']}: {result['sentence']}"
        then = "Next: python -m scaling.report"
    write_json(args.output, result)
    print(said)
    print(f"Wrote {args.output}. {then}")


if __name__ == "__main__":
    run_command(main)
