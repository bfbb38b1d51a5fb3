"""Judge somebody else's ladder: prediction rows in, verdict and page out, nothing trained.

python -m scaling.judge_ladder --predictions theirs.csv --base-rate 0.17 --horizon 1 \\
    --output law.json --page law.html

The rows have the columns budget, parameters, seed, date, label (or y), probability (or p), one row
for each model, seed and day, as CSV or parquet. Rows with split = validation choose the size that
is compared with the baselines.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from scaling.config import LawConfig
from scaling.errors import UserError, run_command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scaling.judge_ladder", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--predictions", type=Path, nargs="+", required=True, help="one file, or several")
    add("--baselines", type=Path, help="optional rows of: model, date, label, probability")
    add(
        "--base-rate",
        type=float,
        required=True,
        help="the event's frequency before the test days, the forecast that skill is over",
    )
    add("--horizon", type=int, required=True, help="days that a label looks ahead")
    add(
        "--delta",
        type=float,
        default=LawConfig().delta,
        help="what matters, as a fraction of the base rate's entropy per decade of parameters "
        "(default: %(default)s); set it before you look",
    )
    add("--output", type=Path, required=True, help="the JSON to write")
    add("--page", type=Path, help="the HTML page to write")
    return parser


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The flags; a number outside its bounds and a file given twice are a `UserError`."""
    arguments = _parser().parse_args(argv)
    for flag, value in (("--base-rate", arguments.base_rate), ("--delta", arguments.delta)):
        if not 0 < value < 1:
            raise UserError(f"{flag}: got {value:g}; allowed: above 0 and below 1")
    if arguments.horizon < 1:
        raise UserError(f"--horizon: got {arguments.horizon}; allowed: 1 or more")
    given = arguments.predictions
    if twice := {str(path) for path in given if given.count(path) > 1}:
        raise UserError(f"--predictions: {', '.join(sorted(twice))} is given twice; give it once")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Read and check the rows, fit, write the JSON and the page, print the finding."""
    arguments = parse(argv)

    from scaling.law import prediction_rows as theirs
    from scaling.law.bootstrap import Settings
    from scaling.law.judge import fit_study
    from scaling.law.result import as_json
    from scaling.law.table import read_tables
    from scaling.record import atomic_file, file_md5, provenance, write_json

    networks = theirs.read_rows(arguments.predictions, theirs.NETWORKS)
    files = list(arguments.predictions)
    rivals = None
    if arguments.baselines:
        files.append(arguments.baselines)
        rivals = theirs.read_rows([arguments.baselines], theirs.BASELINES)
    baselines = theirs.with_base_rate(networks, rivals, arguments.base_rate)
    settings = Settings(arguments.horizon, arguments.delta, LawConfig().bootstrap_samples)
    law = replace(
        fit_study(read_tables(networks, baselines), settings),
        experiment=arguments.output.stem,
        inputs={str(path): file_md5(path) for path in files},
        provenance=provenance(),
    )
    write_json(arguments.output, as_json(law))
    made = str(arguments.output)
    if arguments.page:
        from scaling.figures.page import ladder_page

        with atomic_file(arguments.page) as stream:
            stream.write(ladder_page(law, networks, baselines).encode())
        made += f" and {arguments.page}"
    for warning in law.ladder.warnings:
        print(f"warning: {warning}")
    print(f"{law.ladder.parameters.verdict}: {law.ladder.sentence}\nmade {made}")


if __name__ == "__main__":
    run_command(main)
