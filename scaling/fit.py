"""Fit the scaling law of a study, or of a published table, and say what it supports.

python -m scaling.fit --config configs/daily/threshold_1pct.yaml \\
    --predictions results/daily/threshold_1pct/[0-9]*.predictions.parquet \\
    --baselines results/daily/threshold_1pct/baselines.predictions.parquet \\
    --output results/daily/threshold_1pct/scaling_law.json
python -m scaling.fit --table published.csv --output published_law.json
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import UserError, run_command

if TYPE_CHECKING:
    from scaling.law.result import StudyLaw


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags, once they describe either a study or a table; UserError for half of each."""
    parser = argparse.ArgumentParser(prog="python -m scaling.fit", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config", type=Path, help="the experiment: horizon, test dates, delta")
    add("--predictions", type=Path, nargs="+", help="one *.predictions.parquet for each run")
    add("--baselines", type=Path, nargs="+", help="baselines.predictions.parquet, one a sample")
    add(
        "--experiments",
        type=int,
        default=1,
        help="experiments of the grid: comparisons with baselines are adjusted for all of them",
    )
    add("--table", type=Path, help="a CSV of N, D, loss: fit E + A N^-alpha + B D^-beta to it")
    add("--huber", type=float, default=0.001, help="threshold of the Huber loss of --table")
    add("--output", type=Path, required=True, help="the JSON to write")
    args = parser.parse_args(argv)
    study = (args.config, args.predictions, args.baselines)
    if any(study) if args.table else not all(study):
        raise UserError(
            "give --config, --predictions and --baselines for a study, or --table alone for "
            "published runs; see python -m scaling.fit --help"
        )
    if args.experiments < 1:
        raise UserError(f"--experiments: got {args.experiments}; allowed: 1 or more")
    return args


def fit_predictions(
    config_path: Path, predictions: list[Path], baselines: list[Path], experiments: int
) -> "StudyLaw":
    """The law of one study's predictions, with the files it was fitted to."""
    from scaling.config import load_config
    from scaling.identities import fitted_by, judged_block
    from scaling.judging.identity import refuse_outdated
    from scaling.law.beyond_volatility import with_what_is_beyond_volatility
    from scaling.law.bootstrap import Settings
    from scaling.law.judge import fit_study
    from scaling.law.table import read_rows, read_tables, refuse_other_rows
    from scaling.law.transfer import read_recipes
    from scaling.names import experiment_name
    from scaling.record import file_md5, identity_of_parquet, provenance
    from scaling.run import Run

    runs = [Run.of(identity_of_parquet(path), path) for path in predictions]
    refuse_outdated(runs, config_path)
    config = load_config(config_path)
    recipes = read_recipes(config.law.transfer, runs) if config.law.transfer else ()
    settings = Settings(
        *(config.task.horizon, config.law.delta, config.law.bootstrap_samples),
        *(experiments, recipes),
    )
    rows = read_rows(predictions), read_rows(baselines)
    tables = read_tables(*rows)
    refuse_other_rows(tables, judged_block(config))
    law = fit_study(tables, settings, experiment_name(config_path))
    law = with_what_is_beyond_volatility(law, *rows, config.task, config.earnings)
    return replace(
        law,
        runs=[run.as_json() for run in runs],
        inputs={str(path): file_md5(path) for path in (*predictions, *baselines)},
        made_by=fitted_by(config, experiments),
        provenance=provenance(),
    )


def fit_table(path: Path, huber: float) -> dict[str, Any]:
    """The two-variable law of a CSV with the columns N, D and loss."""
    from scaling.law.published import fit_two_variable_law, read_table
    from scaling.record import file_md5, provenance

    law = fit_two_variable_law(*read_table(path), huber=huber)
    return {"kind": "fit", **law, "inputs": {str(path): file_md5(path)}, **provenance()}


def main(argv: list[str] | None = None) -> None:
    """Fit, write the JSON, print the finding."""
    args = parse_args(argv)
    from scaling.law.result import as_json
    from scaling.record import write_json

    if args.table:
        result = fit_table(args.table, args.huber)
        found = (
            f"E = {result['E']:.4g}, alpha = {result['alpha']:.3f}, beta = {result['beta']:.3f} "
            f"from {result['runs']} runs"
        )
        then = "95 % intervals stand in it."
    else:
        law = fit_predictions(args.config, args.predictions, args.baselines, args.experiments)
        laws = (law.ladder, *law.surfaces.values())
        for warning in dict.fromkeys(warning for one in laws for warning in one.warnings):
            print(f"warning: {warning}")
        both = [surface.sentence for surface in law.surfaces.values()]
        found = "\n".join([f"{law.ladder.parameters.verdict}: {law.ladder.sentence}", *both])
        result, then = as_json(law), "Next: python -m scaling.report"
    write_json(args.output, result)
    print(found)
    print(f"Wrote {args.output}. {then}")


if __name__ == "__main__":
    run_command(main)
