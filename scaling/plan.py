"""What a grid will cost, before anything runs: `python -m scaling.plan --gpus 1 8`."""

import argparse
from pathlib import Path

from scaling.config import load_config
from scaling.errors import UserError, run_command
from scaling.grid import load_grid
from scaling.identities import left_out, origins_of
from scaling.names import RESULTS_ROOT, experiment_path
from scaling.reading import read_yaml


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.plan", description=__doc__)
    add = parser.add_argument
    add("--grid", type=Path, default=Path("configs/full.yaml"), help="default: %(default)s")
    add("--results", type=Path, default=RESULTS_ROOT, help="default: %(default)s")
    add(
        "--device-flops",
        type=float,
        help="FLOP/s that one device sustains (default: as the batch-size search measured)",
    )
    add("--gpus", type=int, nargs="+", default=[1, 8], help="devices (default: 1 8)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Print the grid's costs, job by job, by budget and in total."""
    arguments = parse(argv)
    if arguments.device_flops is not None and not arguments.device_flops > 0:
        raise UserError(f"--device-flops: got {arguments.device_flops}; allowed: above 0")
    if min(arguments.gpus) < 1:
        raise UserError(f"--gpus: got {min(arguments.gpus)}; allowed: 1 or more")
    grid = load_grid(read_yaml(arguments.grid), arguments.grid)

    from scaling.training.cost import cost_of, table, table_of_budgets, totals

    experiments = {name: load_config(experiment_path(name)) for name in grid.experiments}
    costs = [
        cost_of(experiment, run, arguments.results, arguments.device_flops)
        for experiment, config in experiments.items()
        for run in grid.runs_of(config)
    ]
    print(table(costs), end="\n\n")
    print(table_of_budgets(costs), end="\n\n")
    print("\n".join(totals(costs, arguments.gpus)))
    for experiment, config in experiments.items():
        if origins := origins_of(config):
            print(f"{experiment}: {len(origins)} folds, {origins[0]} to {origins[-1]}")
        if why := left_out(config):
            print(f"{experiment}: {why}")
    print(f"planned {len(costs)} trainings; next: snakemake --configfile {arguments.grid}")


if __name__ == "__main__":
    run_command(main)
